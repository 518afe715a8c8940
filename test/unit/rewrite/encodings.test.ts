import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRewriter, type StatementRewriter } from '../../../src/rewrite/rewriter.js';

let rewriter: StatementRewriter;
beforeAll(async () => {
  rewriter = await createRewriter();
});
afterAll(() => rewriter.close());

/** Bytes of a text in which `{81 5c}` stands for raw bytes. */
function raw(text: string): Buffer {
  const bytes = text.replaceAll(/\{([0-9a-f ]+)\}/g, (_, hex: string) =>
    Buffer.from(hex.replaceAll(' ', ''), 'hex').toString('latin1'),
  );
  return Buffer.from(bytes, 'latin1');
}

async function rewrite(text: string, clientEncoding: string, standardConformingStrings = true) {
  const bytes = raw(text);
  const before = Buffer.from(bytes);
  const rewritten = await rewriter.rewrite(bytes, { clientEncoding, standardConformingStrings });
  expect(bytes.equals(before)).toBe(true);
  return rewritten;
}

describe('characters whose second byte looks like something else', () => {
  it.each([
    // 5c is a backslash, 7c a pipe, 7e a tilde, 27 never is a second byte, 26 neither.
    ['SJIS', "SELECT df.start('{83 5c}' ⟨~>⟩ E'{83 5c}' ⟨|⟩ {83 7c}) -- {83 7e}> 'x'"],
    ['SHIFT_JIS_2004', "SELECT df.start('{83 5c}' ⟨~>⟩ '{b1}{b2}')"],
    ['BIG5', "SELECT df.start(E'{b3 5c}' ⟨~>⟩ '{a5 7c}' ⟨&⟩ \"{a5 7c}\")"],
    ['GBK', "SELECT df.start(E'{95 5c}' ⟨~>⟩ {81 7c}{81 7e})"],
    ['GB18030', "SELECT df.start(E'{95 5c}{81 30 81 30}' ⟨~>⟩ '{81 7e}' ⟨|⟩ x)"],
    ['UHC', "SELECT df.start('{81 41}' ⟨~>⟩ {81 5a})"],
    ['JOHAB', "SELECT df.start('{88 61}' ⟨~>⟩ E'{d9 5c}' ⟨|⟩ x)"],
    ['EUC_JP', "SELECT df.start('{a4 a2}{8e b1}{8f a2 af}' ⟨~>⟩ {a4 a2})"],
    ['EUC_TW', "SELECT df.start('{8e a2 a1 a1}' ⟨~>⟩ x)"],
    ['LATIN1', "SELECT df.start('{e9}' ⟨~>⟩ {e9}t{e9})"],
    ['WIN1252', "SELECT df.start('{80}' ⟨~>⟩ analy{e9}e)"],
    ['SQL_ASCII', "SELECT df.start('{ff fe}' ⟨~>⟩ x)"],
    ['MULE_INTERNAL', "SELECT df.start('{81 e9}{92 a4 a2}' ⟨~>⟩ x)"],
  ])('%s', async (encoding, marked) => {
    const sql = marked.replaceAll(/⟨(.*?)⟩/g, '$1');
    const expected = marked.replaceAll(/⟨(.*?)⟩/g, 'OPERATOR(df.$1)');
    const rewritten = await rewrite(sql, encoding);
    expect(rewritten?.sql.toString('hex')).toBe(raw(expected).toString('hex'));
  });

  it('would be misread as ASCII', async () => {
    // In SJIS the literal ends at the second quote; read as single bytes, its backslash would hide that quote.
    const sql = "SELECT df.start(E'{83 5c}' ~> 'x')";
    expect((await rewrite(sql, 'SJIS'))?.sql.toString('latin1')).toContain('OPERATOR(df.~>)');
    expect(await rewrite(sql, 'LATIN1')).toBeNull();
  });

  it('in bodies', async () => {
    const sql = "DO E'BEGIN PERFORM df.start(\\'{83 5c}\\' ~> \\'{83 7c}\\'); END'";
    const expected = sql.replace('~>', 'OPERATOR(df.~>)');
    expect((await rewrite(sql, 'SJIS'))?.sql.equals(raw(expected))).toBe(true);
  });

  it('names that differ in their bytes stay different', async () => {
    const sql =
      'DO $$ DECLARE {e9} text; {e8} int; BEGIN {e9} := {e9} & {e9}; {e8} := {e8} & {e8}; END $$ -- df.';
    const expected = sql.replace('{e9} & {e9}', '{e9} OPERATOR(df.&) {e9}');
    expect((await rewrite(sql, 'LATIN1'))?.sql.equals(raw(expected))).toBe(true);
  });
});

describe('positions count the characters of the client encoding', () => {
  it.each([
    ['UTF8', "SELECT '{c3 a9}{f0 9f 99 82}', 'a' ~> b", 9 + 2 + 3 + 4],
    ['SJIS', "SELECT '{83 5c}{b1}', 'a' ~> b", 9 + 2 + 3 + 4],
    ['GB18030', "SELECT '{81 30 81 30}{95 5c}', 'a' ~> b", 9 + 2 + 3 + 4],
    ['EUC_JP', "SELECT '{8f a2 af}{a4 a2}', 'a' ~> b", 9 + 2 + 3 + 4],
    ['LATIN1', "SELECT '{e9}{e8}', 'a' ~> b", 9 + 2 + 3 + 4],
  ])('%s', async (encoding, sql, operator) => {
    const rewritten = await rewrite(sql, encoding);
    const { positions } = rewritten!;
    expect(positions.original(1)).toBe(1);
    expect(positions.original(operator)).toBe(operator);
    expect(positions.original(operator + 'OPERATOR(df.~>)'.length - 1)).toBe(operator);
    // The operand behind: ` b`.
    expect(positions.original(operator + 'OPERATOR(df.~>)'.length + 1)).toBe(operator + 3);
  });
});

describe('invalid UTF-8', () => {
  it('is left to the server', async () => {
    expect(await rewrite("SELECT df.start('{ff}' ~> 'b')", 'UTF8')).toBeNull();
    expect(await rewrite("SELECT df.start('{c3}' ~> 'b')", 'UTF8')).toBeNull();
  });
});

describe('standard_conforming_strings off', () => {
  it.each([
    ["SELECT df.start('it\\'s ~> ' ⟨~>⟩ 'b\\\\')"],
    ["SELECT df.start('\\'' ⟨&⟩ b) -- '"],
    ["SELECT x LIKE'a\\_b', df.start('a' ⟨~>⟩ 'b\\n'\n  'c\\'')"],
    ["SELECT df.start(N'a\\'b' ⟨~>⟩ E'c\\'' ⟨|⟩ $$\\'$$ ⟨&⟩ \"a\\\")"],
    ["SELECT B'1' /* '\\' */, df.start(a ⟨&⟩ b), '\\'' -- '\\"],
    ["DO 'BEGIN PERFORM df.start(\\'a\\' ⟨~>⟩ \\'it\\\\\\'s\\' ⟨&⟩ ''b''); END'"],
    ["DO $$ BEGIN PERFORM df.start('it\\'s' ⟨~>⟩ 'b'); END $$"],
    ["CREATE FUNCTION f(a text) RETURNS text LANGUAGE sql AS 'SELECT df.start(\\'x\\' ⟨~>⟩ a)'"],
  ])('%s', async (marked) => {
    const sql = marked.replaceAll(/⟨(.*?)⟩/g, '$1');
    const expected = marked.replaceAll(/⟨(.*?)⟩/g, 'OPERATOR(df.$1)');
    expect((await rewrite(sql, 'UTF8', false))?.sql.toString('latin1')).toBe(expected);
    expect((await rewrite(sql, 'LATIN1', false))?.sql.toString('latin1')).toBe(expected);
  });

  it('reads a text otherwise than on does, also out of the cache', async () => {
    const sql = "SELECT '\\' ~> 'b', '";
    expect(await rewrite(sql, 'UTF8', true)).toBeNull();
    expect(await rewrite(sql, 'UTF8', false)).toBeNull();
    const other = "SELECT 'a\\' ~> 'b', '\\'";
    expect((await rewrite(other, 'UTF8', true))?.sql.toString()).toContain('OPERATOR');
    expect(await rewrite(other, 'UTF8', false)).toBeNull();
    expect((await rewrite(other, 'UTF8', true))?.sql.toString()).toContain('OPERATOR');
  });

  it('together with an encoding whose characters hold backslashes', async () => {
    const sql = "SELECT df.start('{83 5c}' ~> '{83 5c}\\'', x)";
    const expected = sql.replace('~>', 'OPERATOR(df.~>)');
    expect((await rewrite(sql, 'SJIS', false))?.sql.equals(raw(expected))).toBe(true);
  });
});
