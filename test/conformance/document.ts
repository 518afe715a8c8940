/**
 * The examples of a page in docs/: its blocks of SQL as scripts, one per chapter (## ...), in a session of its own. A
 * reader sees `--> ...` under a statement: what it prints, a line per row (for df.explain, per line of the drawing);
 * `ERROR:  text`, `NOTICE:  text`; eight hex digits are the id of a new instance, and stand for it from there on. What
 * only the runner needs stands in comments of the page, one order a line: `<!-- test`, orders as in script.ts, `-->`.
 * The order `eventually` is about the next block: its statements are repeated until they print what they should.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Item, parseScript } from './script.js';

export interface Chapter {
  readonly title: string;
  readonly items: Item[];
  /** How many blocks of SQL it has. */
  readonly blocks: number;
}

/** The chapters of a page that have blocks of SQL. @param page as `docs/guide.md` */
export function readChapters(page: string): Chapter[] {
  const lines = readFileSync(join(import.meta.dirname, '../..', page), 'utf8').split('\n');
  const starts = lines.flatMap((line, index) => (line.startsWith('## ') ? [index] : []));
  return starts
    .map((start, nth) => {
      const { script, blocks } = scriptOf(lines, start, starts[nth + 1] ?? lines.length);
      return { title: lines[start]!.slice(3), items: parseScript(script, page), blocks };
    })
    .filter(({ blocks }) => blocks > 0);
}

/** The chapter's script, each statement in the line in which it stands on the page. */
function scriptOf(lines: readonly string[], start: number, end: number) {
  const script: string[] = lines.slice(0, end).map(() => '');
  const ids = new Set<string>();
  let place: 'text' | 'sql' | 'orders' = 'text';
  let eventually = false;
  let statement = '';
  let drawing = false;
  let blocks = 0;
  for (let at = start; at < end; at += 1) {
    const line = lines[at]!;
    if (place === 'text') {
      if (line === '```sql') {
        place = 'sql';
        blocks += 1;
      } else if (line === '<!-- test') place = 'orders';
    } else if (place === 'orders') {
      if (line === '-->') place = 'text';
      else if (line === 'eventually') eventually = true;
      else script[at] = `--> ${line}`;
    } else if (line === '```') {
      place = 'text';
      eventually = false;
    } else if (!line.startsWith('-->')) {
      script[at] = line;
      statement = drawing || statement === '' ? line : `${statement}\n${line}`;
      drawing = false;
    } else {
      const printed = line.slice(4);
      if (/^[0-9a-f]{8}$/.test(printed) && !ids.has(printed)) {
        ids.add(printed);
        script[at] = `--> starts ${printed}`;
        statement = '';
        continue;
      }
      const text = [...ids].reduce((whole, id) => whole.replaceAll(id, `<${id}>`), printed);
      const message = /^(ERROR|NOTICE|WARNING): {2}(.*)$/.exec(text);
      if (drawing) script[at] = `--> | ${text}`;
      else if (message?.[1] === 'ERROR') script[at] = `--> fails <any> ${message[2]}`;
      else if (message) script[at] = `--> says ${message[1]} ${message[2]}`;
      else script[at] = `--> ${eventually ? 'comes to' : 'prints'} ${text}`;
      drawing = !message && /df\.explain\(/.test(statement);
      if (!drawing) statement = '';
    }
  }
  return { script: script.join('\n'), blocks };
}
