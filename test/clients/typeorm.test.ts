import { DataSource, EntitySchema, type MigrationInterface, MoreThan, type QueryRunner } from 'typeorm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';
import { type BothWays, failure, openBothWays } from './both-ways.js';

interface Author {
  id: number;
  name: string;
  books: Book[];
}
interface Book {
  id: number;
  title: string;
  price: string;
  facts: object | null;
  author: Author;
  tags: Tag[];
}
interface Tag {
  name: string;
}

const authors = new EntitySchema<Author>({
  name: 'author',
  columns: { id: { type: 'int', primary: true, generated: true }, name: { type: 'text', unique: true } },
  relations: { books: { type: 'one-to-many', target: 'book', inverseSide: 'author', cascade: true } },
});
const books = new EntitySchema<Book>({
  name: 'book',
  columns: {
    id: { type: 'int', primary: true, generated: true },
    title: { type: 'text' },
    price: { type: 'numeric', precision: 8, scale: 2, default: 0 },
    facts: { type: 'jsonb', nullable: true },
  },
  relations: {
    author: {
      type: 'many-to-one',
      target: 'author',
      inverseSide: 'books',
      nullable: false,
      onDelete: 'CASCADE',
    },
    tags: { type: 'many-to-many', target: 'tag', joinTable: { name: 'book_tag' }, cascade: true },
  },
});
const tags = new EntitySchema<Tag>({ name: 'tag', columns: { name: { type: 'text', primary: true } } });

class Library1700000000001 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`CREATE TABLE shelf (id serial PRIMARY KEY, name text NOT NULL)`);
    await runner.query(`INSERT INTO shelf (name) VALUES ('a ~> b'), ('c | d')`);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE shelf');
  }
}
class Concurrent1700000000002 implements MigrationInterface {
  // CREATE INDEX CONCURRENTLY refuses a transaction.
  transaction = false;
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE INDEX CONCURRENTLY shelf_name ON shelf (name)');
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP INDEX CONCURRENTLY shelf_name');
  }
}

let both: BothWays;
let d: Durable;

beforeAll(async () => {
  both = await openBothWays();
  d = await Durable.open();
});
afterAll(async () => {
  await both?.close();
  await d?.close();
});

async function connected<T>(url: string, work: (source: DataSource) => Promise<T>): Promise<T> {
  const source = new DataSource({
    type: 'postgres',
    url,
    entities: [authors, books, tags],
    migrations: [Library1700000000001, Concurrent1700000000002],
    migrationsTransactionMode: 'each',
    poolSize: 4,
    installExtensions: false,
  });
  await source.initialize();
  try {
    return await work(source);
  } finally {
    await source.destroy();
  }
}

test('TypeORM: migrations up and down, and a schema made from the entities', async () => {
  const seen = await both.same((url) =>
    connected(url, async (source) => {
      const ran = (await source.runMigrations()).map(({ name }) => name);
      await source.undoLastMigration({ transaction: 'none' });
      const again = (await source.runMigrations()).map(({ name }) => name);
      await source.synchronize();
      const left = await source.driver.createSchemaBuilder().log();
      const tables = await source.query(
        `SELECT table_name, column_name, data_type FROM information_schema.columns
         WHERE table_schema = 'public' ORDER BY table_name, ordinal_position`,
      );
      return { ran, again, left: left.upQueries.map(({ query }) => query), tables };
    }),
  );
  expect(seen.ran).toEqual(['Library1700000000001', 'Concurrent1700000000002']);
  expect(seen.again).toEqual(['Concurrent1700000000002']);
  expect(seen.left).toEqual([]);
});

test('TypeORM: relations, cascades, transactions, savepoints, locks, streams', async () => {
  const seen = await both.same((url) =>
    connected(url, async (source) => {
      await source.synchronize();
      await source.transaction(async (manager) => {
        for (let n = 1; n <= 10; n++) {
          const author = manager.create(authors, { name: `author ~> ${n}` });
          author.books = Array.from({ length: 3 }, (_, b) =>
            manager.create(books, {
              title: `book ${n}.${b}`,
              price: `${n}.50`,
              facts: b === 0 ? { n } : null,
              tags: [{ name: `tag ${b}` }],
            }),
          );
          await manager.save(authors, author);
        }
      });
      const undone = await failure(
        source.transaction('SERIALIZABLE', async (manager) => {
          await manager.delete(books, { price: MoreThan('1') });
          await manager.transaction(async (inner) => {
            await inner.insert(tags, { name: 'inner' });
            await inner.insert(authors, { name: 'author ~> 1' });
          });
        }),
      );
      const found = await source.getRepository(authors).find({
        relations: { books: { tags: true } },
        where: { name: 'author ~> 3' },
        order: { books: { id: 'ASC' } },
      });
      const totals = await source
        .createQueryBuilder(books, 'book')
        .innerJoin('book.author', 'author')
        .select('author.name', 'name')
        .addSelect('sum(book.price)', 'total')
        .where("book.facts IS NULL OR book.facts @> '{}'")
        .groupBy('author.name')
        .orderBy('author.name')
        .getRawMany();
      const locked = await source.transaction((manager) =>
        manager.find(authors, {
          lock: { mode: 'pessimistic_write', onLocked: 'skip_locked' },
          order: { id: 'ASC' },
        }),
      );
      let streamed = 0;
      for await (const _ of await source.createQueryBuilder(books, 'book').stream()) streamed++;
      await source.getRepository(authors).delete({ name: 'author ~> 3' });
      return { undone, found, totals, locked, streamed, left: await source.getRepository(books).count() };
    }),
  );
  expect(seen.undone).toMatchObject({ code: '23505' });
  expect(seen.found[0]?.books.map(({ tags }) => tags[0]?.name)).toEqual(['tag 0', 'tag 1', 'tag 2']);
  expect(seen).toMatchObject({ streamed: 30, left: 27 });
  await until(() => both.wire.proxy.sessions() === 0, { what: 'the sessions to end' });
});

test('TypeORM: a durable function is started in the transaction that made its row', async () => {
  await connected(d.proxy.url(d.role), async (source) => {
    await source.synchronize();
    const id = await source.transaction(async (manager) => {
      const author = await manager.save(authors, { name: 'durable' });
      const step = `UPDATE author SET name = name || ' ~> done' WHERE id = ${author.id}`;
      const rows = await manager.query("SELECT df.start($1 ~> ('SELECT 1' & $2), 'typeorm') AS id", [
        step,
        'SELECT 2',
      ]);
      return rows[0].id as string;
    });
    expect(await d.ended(id)).toBe('completed');
    expect(await source.getRepository(authors).find()).toMatchObject([{ name: 'durable ~> done' }]);
  });
});
