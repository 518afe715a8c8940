import pg from 'pg';
import { migrate } from '../../src/state/migrate.js';
import { asSuperuser, createTestDatabase, urlFor, withClient } from '../support/postgres.js';
import { startWireProxy } from '../support/wire-proxy.js';
import type { Side } from './talk.js';

/** Two databases that are alike to the last OID, one reached directly, one through the proxy. */
export interface Sides {
  readonly direct: Side;
  readonly proxied: Side;
  /** Client connections that the proxy has now. */
  sessions(): number;
  /** Lines of the proxy's log that are warnings or worse. */
  complaints(): string[];
  /** Puts the tables back to their first contents. */
  reset(): Promise<void>;
  drop(): Promise<void>;
}

const TABLES = `
  CREATE TABLE public.items (id int PRIMARY KEY, name text, data bytea);
  CREATE TABLE public.late (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
  CREATE FUNCTION public.complain(times int) RETURNS int LANGUAGE plpgsql AS $$
  BEGIN
    FOR i IN 1..times LOOP
      RAISE WARNING 'complaint %', i USING HINT = 'none', ERRCODE = '01ABC';
    END LOOP;
    RETURN times;
  END $$;
`;

/** The tables as each conversation finds them. A session of an earlier one that still holds a lock is waited for. */
const CONTENTS = `
  ALTER TABLE public.items DROP COLUMN IF EXISTS extra;
  TRUNCATE public.items, public.late;
  INSERT INTO public.items
  SELECT n, 'item ' || n, decode(lpad(to_hex(n), 4, '0'), 'hex')
  FROM generate_series(1, 50) AS n;
`;

export async function openSides(): Promise<Sides> {
  const template = await createTestDatabase();
  const role = await template.createRole('talker');
  const copies = [`${template.name}_direct`, `${template.name}_proxied`] as const;
  await withClient(template.adminUrl, async (client) => {
    await migrate(client);
    await client.query('INSERT INTO _df._worker_ready (schema_version) VALUES (1)');
    await client.query('SELECT df.grant_usage($1)', [role.name]);
  });
  await asSuperuser(template.name, async (client) => {
    await client.query(TABLES);
    await client.query(`ALTER TABLE public.items OWNER TO ${role.name}; ALTER TABLE public.late OWNER TO ${role.name};
      GRANT CREATE ON SCHEMA public TO ${role.name}`);
  });
  await asSuperuser('postgres', async (client) => {
    const { rows } = await client.query<{ version: number }>(
      "SELECT current_setting('server_version_num')::int AS version",
    );
    // Thousands of logins: the usual 4096 rounds of hashing would be most of the time.
    if (rows[0]!.version >= 160_000) await client.query('SET scram_iterations = 1');
    await client.query(`ALTER ROLE ${role.name} PASSWORD '${role.password}'`);
    for (const name of copies) {
      await client.query(`CREATE DATABASE ${name} TEMPLATE ${template.name}`);
      await client.query(`GRANT CREATE, TEMP ON DATABASE ${name} TO ${role.name}`);
    }
    // The same text reaches the same operators on both sides: by name here, by the rewriter there.
    await client.query(`ALTER DATABASE ${copies[0]} SET search_path = "$user", public, df`);
  });
  const wire = await startWireProxy(urlFor(copies[1]));
  const { hostname, port } = new URL(template.superUrl);
  const others = await Promise.all(
    copies.map(async (name) => {
      const client = new pg.Client({ connectionString: urlFor(name) });
      // The next query fails, and says why.
      client.on('error', () => {});
      await client.connect();
      return client;
    }),
  );
  const known = { user: role.name, password: role.password };
  return {
    direct: { ...known, host: hostname, port: Number(port), database: copies[0], other: others[0]! },
    proxied: { ...known, host: wire.host, port: wire.port, database: copies[1], other: others[1]! },
    sessions: () => wire.proxy.sessions(),
    complaints: () => wire.logLines.filter((line) => JSON.parse(line).level > 30),
    reset: async () => {
      wire.logLines.length = 0;
      await Promise.all(others.map((client) => client.query(CONTENTS)));
    },
    drop: async () => {
      await Promise.all(others.map((client) => client.end()));
      await wire.close();
      await asSuperuser('postgres', async (client) => {
        for (const name of copies) await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
      });
      await template.drop();
    },
  };
}
