import { type Generated, Kysely, type Migration, Migrator, PostgresDialect, sql } from 'kysely';
import pg from 'pg';
import Cursor from 'pg-cursor';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { type BothWays, failure, openBothWays } from './both-ways.js';

interface Tables {
  customer: { id: Generated<number>; name: string; tags: string[]; settings: object | null };
  invoice: { id: Generated<number>; customer: number; amount: string; paid: Generated<boolean> };
}

const migrations: Record<string, Migration> = {
  '001_customer': {
    up: async (db) => {
      await db.schema
        .createTable('customer')
        .addColumn('id', 'serial', (column) => column.primaryKey())
        .addColumn('name', 'text', (column) => column.notNull().unique())
        .addColumn('tags', sql`text[]`, (column) => column.notNull())
        .addColumn('settings', 'jsonb')
        .execute();
    },
    down: async (db) => {
      await db.schema.dropTable('customer').execute();
    },
  },
  '002_invoice': {
    up: async (db) => {
      await db.schema
        .createTable('invoice')
        .addColumn('id', 'serial', (column) => column.primaryKey())
        .addColumn('customer', 'integer', (column) => column.notNull().references('customer.id'))
        .addColumn('amount', 'numeric(10, 2)', (column) => column.check(sql`amount > 0`))
        .addColumn('paid', 'boolean', (column) => column.notNull().defaultTo(false))
        .execute();
      await db.schema.createIndex('invoice_customer').on('invoice').column('customer').execute();
    },
    down: async (db) => {
      await db.schema.dropTable('invoice').execute();
    },
  },
};

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

async function connected<T>(url: string, work: (db: Kysely<Tables>) => Promise<T>): Promise<T> {
  const pool = new pg.Pool({ connectionString: url, max: 4 });
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool, cursor: Cursor as never }) });
  try {
    return await work(db);
  } finally {
    await db.destroy();
  }
}

const migrator = (db: Kysely<Tables>) =>
  new Migrator({ db, provider: { getMigrations: async () => migrations } });

/** What a migration did; an error is thrown. */
async function migrate(db: Kysely<Tables>, step: 'migrateToLatest' | 'migrateDown') {
  const { error, results } = await migrator(db)[step]();
  if (error !== undefined) throw error;
  return results?.map(({ migrationName, direction, status }) => `${migrationName} ${direction} ${status}`);
}

test('Kysely: migrations, up and down and up again; two at the same time', async () => {
  const done = await both.same((url) =>
    connected(url, async (db) => {
      const steps = [await migrate(db, 'migrateToLatest'), await migrate(db, 'migrateDown')];
      const racing = await Promise.all([migrate(db, 'migrateToLatest'), migrate(db, 'migrateToLatest')]);
      const tables = await db.introspection.getTables();
      return [...steps, racing.flat().sort(), tables.map(({ name, columns }) => [name, columns])];
    }),
  );
  expect(done.slice(0, 3)).toEqual([
    ['001_customer Up Success', '002_invoice Up Success'],
    ['002_invoice Down Success'],
    ['002_invoice Up Success'],
  ]);
});

test('Kysely: transactions, savepoints, errors, upserts, joins and streams', async () => {
  const seen = await both.same((url) =>
    connected(url, async (db) => {
      await migrate(db, 'migrateToLatest');
      const ids = await db.transaction().execute(async (tx) => {
        const rows = Array.from({ length: 30 }, (_, n) => ({
          name: `name ~> ${n}`,
          tags: ['a', `b | ${n}`],
          settings: n % 2 === 0 ? null : { n },
        }));
        const made = await tx.insertInto('customer').values(rows).returning('id').execute();
        const invoices = made.map(({ id }) => ({ customer: id, amount: String(id * 10) }));
        await tx.insertInto('invoice').values(invoices).execute();
        return made.map(({ id }) => id);
      });
      const undone = await failure(
        db
          .transaction()
          .setIsolationLevel('serializable')
          .execute(async (tx) => {
            await tx.updateTable('invoice').set({ paid: true }).execute();
            await tx.insertInto('invoice').values({ customer: 1, amount: '-1' }).execute();
          }),
      );
      const controlled = await db.startTransaction().execute();
      const point = await controlled.savepoint('s').execute();
      await point.deleteFrom('invoice').execute();
      await point.rollbackToSavepoint('s').execute();
      await controlled.commit().execute();
      await db
        .insertInto('customer')
        .values({ name: 'name ~> 1', tags: [], settings: null })
        .onConflict((conflict) => conflict.column('name').doUpdateSet({ tags: ['changed'] }))
        .execute();
      const joined = await db
        .selectFrom('customer')
        .innerJoin('invoice', 'invoice.customer', 'customer.id')
        .select(({ fn }) => ['customer.name', 'tags', 'settings', fn.sum('amount').as('total')])
        .where('paid', '=', false)
        .where('tags', '@>', sql<string[]>`ARRAY['a']`)
        .groupBy('customer.id')
        .orderBy('customer.id')
        .execute();
      const streamed: string[] = [];
      for await (const { name } of db.selectFrom('customer').select('name').orderBy('id').stream(7)) {
        streamed.push(name);
      }
      return { ids, undone, joined, streamed };
    }),
  );
  expect(seen.undone).toMatchObject({ code: '23514' });
  expect(seen.joined).toHaveLength(29);
  expect(seen.streamed).toHaveLength(30);
});

test('Kysely: a durable function is started in the transaction that made its row', async () => {
  await connected(d.proxy.url(d.role), async (db) => {
    await migrate(db, 'migrateToLatest');
    const id = await db.transaction().execute(async (tx) => {
      const { id: customer } = await tx
        .insertInto('customer')
        .values({ name: 'durable', tags: [], settings: null })
        .returning('id')
        .executeTakeFirstOrThrow();
      await tx.insertInto('invoice').values({ customer, amount: '10' }).execute();
      const pay = `UPDATE invoice SET paid = true WHERE customer = ${customer}`;
      const { rows } = await sql<{ id: string }>`SELECT df.start(
        (${'SELECT NOT paid FROM invoice'} ?> ${pay} !> 'SELECT 0') ~> ${'SELECT 1'}, ${'kysely'}) AS id`.execute(
        tx,
      );
      return rows[0]!.id;
    });
    expect(await d.ended(id)).toBe('completed');
    expect(await db.selectFrom('invoice').select('paid').execute()).toEqual([{ paid: true }]);
  });
});
