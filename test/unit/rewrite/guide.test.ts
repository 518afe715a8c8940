import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRewriter, OPERATORS, type StatementRewriter } from '../../../src/rewrite/rewriter.js';
import { guideStatements } from '../../conformance/guide-statements.js';
import { comparable, countOperators, loadGrammar } from './trees.js';

const UTF8 = { clientEncoding: 'UTF8', standardConformingStrings: true };
const examples = guideStatements();

let rewriter: StatementRewriter;
beforeAll(async () => {
  await loadGrammar();
  rewriter = await createRewriter();
});
afterAll(() => rewriter.close());

describe('every SQL example of the user guide', () => {
  it('is there', () => expect(examples.length).toBeGreaterThan(120));

  it.each(examples)('keeps its tree and leaves no operator unqualified: %s', async (sql) => {
    const { bare } = countOperators(sql);
    const bytes = Buffer.from(sql);
    const rewritten = await rewriter.rewrite(bytes, UTF8);
    if (bare === 0) {
      expect(rewritten).toBeNull();
      return;
    }
    expect(rewriter.scan(bytes, 0, bytes.length) & OPERATORS).toBe(OPERATORS);
    const text = rewritten!.sql.toString();
    expect(countOperators(text)).toEqual({ bare: 0, qualified: bare });
    expect(comparable(text)).toEqual(comparable(sql));
  });
});
