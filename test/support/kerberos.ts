import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { until } from './wait.js';

const REALM = 'TEST.LOCAL';
const MASTER_KEY = 'master';
/** Where Debian has what is not on everybody's PATH. */
const PATH = `${process.env.PATH}:/usr/sbin:/usr/lib/mit/sbin`;
const PROGRAMS = ['krb5kdc', 'kdb5_util', 'kadmin.local', 'kinit'];

/** The programs that are not there; undefined: all are. */
export function kerberosMissing(): string | undefined {
  const missing = PROGRAMS.filter((name) => !PATH.split(':').some((at) => existsSync(join(at, name))));
  return missing.length === 0
    ? undefined
    : `needs ${missing.join(', ')} (Debian: krb5-kdc, krb5-admin-server, krb5-user)`;
}

/** A realm for one test file: a key distribution centre on a port of its own, with one service and one person. */
export interface Kerberos {
  /** What libraries find it by, with the ticket of the person. */
  readonly env: Readonly<Record<string, string>>;
  /** The keys of the service `postgres/localhost`; whoever runs it must be able to read it. */
  readonly keytab: string;
  stop(): Promise<void>;
}

/** @param person who gets a ticket */
export async function startKerberos(person: string): Promise<Kerberos> {
  const home = await mkdtemp('/tmp/pg-durable-kerberos-');
  // The account that runs the server must pass through.
  await chmod(home, 0o711);
  const port = await freePort();
  const file = async (name: string, lines: readonly string[]) => {
    await writeFile(join(home, name), `${lines.join('\n')}\n`, { mode: 0o644 });
    return join(home, name);
  };
  const env = {
    PATH,
    KRB5_CONFIG: await file('krb5.conf', [
      '[libdefaults]',
      ` default_realm = ${REALM}`,
      ...['dns_lookup_kdc', 'dns_lookup_realm', 'dns_canonicalize_hostname', 'rdns'].map(
        (name) => ` ${name} = false`,
      ),
      '[realms]',
      ...[` ${REALM} = {`, `  kdc = 127.0.0.1:${port}`, ' }'],
    ]),
    KRB5_KDC_PROFILE: await file('kdc.conf', [
      '[kdcdefaults]',
      ...[` kdc_ports = ${port}`, ` kdc_tcp_ports = ${port}`],
      '[realms]',
      ` ${REALM} = {`,
      ...[`  database_name = ${join(home, 'principal')}`, `  key_stash_file = ${join(home, 'stash')}`, ' }'],
    ]),
    KRB5CCNAME: join(home, 'ticket'),
  };
  const run = (program: string, args: readonly string[], input = '') =>
    execFileSync(program, args, { env, input, stdio: ['pipe', 'ignore', 'pipe'] });
  const keytab = join(home, 'keytab');
  run('kdb5_util', ['create', '-s', '-r', REALM, '-P', MASTER_KEY]);
  run('kadmin.local', ['-q', `addprinc -pw ${MASTER_KEY} ${person}`]);
  run('kadmin.local', ['-q', 'addprinc -randkey postgres/localhost']);
  run('kadmin.local', ['-q', `ktadd -k ${keytab} postgres/localhost`]);
  await chmod(keytab, 0o644);
  const centre: ChildProcess = spawn('krb5kdc', ['-n'], { env, stdio: 'ignore' });
  const gone = new Promise((resolve) => centre.once('exit', resolve));
  const stop = async () => {
    centre.kill();
    await gone;
    await rm(home, { recursive: true, force: true });
  };
  const ticket = () => {
    try {
      run('kinit', [person], `${MASTER_KEY}\n`);
      return true;
    } catch {
      return false;
    }
  };
  await until(ticket, { what: 'a ticket' }).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return { env, keytab, stop };
}

async function freePort(): Promise<number> {
  return await new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}
