import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { Durable } from '../support/durable.js';
import type { TestRole } from '../support/postgres.js';
import { until } from '../support/wait.js';
import { bound } from './bound.js';
import { type Item, type Order, readScript, type Statement } from './script.js';
import type { Web } from './web.js';

/** How statements are sent. */
export type Way = 'simple' | 'extended';

interface Answer {
  readonly columns: string[];
  readonly rows: string[];
  readonly notices: string[];
  readonly error?: { readonly code: string; readonly message: string };
}

/** One run of one script: its sessions, its names and the instances that it has started. */
export class Runner {
  readonly #d: Durable;
  readonly #web: Web;
  readonly #way: Way;
  /** Unique per run: the script's role and schema. */
  readonly #tag = randomBytes(4).toString('hex');
  readonly #sessions = new Map<string, pg.Client>();
  readonly #notices: string[] = [];
  /** Word in the script → name in the server. */
  readonly #names = new Map<string, string>();
  readonly #instances = new Map<string, string>();
  /** Word in the script → name of an instance. */
  readonly #standIns = new Map<string, string>();
  #session!: pg.Client;
  #last = '';

  private constructor(d: Durable, root: pg.Client, web: Web, way: Way) {
    // Scripts run at the same time: each looks at the server through a connection of its own.
    this.#d = Object.create(d, { root: { value: root } }) as Durable;
    this.#web = web;
    this.#way = way;
  }

  /** Runs a script; throws an Error that names the line at the first claim that does not hold. */
  static async run(d: Durable, web: Web, way: Way, items: readonly Item[]): Promise<void> {
    const root = new pg.Client({ connectionString: d.database.superUrl });
    root.on('error', () => {});
    await root.connect();
    const runner = new Runner(d, root, web, way);
    try {
      await runner.#granting(() => runner.#open());
      await runner.#script(items);
    } finally {
      await runner.#close().finally(() => root.end());
    }
  }

  async #open(): Promise<void> {
    const role = await this.#d.user('reader');
    await this.#d.root.query(`CREATE SCHEMA ${role.name} AUTHORIZATION ${role.name}`);
    await this.#d.root.query(`ALTER ROLE ${role.name} SET search_path = ${role.name}, public`);
    this.#names.set('app', role.name);
    this.#session = await this.#connect('app', role);
  }

  /** The server refuses GRANTs on the same object at the same time: "tuple concurrently updated". */
  async #granting<T>(work: () => Promise<T>): Promise<T> {
    await this.#d.root.query(`SELECT pg_advisory_lock(hashtext('conformance'))`);
    try {
      return await work();
    } finally {
      await this.#d.root.query(`SELECT pg_advisory_unlock(hashtext('conformance'))`);
    }
  }

  async #connect(word: string, role: TestRole, database?: string): Promise<pg.Client> {
    const url = new URL(this.#d.proxy.url(role));
    if (database !== undefined) url.pathname = `/${this.#named(database)}`;
    const client = new pg.Client({ connectionString: url.href });
    client.on('error', () => {});
    await client.connect();
    client.on('notice', ({ severity, message }) => this.#notices.push(`${severity} ${message}`));
    this.#sessions.set(word, client);
    return client;
  }

  async #close(): Promise<void> {
    const { root } = this.#d;
    for (const client of this.#sessions.values()) await client.end().catch(() => {});
    const names = [...this.#names.values()];
    const drop = async (kind: string, catalogue: string, column: string): Promise<void> => {
      const { rows } = await root.query<{ name: string }>(
        `SELECT ${column} AS name FROM ${catalogue} WHERE ${column} = ANY ($1)`,
        [names],
      );
      for (const { name } of rows) await root.query(`DROP ${kind.replace('%', name)}`);
    };
    if (await this.#d.value(`SELECT to_regclass('df.instances')`)) {
      await root.query(
        `SELECT df.cancel(id) FROM df.instances WHERE status IN ('pending', 'running') AND submitted_by::text = ANY ($1)`,
        [names],
      );
    }
    await drop('DATABASE % WITH (FORCE)', 'pg_database', 'datname');
    await drop('SCHEMA % CASCADE', 'pg_namespace', 'nspname');
    await this.#granting(async () => {
      await drop('OWNED BY % CASCADE', 'pg_roles', 'rolname');
      // the first one is dropped with the database
      names.splice(names.indexOf(this.#names.get('app')!), 1);
      await drop('ROLE %', 'pg_roles', 'rolname');
    });
  }

  async #script(items: readonly Item[]): Promise<void> {
    for (const item of items) {
      try {
        if (item.kind === 'order') await this.#obey(item);
        else await this.#statement(item);
      } catch (error) {
        const what = item.kind === 'order' ? `--> ${item.verb} ${item.text}` : item.sql;
        throw new Error(`${item.at}: ${what}\n${(error as Error).message}`, { cause: error });
      }
    }
  }

  async #obey({ verb, text }: Order): Promise<void> {
    const { root } = this.#d;
    if (verb === 'include') await this.#script(readScript(text));
    else if (verb === 'name')
      for (const word of text.split(' ')) this.#names.set(word, `${word}_${this.#tag}`);
    else if (verb === 'stands for') {
      const [word, name] = text.split(' ');
      this.#standIns.set(word!, name!);
    } else if (verb === 'session') await this.#use(text);
    else if (verb === 'time passes')
      await root.query('UPDATE _df.clock SET shift = shift + $1::interval', [text]);
    else if (verb === 'waits')
      await until(
        () =>
          this.#d.value('SELECT graph IS NOT NULL AND owner IS NULL FROM _df.instances WHERE id = $1', [
            this.#last,
          ]),
        { what: `instance ${this.#last} to be parked` },
      );
    else if (verb === 'ends') await this.#ends(text);
    else if (verb === 'http')
      await this.#granting(() =>
        root.query('SELECT df.grant_usage($1, include_http => true)', [this.#names.get('app')]),
      );
    else if (verb === 'requested') this.#requested(text);
  }

  #requested(text: string): void {
    const [method = '', url = ''] = text.split(' ', 2);
    const what = text.slice(method.length + url.length + 2);
    const header = /^([\w-]+): (.*)$/.exec(what);
    const found = this.#web
      .requests(method, url)
      .map(({ headers, body }) =>
        header ? `${header[1]}: ${headers[header[1]!]}` : what && body.toString(),
      );
    if (!found.some((each) => this.#pattern(what).test(each)))
      throw new Error(`it was not requested; of ${method} ${url} there is: ${found.join('; ') || 'none'}`);
  }

  async #use(word: string): Promise<void> {
    const open = this.#sessions.get(word);
    if (open !== undefined) {
      this.#session = open;
      return;
    }
    const [who, database] = word.split(' in ') as [string, string?];
    if (who === 'superuser') {
      const { username, password } = new URL(this.#d.database.superUrl);
      const role = { name: username, password: decodeURIComponent(password), url: '' };
      this.#session = await this.#connect(word, role, database);
      return;
    }
    const name = this.#names.get(word);
    if (name === undefined) throw new Error(`no name ${word}`);
    const password = randomBytes(9).toString('hex');
    await this.#d.root.query(`ALTER ROLE ${name} PASSWORD '${password}'`);
    this.#session = await this.#connect(word, { name, password, url: '' });
  }

  async #ends(text: string): Promise<void> {
    const [, name, status, result] = /^(?::(\w+) )?(\w+)(?: ([\s\S]*))?$/.exec(text) ?? [];
    const id = name === undefined ? this.#last : this.#instances.get(name);
    if (id === undefined) throw new Error(`no instance ${name}`);
    const ended = await this.#d.ended(id);
    if (ended !== status) throw new Error(`it ${ended}: ${await this.#d.output(id)}`);
    if (result === undefined) return;
    const found =
      status === 'failed'
        ? await this.#d.value(`SELECT df.result($1)::jsonb ->> 'error'`, [id])
        : await this.#d.value('SELECT df.result($1)', [id]);
    this.#same([String(found)], [result]);
  }

  async #statement({ sql, claims }: Statement): Promise<void> {
    const rows = claims
      .filter(({ verb }) => verb === 'prints' || verb === 'comes to')
      .map(({ text }) => text);
    const wanted = rows.length === 1 && rows[0] === 'nothing' ? [] : rows;
    if (claims.some(({ verb }) => verb === 'comes to')) {
      let found: unknown;
      await until(
        async () => {
          found = undefined;
          const answer = await this.#send(sql);
          try {
            this.#check(answer, claims, wanted);
          } catch (error) {
            found = error;
          }
          return found === undefined;
        },
        { what: 'the statement to print this' },
      ).catch((error) => {
        throw found ?? error;
      });
    } else {
      const grants = /\b(?:grant|revoke)/i.test(sql);
      const answer = await (grants ? this.#granting(() => this.#send(sql)) : this.#send(sql));
      this.#check(answer, claims, rows.length === 0 ? undefined : wanted);
    }
  }

  #check(answer: Answer, claims: readonly Order[], rows: readonly string[] | undefined): void {
    const failure = claims.find(({ verb }) => verb === 'fails');
    if (failure !== undefined) {
      this.#same(
        [answer.error ? `${answer.error.code} ${answer.error.message}` : 'it succeeded'],
        [failure.text],
      );
      return;
    }
    if (answer.error !== undefined) throw new Error(`${answer.error.code} ${answer.error.message}`);
    if (rows !== undefined) this.#same(answer.rows, rows);
    for (const { verb, text } of claims) {
      if (verb === 'columns') this.#same([answer.columns.join(' | ')], [text]);
      else if (verb === 'says' && !answer.notices.some((notice) => this.#pattern(text).test(notice)))
        throw new Error(`it said ${JSON.stringify(answer.notices)}, not: ${text}`);
      else if (verb === 'starts') {
        if (answer.rows.length !== 1 || !/^[0-9a-f]{8}$/.test(answer.rows[0]!))
          throw new Error(`no id of an instance: ${answer.rows.join('; ')}`);
        this.#last = answer.rows[0]!;
        this.#instances.set(text, this.#last);
        if (/^[0-9a-f]{8}$/.test(text)) this.#standIns.set(text, text);
      }
    }
  }

  #same(found: readonly string[], wanted: readonly string[]): void {
    const matches =
      found.length === wanted.length &&
      wanted.every((text, index) => this.#pattern(text).test(found[index]!));
    if (!matches) throw new Error(`it printed\n${found.join('\n')}\nnot\n${wanted.join('\n')}`);
  }

  #pattern(text: string): RegExp {
    const source = this.#named(text)
      .split(/(<\w+>)/)
      .map((part) => {
        if (part === '<any>') return '[\\s\\S]*';
        if (part === '<id>') return '[0-9a-f]{8}';
        const instance = /^<(\w+)>$/.exec(part)?.[1];
        return (instance && this.#instances.get(instance)) ?? part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
      })
      .join('');
    return new RegExp(`^${source}$`);
  }

  /** With the names of this run. */
  #named(text: string): string {
    for (const [word, name] of this.#names) {
      if (word !== 'app') text = text.replace(new RegExp(`(?<![\\w])${word}(?![\\w])`, 'g'), name);
    }
    return text;
  }

  async #send(sql: string): Promise<Answer> {
    let text = this.#named(sql).replace(/:'(\w+)'/g, (_, name: string) => {
      const id = this.#instances.get(name);
      if (id === undefined) throw new Error(`no instance ${name}`);
      return `'${id}'`;
    });
    for (const [word, name] of this.#standIns) {
      const id = this.#instances.get(name)!;
      text = text.replaceAll(word, word.startsWith("'") ? `'${id}'` : id);
    }
    this.#notices.length = 0;
    try {
      // The types of pg know `rowMode` and `queryMode`, but not both at once.
      const config = this.#way === 'simple' ? { text } : { ...bound(text), queryMode: 'extended' };
      const answer = await this.#session.query<Array<string | null>>({
        ...config,
        rowMode: 'array',
        types: asText,
      } as pg.QueryArrayConfig);
      const rows = answer.rows.map((row) => row.map((value) => value ?? '(null)').join(' | '));
      return { columns: answer.fields.map(({ name }) => name), rows, notices: [...this.#notices] };
    } catch (error) {
      if (!(error instanceof pg.DatabaseError)) throw error;
      return {
        columns: [],
        rows: [],
        notices: [...this.#notices],
        error: { code: error.code!, message: error.message },
      };
    }
  }
}

/** Every value as the server writes it. */
const asText = { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig;
