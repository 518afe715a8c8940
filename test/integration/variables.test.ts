import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';

let d: Durable;

beforeAll(async () => {
  d = await Durable.open({ enable_superuser_instances: 'on' });
});
afterAll(() => d?.close());
afterEach(() => d.app.query('SELECT df.clearvars()'));

const set = (name: string, value: string) => d.app.query('SELECT df.setvar($1, $2)', [name, value]);
const captured = (id: string) => d.value('SELECT vars FROM _df.instances WHERE id = $1', [id]);
const parked = `df.sleep(3600) ~> 'SELECT 1'`;

describe('variables are captured at the start', () => {
  test('what changes later does not reach the instance, not even the iterations of its loop', async () => {
    await set('word', 'before');
    const id = await d.start(
      `df.loop(df.sleep(3600) ~> 'SELECT ''{word}'' AS w' |=> 'r' ~> ('SELECT df.getvar(''word'') = ''after''' ?> df.break('$r {word}') !> 'SELECT 1'))`,
    );
    await d.parked(id);
    await set('word', 'after');
    await d.root.query(`UPDATE _df.clock SET shift = shift + interval '2 hours'`);
    expect(await d.ended(id)).toBe('completed');
    expect(await d.output(id)).toBe('"before before"');
  });

  test('those of the transaction count, those rolled back do not', async () => {
    await d.app.query('BEGIN');
    await set('a', '1');
    await d.app.query('SAVEPOINT s');
    await set('b', '2');
    await d.app.query('ROLLBACK TO s');
    const id = await d.start(parked);
    await d.app.query('COMMIT');
    expect(await captured(id)).toEqual({ a: '1' });
  });

  test('a variable without a value is left out, an empty one is not', async () => {
    await set('empty', '');
    await d.app.query(
      `INSERT INTO df.vars (owner, name, value) VALUES (quote_ident(current_user)::regrole, 'none', NULL)`,
    );
    expect(await captured(await d.start(parked))).toEqual({ empty: '' });
    expect(await d.rows(`'SELECT ''[{empty}][{none}]'' AS v'`)).toEqual([{ v: '[][{none}]' }]);
  });

  test('each role has its own; a superuser sees all and captures only his', async () => {
    const other = await d.connect(await d.user('other'));
    const superuser = await d.user('super', { superuser: true });
    const root = await d.connect(superuser);
    await set('who', 'app');
    await other.query(`SELECT df.setvar('who', 'other'), df.setvar('mine', 'x')`);
    expect((await root.query('SELECT count(*)::int AS n FROM df.vars')).rows).toEqual([{ n: 3 }]);
    expect((await other.query('SELECT count(*)::int AS n FROM df.vars')).rows).toEqual([{ n: 2 }]);
    expect((await root.query(`SELECT df.getvar('who') AS v`)).rows).toEqual([{ v: null }]);
    await root.query(`SELECT df.setvar('own', 'y')`);
    expect(await captured(await d.start(parked, root))).toEqual({ own: 'y' });
    expect(await captured(await d.start(parked, other))).toEqual({ who: 'other', mine: 'x' });
    expect(await captured(await d.start(parked))).toEqual({ who: 'app' });
    await root.query('SELECT df.clearvars()'); // only his
    expect((await other.query('SELECT count(*)::int AS n FROM df.vars')).rows).toEqual([{ n: 2 }]);
    await other.end();
    await root.end();
  });
});

describe('substitution', () => {
  test('values are put in as they are: SQL, braces, dollars, quotes, backslashes', async () => {
    await set('expression', `(SELECT 'it''s $ {x} \\ "q" $1 $$' || 2 * 3)`);
    await set('table', 'pg_catalog.pg_class');
    await set('x', 'not this');
    expect(await d.rows(`'SELECT {expression} AS v, count(*) > 0 AS n FROM {table}'`)).toEqual([
      { v: `it's $ {x} \\ "q" $1 $$6`, n: true },
    ]);
  });

  test('a result in a variable’s value is put in, a variable in a result’s is not', async () => {
    await set('uses', '$r.v || 1');
    await set('word', 'wrong');
    expect(await d.rows(`'SELECT ''{word'' || ''}'' AS v' |=> 'r' ~> 'SELECT {uses} AS v'`)).toEqual([
      { v: '{word}1' },
    ]);
  });

  test('names that are no identifiers are kept and captured, and put in nowhere', async () => {
    for (const name of ['a b', '', '{', '1x', 'é', 'a-b', '__proto__', 'constructor', "it's"])
      await set(name, `<${name}>`);
    const id = await d.start(
      `'SELECT ''{a b}{}{{}{1x}{é}{a-b}{__proto__}{constructor}{toString}{it''''s}{hasOwnProperty}'' AS v'`,
    );
    expect(await d.ended(id)).toBe('completed');
    expect(JSON.parse((await d.output(id))!).rows).toEqual([
      { v: `{a b}{}{{}{1x}{é}{a-b}<__proto__><constructor>{toString}{it's}{hasOwnProperty}` },
    ]);
    expect((await d.app.query(`SELECT df.getvar('a b') AS a, df.getvar('') AS b`)).rows).toEqual([
      { a: '<a b>', b: '<>' },
    ]);
  });

  test('arrays, JSON and formats keep their braces', async () => {
    await set('red', 'blue');
    expect(
      await d.rows(
        `'SELECT ''{1,2}''::int[] AS a, ''{"a": {"b": "{red}"}}''::jsonb AS j, ''{green}''::text[] AS g, ''{red }'' AS s'`,
      ),
    ).toEqual([{ a: [1, 2], j: { a: { b: 'blue' } }, g: ['green'], s: '{red }' }]);
  });

  test('instance and label go before variables of the same names; no label is an empty text', async () => {
    await set('sys_instance_id', 'forged');
    await set('sys_label', 'forged');
    for (const label of [null, `it's {x} $y`]) {
      const id = await d.start(
        "'SELECT ''{sys_instance_id}'' AS i, $q$' || '{sys_label}$q$ AS l', $1",
        d.app,
        [label],
      );
      expect(await d.ended(id)).toBe('completed');
      expect(JSON.parse((await d.output(id))!).rows).toEqual([{ i: id, l: label ?? '' }]);
    }
  });

  test('in conditions and break values', async () => {
    await set('limit', '3');
    await set('state', 'done at {limit}');
    expect(
      await d.result(
        `df.loop('SELECT 1 AS n' |=> 'r' ~> ('SELECT $r.n < {limit}' ?> df.break('{state}, $r') !> 'SELECT 1'), 'SELECT {limit} > 5')`,
      ),
    ).toBe('done at {limit}, 1');
  });
});

describe('in a workflow', () => {
  test.each([
    [
      "setvar('a', 'b')",
      'df.setvar() cannot be called inside a workflow - set variables before starting the workflow',
    ],
    [
      "unsetvar('a')",
      'df.unsetvar() cannot be called inside a workflow - manage variables before starting the workflow',
    ],
    [
      'clearvars()',
      'df.clearvars() cannot be called inside a workflow - manage variables before starting the workflow',
    ],
  ])('df.%s is refused', async (call, message) => {
    expect(await d.failure(`'SELECT df.${call.replaceAll("'", "''")}'`)).toBe(
      `SQL execution failed: error returned from database: ${message}`,
    );
  });

  test('df.getvar reads what is set now', async () => {
    await set('a', 'old');
    const id = await d.start(`df.sleep(3600) ~> 'SELECT df.getvar(''a'') AS live, ''{a}'' AS captured'`);
    await d.parked(id);
    await set('a', 'new');
    await d.root.query(`UPDATE _df.clock SET shift = shift + interval '2 hours'`);
    expect(await d.ended(id)).toBe('completed');
    expect(JSON.parse((await d.output(id))!).rows).toEqual([{ live: 'new', captured: 'old' }]);
  });
});
