import { parentPort } from 'node:worker_threads';
import { analyseStatement } from './analyse.js';
import type { Edit } from './edit.js';
import type { LargeRequest } from './large.js';
import { Parser } from './parser.js';
import { survey } from './survey.js';
import { readStatement } from './text.js';

/** The worker thread of large.ts: a request in, its edits (or null) out, one after another. */

/** A tree takes about 400 bytes of memory for each token: texts with more tokens than this pass unread. */
const MAX_TOKENS = 500_000;

const parser = new Parser();

async function answer({ sql, syntax }: LargeRequest): Promise<Edit[] | null> {
  const statement = Buffer.from(sql.buffer, sql.byteOffset, sql.byteLength);
  const text = readStatement(statement, syntax);
  if (text === null) return null;
  const { worthParsing, tokens } = survey(text.bytes);
  if (!worthParsing || tokens > MAX_TOKENS) return null;
  await parser.load();
  return analyseStatement(text, statement, syntax, parser);
}

parentPort?.on('message', (request: LargeRequest) => {
  answer(request).then(
    (edits) => parentPort?.postMessage(edits),
    () => parentPort?.postMessage(null),
  );
});
