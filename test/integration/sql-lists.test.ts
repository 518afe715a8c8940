/** What lists read, where there are many instances: about as many rows as they show, whoever asks. */
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, filled } from './filled.js';

const SHOWN = 20;

let db: Database;

beforeAll(async () => {
  db = await filled({ own: 100, foreign: 20_000 });
});
afterAll(() => db?.drop());

/** Rows that a statement reads of the tables of df and _df. */
async function read(client: pg.Client, sql: string): Promise<{ rows: number; read: number }> {
  const counted = async () => {
    const answer = await client.query<{ n: string }>(
      `SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) AS n
       FROM pg_stat_xact_all_tables WHERE schemaname IN ('df', '_df')`,
    );
    return Number(answer.rows[0]!.n);
  };
  await client.query('BEGIN');
  try {
    const before = await counted(); // what earlier transactions have read is in it until it is reported
    const { rows } = await client.query(sql);
    return { rows: rows.length, read: (await counted()) - before };
  } finally {
    await client.query('ROLLBACK');
  }
}

describe.each(['own', 'all'] as const)('of %s rows', (who) => {
  it.each([
    ['list_instances', `df.list_instances(NULL, ${SHOWN})`],
    ['list_instances of a status', `df.list_instances('completed', ${SHOWN})`],
    ['a status that nothing has', `df.list_instances('nothing', ${SHOWN})`],
    ['a page', `df.list_instances(NULL, ${SHOWN}, NULL)`],
    ['a page of a status', `df.list_instances('failed', ${SHOWN}, NULL)`],
    ['a page of a label', `df.list_instances(NULL, ${SHOWN}, 'label-7')`],
    ['a page of a status and a label', `df.list_instances('completed', ${SHOWN}, 'label-7')`],
    [
      'the next page',
      `df.list_instances(NULL, ${SHOWN}, NULL, (SELECT max(next_cursor) FROM df.list_instances(NULL, ${SHOWN}, NULL)))`,
    ],
    ['instance_info', `df.instance_info('ID')`],
    ['instance_executions', `df.instance_executions('ID')`],
    ['instance_nodes', `df.instance_nodes('ID')`],
    ['status, result and explain', `(SELECT df.status('ID'), df.result('ID'), df.explain('ID')) AS x`],
  ])('%s', async (_, from) => {
    const client = who === 'own' ? db.own : db.admin;
    const { rows, read: count } = await read(client, `SELECT * FROM ${from.replaceAll('ID', db.id)}`);
    expect(rows).toBeLessThanOrEqual(SHOWN);
    // each row shown costs a few rows of other tables; a scan would be 20 000
    expect(count).toBeLessThan(600);
  });
});

describe('df.metrics', () => {
  it('counts what all roles have, by how it stands', async () => {
    const { rows } = await db.admin.query('SELECT * FROM df.metrics()');
    const { rows: counted } = await db.admin.query(
      `SELECT count(*) AS total_instances,
              count(*) FILTER (WHERE u.status IN ('pending', 'running')) AS running_instances,
              count(*) FILTER (WHERE u.status = 'completed') AS completed_instances,
              count(*) FILTER (WHERE u.status IN ('failed', 'cancelled')) AS failed_instances,
              sum(i.generation) AS total_executions,
              (sum(i.events) + (SELECT sum(e.events) FROM _df.executions AS e))::bigint AS total_events
       FROM df.instances AS u JOIN _df.instances AS i USING (id)`,
    );
    expect(rows).toEqual(counted);
    expect(Number(rows[0].total_instances)).toBe(20_100);
  });

  it('is not for everybody; administrators of the rights may call it', async () => {
    await expect(db.own.query('SELECT * FROM df.metrics()')).rejects.toMatchObject({ code: '42501' });
    await db.admin.query('SELECT df.grant_usage($1, false, true)', [db.ownRole]);
    expect((await db.own.query('SELECT * FROM df.metrics()')).rows).toHaveLength(1);
    await db.admin.query('SELECT df.revoke_usage($1)', [db.ownRole]);
    await expect(db.own.query('SELECT * FROM df.metrics()')).rejects.toMatchObject({ code: '42501' });
  });

  it('is one row of zeros where there is nothing', async () => {
    await db.root.query('TRUNCATE df.instances, df.nodes, _df.instances, _df.executions');
    const { rows } = await db.admin.query('SELECT * FROM df.metrics()');
    expect(Object.values(rows[0]).every((value) => value === '0')).toBe(true);
  });
});
