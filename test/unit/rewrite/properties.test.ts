import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lexer } from '../../../src/rewrite/lexer.js';
import {
  createRewriter,
  OPERATORS,
  type Rewritten,
  type StatementRewriter,
} from '../../../src/rewrite/rewriter.js';
import { type Generated, statement, withBody } from './generated.js';
import { seed } from './seed.js';
import { comparable, grammarTokens, loadGrammar } from './trees.js';

const UTF8 = { clientEncoding: 'UTF8', standardConformingStrings: true };
const RUNS = Number(process.env.FC_RUNS ?? 400);

let rewriter: StatementRewriter;
beforeAll(async () => {
  await loadGrammar();
  rewriter = await createRewriter();
});
afterAll(() => rewriter.close());

const rewrite = async (sql: string): Promise<Rewritten | null> => rewriter.rewrite(Buffer.from(sql), UTF8);
const holds = (arbitrary: fc.Arbitrary<Generated>, property: (generated: Generated) => Promise<void>) =>
  fc.assert(fc.asyncProperty(arbitrary, property), { seed, numRuns: RUNS });

async function keepsTheTree({ sql, operators }: Generated): Promise<void> {
  const rewritten = await rewrite(sql);
  if (operators === 0) {
    expect(rewritten).toBeNull();
    return;
  }
  const bytes = Buffer.from(sql);
  expect(rewriter.scan(bytes, 0, bytes.length) & OPERATORS).toBe(OPERATORS);
  const text = rewritten!.sql.toString();
  expect(text.split('OPERATOR(df.').length - 1).toBe(operators);
  expect(comparable(text)).toEqual(comparable(sql));
}

/** Each character of the rewritten text is that of its position in the original, or in an operator's place. */
async function mapsPositions({ sql }: Generated): Promise<void> {
  const rewritten = await rewrite(sql);
  if (rewritten === null) return;
  const before = [...sql];
  const after = [...rewritten.sql.toString()];
  const { positions } = rewritten;
  for (let i = 0; i < after.length; ) {
    const inserted = /^ ?OPERATOR\(df\.([^)]*)\)/.exec(after.slice(i, i + 20).join(''));
    const from = positions.original(i + 1) - 1;
    if (inserted === null || before.slice(from, from + 9).join('') === 'OPERATOR(') {
      expect(after[i]).toBe(before[from]);
      i++;
      continue;
    }
    // A blank before may be the user's own or the rewriter's.
    if (after[i] === ' ' && before[from] === ' ') {
      i++;
      continue;
    }
    const operator = inserted[1]!;
    expect(before.slice(from, from + operator.length).join('')).toBe(operator);
    for (let k = 0; k < inserted[0].length; k++) expect(positions.original(i + k + 1) - 1).toBe(from);
    i += inserted[0].length;
  }
  expect(positions.original(after.length + 1)).toBe(before.length + 1);
}

describe('generated statements of all kinds', () => {
  it('keep their tree but for the qualified names', () => holds(statement, keepsTheTree));
  it('map each position back to where it came from', () => holds(statement, mapsPositions));
  it('are not rewritten twice', () =>
    holds(statement, async ({ sql }) => {
      const rewritten = await rewrite(sql);
      if (rewritten !== null) expect(await rewriter.rewrite(rewritten.sql, UTF8)).toBeNull();
    }));
  it('give the same bytes in another encoding as in UTF-8', () =>
    holds(statement, async (generated) => {
      const sql = generated.sql.replace(/[^\x00-\xff]/gu, 'ß');
      const latin1 = { clientEncoding: 'LATIN1', standardConformingStrings: true };
      const there = await rewriter.rewrite(Buffer.from(sql, 'latin1'), latin1);
      const here = await rewrite(sql);
      expect(there?.sql.toString('latin1')).toBe(here?.sql.toString());
      if (there !== null) {
        for (let p = 1; p < there.sql.length; p += 7) {
          expect(there.positions.original(p)).toBe(here!.positions.original(p));
        }
      }
    }));
});

describe('generated bodies of DO blocks, functions and procedures', () => {
  it('keep their tree but for the qualified names', () => holds(withBody, keepsTheTree));
  it('map each position back to where it came from', () => holds(withBody, mapsPositions));
});

describe('the lexer', () => {
  it('finds the tokens that the grammar finds', () =>
    holds(fc.oneof(statement, withBody), async ({ sql }) => {
      const lexer = new Lexer(Buffer.from(sql));
      const ours: string[] = [];
      while (lexer.next() !== 0) ours.push(`${lexer.start}-${lexer.end}`);
      const theirs = grammarTokens(sql)
        .filter((token) => !token.tokenName.includes('COMMENT'))
        // Two bytes of punctuation here are one token there.
        .flatMap(({ start, end, tokenName }) =>
          tokenName === 'TYPECAST' ? [`${start}-${start + 1}`, `${start + 1}-${end}`] : [`${start}-${end}`],
        );
      expect(ours).toEqual(theirs);
    }));
});
