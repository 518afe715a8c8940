import { BLOCK_HEAD, BLOCK_TAIL } from '../rewrite/extension.js';
import { FieldCode, readFields, writeFields } from '../wire/fields.js';
import { message } from '../wire/message.js';

/**
 * Takes what the user has not written out of the server's error or notice, where a statement about the extension has
 * become a block: its lines of the context and its internal query.
 * @param raw the whole message
 * @param whole the report is on that statement itself, not on a body that holds it
 * @returns the message to send instead
 */
export function withoutBlocks(raw: Buffer, whole: boolean): Buffer {
  const fields = readFields(raw.subarray(5));
  const where = fields.find((field) => field.code === FieldCode.Where);
  const block = where === undefined ? null : blockIn(where.value);
  if (!whole && block === null) return raw;
  const kept = fields.filter(
    ({ code }) =>
      code !== FieldCode.InternalQuery &&
      code !== FieldCode.InternalPosition &&
      !(whole && code === FieldCode.Where),
  );
  if (!whole) where!.value = Buffer.concat([block!.statement, block!.rest]);
  return message(raw[0]!, writeFields(kept));
}

const HEAD = Buffer.from(`"${BLOCK_HEAD}`);
const TAIL = Buffer.from(`${BLOCK_TAIL}"`);

/**
 * The context of a report from within a block that stands in a body: lines of the block, then the server's line on it
 * as a statement (`SQL statement "..."`, in the language of its messages), then those of the body.
 */
function blockIn(where: Buffer): { statement: Buffer; rest: Buffer } | null {
  const at = where.indexOf(HEAD);
  const end = at < 0 ? -1 : where.indexOf(TAIL, at);
  if (end < 0) return null;
  const line = where.lastIndexOf(0x0a, at) + 1;
  const tagEnd = where.indexOf(' */', at);
  const name = where.subarray(at + HEAD.length, tagEnd);
  const statement = Buffer.concat([
    where.subarray(line, at),
    Buffer.from('"'),
    name,
    Buffer.from(' pg_durable"'),
  ]);
  return { statement, rest: where.subarray(end + TAIL.length) };
}
