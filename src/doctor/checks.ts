import { readdir } from 'node:fs/promises';
import pg from 'pg';
import type { Config } from '../config/config.js';
import { clientAuthentication } from './client-authentication.js';
import { sealedCredentials } from './credentials.js';
import type { Finding } from './doctor.js';

type Check = (client: pg.Client, config: Config) => Promise<Finding[]>;

const oldestVersion = 14;
const newestVersion = 18;

async function version(client: pg.Client): Promise<Finding[]> {
  const { rows } = await client.query<{ number: string; text: string }>(
    "SELECT current_setting('server_version_num') AS number, current_setting('server_version') AS text",
  );
  const major = Math.floor(Number(rows[0]!.number) / 10_000);
  const text = `server version ${rows[0]!.text}`;
  if (major < oldestVersion) {
    return [{ state: 'fail', text, mend: `PostgreSQL ${oldestVersion} or newer is needed` }];
  }
  if (major > newestVersion) {
    return [{ state: 'warn', text, mend: `newer than what this program was tested with (${newestVersion})` }];
  }
  return [{ state: 'ok', text }];
}

async function encoding(client: pg.Client): Promise<Finding[]> {
  const { rows } = await client.query<{ server_encoding: string }>('SHOW server_encoding');
  const name = rows[0]!.server_encoding;
  const text = `encoding ${name}`;
  if (name === 'UTF8') return [{ state: 'ok', text }];
  const mend = "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0, and durable functions there";
  if (name !== 'SQL_ASCII') return [{ state: 'fail', text, mend }];
  return [{ state: 'warn', text: `${text}: results that are not UTF-8 come out wrong`, mend }];
}

async function role(client: pg.Client): Promise<Finding[]> {
  const { rows } = await client.query<{ name: string; super: boolean; standby: boolean }>(
    `SELECT rolname AS name, rolsuper AS super, pg_catalog.pg_is_in_recovery() AS standby
     FROM pg_catalog.pg_roles WHERE rolname = current_user`,
  );
  const { name, super: isSuper, standby } = rows[0]!;
  const quoted = pg.escapeIdentifier(name);
  const findings: Finding[] = isSuper
    ? [
        {
          state: 'warn',
          text: `role ${quoted} is a superuser, which is not needed`,
          mend: 'use a role of its own: CREATE ROLE durable_admin LOGIN PASSWORD ...; GRANT CREATE ON DATABASE ... TO durable_admin',
        },
      ]
    : [{ state: 'ok', text: `role ${quoted} is not a superuser, and need not be` }];
  if (standby) {
    findings.push({
      state: 'fail',
      text: 'the server is a standby (read only)',
      mend: 'point --upstream at the primary',
    });
  }
  return findings;
}

async function rights(client: pg.Client): Promise<Finding[]> {
  const { rows: schemas } = await client.query<{
    name: string;
    owner: string;
    mine: boolean;
    extension: string | null;
  }>(
    `SELECT n.nspname AS name, pg_catalog.pg_get_userbyid(n.nspowner) AS owner,
            pg_catalog.pg_has_role(n.nspowner, 'USAGE') AS mine, e.extname AS extension
     FROM pg_catalog.pg_namespace AS n
     LEFT JOIN pg_catalog.pg_depend AS d
            ON d.classid = 'pg_catalog.pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e'
     LEFT JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
     WHERE n.nspname IN ('df', '_df') ORDER BY n.nspname DESC`,
  );
  const foreign = schemas.find(({ extension }) => extension !== null);
  if (foreign !== undefined) {
    return [
      {
        state: 'fail',
        text: `schema ${foreign.name} belongs to the extension ${foreign.extension}`,
        mend: 'use another database as the control database, or drop the extension',
      },
    ];
  }
  const notMine = schemas.find(({ mine }) => !mine);
  if (notMine !== undefined) {
    const owner = pg.escapeIdentifier(notMine.owner);
    return [
      {
        state: 'fail',
        text: `schema ${notMine.name} belongs to role ${owner}`,
        mend: `connect as ${owner}: the role that installed the schemas is the one that the proxy works as`,
      },
    ];
  }
  if (schemas.length > 0) return [{ state: 'ok', text: 'schemas df and _df belong to this role' }];
  const { rows } = await client.query<{ may: boolean; grant: string }>(
    `SELECT pg_catalog.has_database_privilege(current_database(), 'CREATE') AS may,
            pg_catalog.format('GRANT CREATE ON DATABASE %I TO %I', current_database(), current_user) AS grant`,
  );
  if (rows[0]!.may) return [{ state: 'ok', text: 'right to create schemas in the database' }];
  return [
    {
      state: 'fail',
      text: 'no right to create schemas in the database',
      mend: `as its owner: ${rows[0]!.grant}`,
    },
  ];
}

async function schema(client: pg.Client): Promise<Finding[]> {
  const files = (await readdir(new URL('../../sql/', import.meta.url))).filter((name) =>
    /^\d{3}_.*\.sql$/.test(name),
  );
  const wanted = Math.max(...files.map((name) => Number(name.slice(0, 3))));
  if (!(await isInstalled(client))) {
    return [
      {
        state: 'warn',
        text: 'the schema is not installed',
        mend: '"serve" installs it, or do it now with "install"',
      },
    ];
  }
  const { rows } = await client.query<{ version: number }>(
    'SELECT coalesce(max(number), 0) AS version FROM _df.migrations',
  );
  const have = Number(rows[0]!.version);
  if (have === wanted) return [{ state: 'ok', text: `schema version ${have}` }];
  if (have < wanted) {
    return [
      {
        state: 'warn',
        text: `schema version ${have}, this program has ${wanted}`,
        mend: 'upgrade with "install" or "serve"',
      },
    ];
  }
  return [
    {
      state: 'fail',
      text: `schema version ${have}, this program knows ${wanted} only`,
      mend: 'use the newer program',
    },
  ];
}

async function clock(client: pg.Client): Promise<Finding[]> {
  const before = Date.now();
  const { rows } = await client.query<{ now: number }>(
    'SELECT extract(epoch FROM pg_catalog.clock_timestamp())::float8 * 1000 AS now',
  );
  const after = Date.now();
  // The server looked at its clock somewhere in between.
  const difference = rows[0]!.now - (before + after) / 2;
  const uncertainty = (after - before) / 2;
  const text = `clock of the server ${(difference / 1000).toFixed(3)} s from ours (± ${(uncertainty / 1000).toFixed(3)} s)`;
  if (Math.abs(difference) <= uncertainty + 2000) return [{ state: 'ok', text }];
  return [
    {
      state: 'warn',
      text,
      mend: 'timers and leases go by the server alone, but times in logs will not match: check NTP on both machines',
    },
  ];
}

async function connections(client: pg.Client, config: Config): Promise<Finding[]> {
  const { rows } = await client.query<{ max: number; role: number; used: number }>(
    `SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS max,
            (SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user) AS role,
            (SELECT count(*)::int FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend') AS used`,
  );
  const { max, role: limit, used } = rows[0]!;
  const { maxManagementConnections: management, maxUserConnections: user } = config;
  const findings: Finding[] = [];
  if (limit >= 0 && limit < management) {
    findings.push({
      state: 'fail',
      text: `the role may have ${limit} connections, max_management_connections is ${management}`,
      mend: 'ALTER ROLE ... CONNECTION LIMIT -1, or lower the setting',
    });
  }
  const text = `the proxy itself may use ${management + user} of ${max} connections (${used} are in use now)`;
  if (management + user > max / 2) {
    findings.push({
      state: 'warn',
      text,
      mend: 'lower max_user_connections or raise max_connections: every client of the proxy needs one more',
    });
  } else findings.push({ state: 'ok', text });
  return findings;
}

async function proxies(client: pg.Client): Promise<Finding[]> {
  if (!(await isInstalled(client))) return [];
  const { rows } = await client.query<{ alive: number; ago: number | null }>(
    `SELECT count(*) FILTER (WHERE last_seen_at > pg_catalog.clock_timestamp() - interval '15 seconds')::int AS alive,
            round(extract(epoch FROM pg_catalog.clock_timestamp() - max(last_seen_at)))::float8 AS ago
     FROM df._worker_epoch`,
  );
  const { alive, ago } = rows[0]!;
  if (alive > 0) return [{ state: 'ok', text: 'a proxy is at work on this database' }];
  const text =
    ago === null ? 'no proxy has worked on this database yet' : `no proxy has been at work for ${ago} s`;
  return [{ state: 'warn', text, mend: 'durable functions wait until "serve" runs' }];
}

async function credentials(client: pg.Client): Promise<Finding[]> {
  if (!(await isInstalled(client))) return [];
  const { rows } = await client.query<{ role: string; count: number; reason: string }>(
    `SELECT coalesce(pg_catalog.quote_ident(r.rolname), i.role::text) AS role, count(*)::int AS count,
            min(i.waiting) AS reason
     FROM _df.instances AS i LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = i.role
     WHERE i.waiting IS NOT NULL AND i.finished_at IS NULL
     GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20`,
  );
  if (rows.length === 0) return [{ state: 'ok', text: 'no durable function waits for a login of its role' }];
  return rows.map(({ role, count, reason }) => ({
    state: 'warn',
    text: `${count} durable function${count === 1 ? '' : 's'} of role ${role} wait${count === 1 ? 's' : ''}: ${reason}`,
    mend: `log in through the proxy once as ${role}, or mend what is said there; its work then goes on by itself`,
  }));
}

/** False as long as the schema has never been installed (or not as far as its tables). */
async function isInstalled(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ there: boolean }>(
    `SELECT pg_catalog.to_regclass('_df.migrations') IS NOT NULL
        AND pg_catalog.to_regclass('_df.instances') IS NOT NULL
        AND pg_catalog.to_regclass('df._worker_epoch') IS NOT NULL AS there`,
  );
  return rows[0]!.there;
}

/** In the order of the report. */
export const checks: readonly Check[] = [
  version,
  encoding,
  role,
  rights,
  schema,
  connections,
  clock,
  proxies,
  sealedCredentials,
  credentials,
  clientAuthentication,
];
