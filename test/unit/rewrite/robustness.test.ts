import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LargeStatements } from '../../../src/rewrite/large.js';
import { Parser } from '../../../src/rewrite/parser.js';
import { createRewriter, type StatementRewriter } from '../../../src/rewrite/rewriter.js';

const UTF8 = { clientEncoding: 'UTF8', standardConformingStrings: true };

let rewriter: StatementRewriter;
beforeAll(async () => {
  rewriter = await createRewriter();
});
afterAll(() => rewriter.close());

const small = "SELECT df.start('a' ~> 'b')";
const rewrite = async (sql: string) =>
  (await rewriter.rewrite(Buffer.from(sql), UTF8))?.sql.toString() ?? null;
const works = async () => expect(await rewrite(small)).toBe("SELECT df.start('a' OPERATOR(df.~>) 'b')");

/** The longest time for which the event loop did not turn while `work` went on, in ms. */
async function longestStall(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 1);
  await work();
  longest = Math.max(longest, performance.now() - last);
  clearInterval(timer);
  return longest;
}

describe('statements built to blow the parser', () => {
  const chain = (n: number) => `SELECT 'x'${" ~> 'a'".repeat(n)}`;
  it.each([
    ['20 000 chained operators', chain(20_000)],
    ['100 000 chained operators', chain(100_000)],
    ['20 000 prefix operators', `SELECT df.start(${'@> '.repeat(20_000)}'x')`],
    ['20 000 parentheses', `SELECT df.start('a' ~> ${'('.repeat(20_000)}'b'${')'.repeat(20_000)})`],
    ['5 000 sub-selects', `SELECT 'a' ~> ${'(SELECT '.repeat(5000)}'b'${')'.repeat(5000)}`],
    ['3 000 sub-selects, small', `SELECT 'a' & ${'(SELECT '.repeat(900)}'b'${')'.repeat(900)}`],
    ['10 000 branches of a UNION', `SELECT 'a' ~> 'b'${' UNION SELECT 1'.repeat(10_000)}`],
    ['a 10 MB literal', `SELECT df.start('${'x'.repeat(10_000_000)}' ~> 'b')`],
    ['10 MB of rows', `INSERT INTO t VALUES ${"(1, 'abc', now()), ".repeat(550_000)}(1, 'a' ~> 'b', now())`],
    ['10 MB of a body', `DO $$ BEGIN ${'PERFORM 1 | 2; '.repeat(700_000)} PERFORM 'a' ~> 'b'; END $$`],
    ['a deep body', `DO $$ BEGIN PERFORM 'x'${" ~> 'a'".repeat(30_000)}; END $$`],
    ['nested comments', `SELECT 'a' ~> 'b' ${'/*'.repeat(100_000)}${'*/'.repeat(100_000)}`],
    ['an open comment', `SELECT 'a' ~> 'b' ${'/*'.repeat(100_000)}`],
    ['17 MB', `SELECT 'a' ~> 'b' ${' '.repeat(17 << 20)}`],
  ])('%s: passes unread or rewritten, and the next statement is read', async (_, sql) => {
    const rewritten = await rewrite(sql);
    if (rewritten !== null) expect(rewritten).toContain('OPERATOR(df.');
    await works();
  });

  it('do not hold up the event loop', async () => {
    // The thread is there already: starting it costs some milliseconds once.
    await rewrite(chain(5000));
    const stall = await longestStall(() => rewrite(chain(50_000)));
    console.log(`longest stall of the event loop: ${stall.toFixed(1)} ms`);
    expect(stall).toBeLessThan(100);
  });

  it('do not keep a rewriter from reading another statement meanwhile', async () => {
    const big = rewrite(`${chain(4000)} -- ${'x'.repeat(100_000)}`);
    await works();
    expect((await big)?.split('OPERATOR(df.~>)').length).toBe(4001);
  });
});

describe('a parser that broke', () => {
  it('is replaced by a fresh one', async () => {
    const parser = new Parser();
    await parser.load();
    const deep = Buffer.from(`SELECT 'x'${" ~> 'a'".repeat(50_000)}`);
    expect(parser.parse(deep)).toBeNull();
    expect(parser.ready).toBe(false);
    expect(parser.parse(Buffer.from('SELECT 1'))).toBeNull();
    await parser.load();
    expect(parser.parse(Buffer.from('SELECT 1'))).not.toBeNull();
  });

  it('in a rewriter lets the statements that come meanwhile wait for the fresh one', async () => {
    // Everything inline, so that the parser of the main thread breaks.
    const inline = await createRewriter({ largeStatementBytes: 1 << 24, largeStatementTokens: 1 << 24 });
    const blown = await inline.rewrite(Buffer.from(`SELECT 'x'${" ~> 'a'".repeat(50_000)}`), UTF8);
    expect(blown).toBeNull();
    const next = inline.rewrite(Buffer.from(small), UTF8);
    expect(next).toBeInstanceOf(Promise);
    expect((await next)?.sql.toString()).toContain('OPERATOR(df.~>)');
    expect(inline.rewrite(Buffer.from(`${small} `), UTF8)).not.toBeInstanceOf(Promise);
    await inline.close();
  });
});

describe('the worker thread', () => {
  const large = Buffer.from(`${small} -- ${'x'.repeat(70_000)}`);

  it('gives what the main thread would', async () => {
    const inline = await createRewriter({ largeStatementBytes: 1 << 24 });
    const here = await inline.rewrite(large, UTF8);
    const there = rewriter.rewrite(large, UTF8);
    expect(there).toBeInstanceOf(Promise);
    const rewritten = await there;
    expect(rewritten!.sql.equals(here!.sql)).toBe(true);
    for (let p = 1; p < 60; p++) expect(rewritten!.positions.original(p)).toBe(here!.positions.original(p));
    await inline.close();
  });

  it('may have the bytes of the caller change behind it', async () => {
    const bytes = Buffer.from(large);
    const rewritten = rewriter.rewrite(bytes, UTF8);
    bytes.fill(0);
    expect((await rewritten)?.sql.toString()).toContain("SELECT df.start('a' OPERATOR(df.~>) 'b')");
  });

  it('reads statements with many tokens, too', async () => {
    const many = `SELECT 'a' ~> 'b'${', 1'.repeat(2000)}`;
    const rewritten = rewriter.rewrite(Buffer.from(many), UTF8);
    expect(rewritten).toBeInstanceOf(Promise);
    expect((await rewritten)?.sql.toString()).toContain('OPERATOR(df.~>)');
  });

  it('is given up when it takes too long, and the statement passes unread', async () => {
    const threads = new LargeStatements(1);
    expect(await threads.analyse(large, UTF8)).toBeUndefined();
    expect(await threads.analyse(large, UTF8)).toBeUndefined();
    await threads.close();
  });

  it('takes a bounded number of statements', async () => {
    const threads = new LargeStatements(20_000);
    const asked = Array.from({ length: 200 }, () => threads.analyse(large, UTF8));
    const answers = await Promise.all(asked);
    expect(answers.filter((answer) => answer !== undefined).length).toBe(65);
    await threads.close();
  });

  it('ends with the rewriter, and what waits passes unread', async () => {
    const closing = await createRewriter();
    const asked = [closing.rewrite(large, UTF8), closing.rewrite(large, UTF8)];
    await closing.close();
    expect(await Promise.all(asked)).toEqual([null, null]);
    expect(await closing.rewrite(large, UTF8)).toBeNull();
  });
});

describe('the cache', () => {
  it('gives the same answer for the same text, rewritten or not', async () => {
    const first = await rewriter.rewrite(Buffer.from(small), UTF8);
    expect(rewriter.rewrite(Buffer.from(small), UTF8)).toBe(first);
    const foreign = Buffer.from("SELECT '{a}'::text[] @> x, 5 & 3, 'a' & 1");
    expect(rewriter.rewrite(foreign, UTF8)).toBeNull();
    expect(rewriter.rewrite(foreign, UTF8)).toBeNull();
  });

  it('holds no more than it may', async () => {
    const tight = await createRewriter({ cacheEntries: 2, cacheBytes: 4096 });
    const texts = ['1', '2', '3'].map((n) => Buffer.from(`SELECT df.start('a' ~> 'b') -- ${n}`));
    const answers = texts.map((text) => tight.rewrite(text, UTF8));
    expect(tight.rewrite(texts[2]!, UTF8)).toBe(answers[2]);
    const again = tight.rewrite(texts[0]!, UTF8);
    expect(again).not.toBe(answers[0]);
    expect(again).toEqual(expect.objectContaining({ sql: (answers[0] as { sql: Buffer }).sql }));
    await tight.close();
  });

  it('keeps apart what sessions with other settings sent', async () => {
    const sql = Buffer.from("SELECT 'é', 'a' ~> b");
    const here = await rewriter.rewrite(sql, UTF8);
    const there = await rewriter.rewrite(sql, { clientEncoding: 'LATIN1', standardConformingStrings: true });
    expect(here!.positions.original(40)).not.toBe(there!.positions.original(39));
    expect(here!.sql.equals(there!.sql)).toBe(true);
  });
});
