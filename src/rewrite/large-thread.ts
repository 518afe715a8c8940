import { parentPort, workerData } from 'node:worker_threads';
import { rewriteStatement } from './analyse.js';
import type { Edited } from './edit.js';
import type { LargeReply, LargeRequest, LargeThreadData } from './large.js';
import { Parser } from './parser.js';
import { survey } from './survey.js';
import { readStatement } from './text.js';

/** The worker thread of large.ts: a request in, its reply out, one after another. */

/** A tree takes about 400 bytes of memory for each token: texts with more tokens than this pass unread. */
const MAX_TOKENS = 500_000;

const parser = new Parser();
const { extension } = workerData as LargeThreadData;

async function answer({ sql, syntax, elsewhere }: LargeRequest): Promise<Edited | null> {
  const statement = Buffer.from(sql.buffer, sql.byteOffset, sql.byteLength);
  const text = readStatement(statement, syntax);
  if (text === null) return null;
  const { worthParsing, tokens } = survey(text.bytes);
  if (!worthParsing || tokens > MAX_TOKENS) return null;
  await parser.load();
  return rewriteStatement(text, statement, syntax, parser, { extension, elsewhere });
}

function reply(edited: LargeReply): void {
  if (edited === null) parentPort?.postMessage(null);
  else
    parentPort?.postMessage(edited, [edited.sql.buffer as ArrayBuffer, edited.spans.buffer as ArrayBuffer]);
}

parentPort?.on('message', (request: LargeRequest) => {
  answer(request).then(reply, () => reply(null));
});
