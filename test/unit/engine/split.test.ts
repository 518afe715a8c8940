import { describe, expect, test } from 'vitest';
import { splitStatements } from '../../../src/engine/split.js';

describe('splitting a text into statements', () => {
  test('one statement is left as it is', () => {
    for (const sql of ['SELECT 1', 'SELECT 1;', ' SELECT 1 ; \n', '', '  ']) {
      expect(splitStatements(sql)).toEqual([sql]);
    }
  });

  test('several, without their semicolons', () => {
    expect(splitStatements('SELECT 1; SELECT 2;')).toEqual(['SELECT 1', ' SELECT 2']);
    expect(splitStatements(';;SELECT 1;;;SELECT 2')).toEqual(['SELECT 1', 'SELECT 2']);
  });

  test('a trailing comment is no statement', () => {
    expect(splitStatements('SELECT 1; -- done; really')).toEqual(['SELECT 1']);
    expect(splitStatements('SELECT 1; /* a; /* nested; */ b */')).toEqual(['SELECT 1']);
  });

  test.each([
    `SELECT 'a;b''c;d'; SELECT 2`,
    `SELECT E'a\\';b'; SELECT 2`,
    `SELECT e'\\\\'; SELECT 2`,
    `SELECT 'a\\'; SELECT 2`,
    `SELECT "a;b""c;"; SELECT 2`,
    `SELECT $$a;b$$; SELECT 2`,
    `SELECT $x$a;$$;b$x$; SELECT 2`,
    `SELECT $1; SELECT 2`,
    `SELECT a$b$c; SELECT 2`,
    `SELECT 1 -- x; y\n; SELECT 2`,
    `SELECT 1 /* ; /* ; */ ; */; SELECT 2`,
    `CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 2`,
    `CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END; SELECT 2`,
    `CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC SELECT 1; END; SELECT 2`,
    `DO $$ BEGIN PERFORM 1; END $$; SELECT 2`,
  ])('%s has two', (sql) => {
    const statements = splitStatements(sql);
    expect(statements).toHaveLength(2);
    expect(statements[1]!.trim()).toBe('SELECT 2');
  });

  test('nothing is lost but semicolons', () => {
    const sql = `INSERT INTO t VALUES (';'); /* ; */ UPDATE t SET a = $q$;$q$;`;
    expect(splitStatements(sql).join(';')).toBe(sql.slice(0, -1));
  });

  test('unterminated texts end with the text', () => {
    for (const sql of [`SELECT 1; SELECT 'a;`, 'SELECT 1; SELECT "a;', 'SELECT 1; SELECT $$a;']) {
      expect(splitStatements(sql)).toHaveLength(2);
    }
  });
});
