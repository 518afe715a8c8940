/**
 * The conformance suite: one SQL script per chapter of the user guide (`scripts/guide-*.sql`) and per section of the
 * API's description (`scripts/api-*.sql`), run through the proxy as psql would run it: split at semicolons, sent one
 * statement at a time in one session, by simple queries and again by the extended protocol. A script reads from top to
 * bottom; each line that begins with `-->` says what the statement above it does:
 *
 *   --> prints 42 | x          a row: its columns with ` | ` between them, NULL as (null). One line per row; all rows
 *   --> | more                 a further line of the row above it
 *   --> prints nothing         no rows
 *   --> comes to 42 | x        the same, some time within 10 s: the statement is repeated until it prints this
 *   --> columns a | b          names of the columns
 *   --> fails 42501 text       an error: SQLSTATE and message
 *   --> says NOTICE text       a notice, beside others
 *   --> starts NAME            the one value is the id of a new instance: from here on :'NAME' in statements, <NAME> in
 *                              texts; a NAME of eight hex digits also stands for it by itself, in statements
 *   --> ends completed TEXT    waits until the last instance ends; TEXT, if any, is its df.result
 *   --> ends failed TEXT       TEXT is the error in its df.result
 *   --> NAME ends ...          the same for another instance
 *   --> waits                  waits until the last instance is parked: nothing to do before a time or a signal
 *
 * A statement with none of these must succeed. In texts <any> stands for anything and <id> for eight hex digits. These
 * lines are orders to the runner; what they order lasts until the script ends:
 *
 *   --> block LINE             a code block of the guide begins, whose first line this is (see blocks.test.ts)
 *   --> fragment LINE          a block that is no statement by itself: what stands around it is ours
 *   --> alone                  (at the top) a database of its own, whose clock this script may move
 *   --> include FILE           runs a script of this folder, or `playground`: the guide's sample data
 *   --> http                   the role may make HTTP requests, which a stand-in on loopback answers (web.ts)
 *   --> requested GET URL X    the stand-in got such a request; X, if any, is its body or a header, `name: value`
 *   --> name WORD ...          the WORDs are names of the whole server (roles, databases) or of the database: in
 *                              statements and texts each stands for a name that nobody else uses; dropped at the end
 *   --> WORD stands for NAME   in statements, WORD stands for the id of the instance NAME
 *   --> session WORD           goes on as the role WORD, with a password, in its own session; `app` is the first one, a
 *                              role with df.grant_usage and a schema of its own; `superuser`, the server's superuser,
 *                              also `superuser in DATABASE`
 *   --> time passes INTERVAL   moves the engine's clock (in a script that is alone)
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { splitStatements } from '../../src/engine/split.js';

export interface Order {
  readonly verb: string;
  readonly text: string;
  /** File and line. */
  readonly at: string;
}

export interface Statement {
  /** File and line. */
  readonly at: string;
  readonly sql: string;
  /** What it does, in order: prints, comes to, columns, fails, says, starts. */
  readonly claims: readonly Order[];
}

export type Item = ({ kind: 'statement' } & Statement) | ({ kind: 'order' } & Order);

const CLAIMS = ['prints', 'comes to', 'columns', 'fails', 'says', 'starts'];
const ORDERS = [
  'ends',
  'waits',
  'block',
  'fragment',
  'alone',
  'include',
  'name',
  'session',
  'time passes',
  'requested',
  'http',
];
const folder = join(import.meta.dirname, 'scripts');

/** Whether a script has this order. */
export function orders(items: readonly Item[], verb: string): boolean {
  return items.some((item) => item.kind === 'order' && item.verb === verb);
}

/** The items of a script in this folder; throws an Error with the line where one cannot be read. */
export function readScript(name: string): Item[] {
  return parseScript(
    readFileSync(
      name === 'playground' ? join(folder, '../../../docs/playground.sql') : join(folder, `${name}.sql`),
      'utf8',
    ),
    `${name}.sql`,
  );
}

/** @param name of the file, for errors */
export function parseScript(text: string, name: string): Item[] {
  const items: Array<
    { kind: 'statement'; sql: string; at: string; claims: Order[] } | ({ kind: 'order' } & Order)
  > = [];
  let sql: string[] = [];
  let began = 1;
  const flush = (): void => {
    const whole = sql.join('\n');
    let from = 0;
    for (const statement of splitStatements(whole)) {
      const start = whole.indexOf(statement, from) + statement.length - statement.trimStart().length;
      from = start + statement.trimStart().length;
      if (statement.replace(/--.*|\/\*[\s\S]*?\*\//g, '').trim() === '') continue;
      const line = began + whole.slice(0, start).split('\n').length - 1;
      items.push({ kind: 'statement', sql: statement.trim(), at: `${name}:${line}`, claims: [] });
    }
    sql = [];
  };
  for (const [index, each] of text.split('\n').entries()) {
    if (!each.startsWith('-->')) {
      if (sql.length === 0) began = index + 1;
      sql.push(each);
      continue;
    }
    flush();
    const at = `${name}:${index + 1}`;
    const order = { ...readOrder(each.slice(3).replace(/^ /, ''), at), at };
    const above = items.at(-1);
    if (order.verb === '|') {
      const claim = above?.kind === 'statement' ? above.claims.at(-1) : undefined;
      const row = claim ?? (above?.kind === 'order' ? above : undefined);
      if (row === undefined) throw new Error(`${at}: there is no row above`);
      const longer = { ...row, text: `${row.text}\n${order.text}` };
      if (above?.kind === 'statement') above.claims[above.claims.length - 1] = longer;
      else items[items.length - 1] = { kind: 'order', ...longer };
    } else if (CLAIMS.includes(order.verb)) {
      if (above?.kind !== 'statement') throw new Error(`${at}: there is no statement above`);
      above.claims.push(order);
    } else items.push({ kind: 'order', ...order });
  }
  flush();
  return items;
}

function readOrder(text: string, at: string): { verb: string; text: string } {
  if (text === '|' || text.startsWith('| ')) return { verb: '|', text: text.slice(2) };
  const verb = [...CLAIMS, ...ORDERS].find((each) => text === each || text.startsWith(`${each} `));
  if (verb !== undefined) return { verb, text: text.slice(verb.length + 1) };
  const stands = /^(\S+) stands for (\w+)$/.exec(text);
  if (stands) return { verb: 'stands for', text: `${stands[1]} ${stands[2]}` };
  if (/^\w+ ends /.test(text)) return { verb: 'ends', text: `:${text.replace(' ends', '')}` };
  throw new Error(`${at}: cannot be read: ${text}`);
}
