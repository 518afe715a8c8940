import fc from 'fast-check';

/**
 * Generated SQL with DSL expressions: `sql` is the text, `operators` how many operators in it are the DSL's.
 * The texts never contain `OPERATOR(`, so that a test can find what the rewriter put in.
 */
export interface Generated {
  sql: string;
  operators: number;
}

const none = (sql: string): Generated => ({ sql, operators: 0 });
const oneOf = (...texts: string[]) => fc.constantFrom(...texts);

/** What may stand between an operator and its operands. */
const gap = fc.oneof(
  { weight: 3, arbitrary: oneOf('', ' ') },
  oneOf('\n', '  ', '\t', ' /* a ~> b */ ', '/* x /* & */ y */', ' -- c | d\n', ' --\n'),
);

const content = oneOf(
  'SELECT 1',
  'a ~> b',
  "it''s",
  'é ü 漢字 🙂',
  'SELECT $x & 1 | 2',
  'UPDATE t SET a = a || 1',
  '',
  '-- not a comment',
  '/* nor this',
  '{"a": "b"}',
  '"',
);

/** String literals of all spellings, as an operand that is a step. */
export const literal: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: content.map((c) => `'${c}'`) },
  content.map((c) => `E'${c}\\n\\'\\\\'`),
  content.map((c) => `$$${c}$$`),
  content.map((c) => `$tag$${c} $$ ~> $other$$tag$`),
  content.map((c) => `U&'${c}\\00e9'`),
  content.map((c) => `'${c}'\n  'continued'`),
);

const call = oneOf(
  'df.sleep(1)',
  "df.sql('SELECT 1')",
  'DF.Break()',
  '"df"."wait_for_signal"(\'go\', 5)',
  "df.http('https://example.com', 'GET')",
);
const opaque = oneOf('col', 't.col', '$1', '"Quoted é"', 'f(x)', "format('%s', x)", 'a || b', "('x' || y)");

interface Step extends Generated {
  /** It is a step by itself, wherever it stands (a builder, a literal): an operator beside it is known as ours. */
  known: boolean;
}

const step: fc.Memo<Step> = fc.memo((depth) => {
  const leaf: fc.Arbitrary<Step> = fc.oneof(
    literal.map((sql) => ({ sql, operators: 0, known: true })),
    call.map((sql) => ({ sql, operators: 0, known: true })),
    opaque.map((sql) => ({ sql: sql.includes('||') ? `(${sql})` : sql, operators: 0, known: false })),
  );
  if (depth <= 1) return leaf;
  const below = step(depth - 1);
  const wrapped = (make: (inner: string) => string) =>
    below.map(({ sql, operators }) => ({ sql: make(sql), operators, known: false }));
  return fc.oneof(
    { weight: 2, arbitrary: leaf },
    {
      weight: 6,
      arbitrary: fc.tuple(below, gap, oneOf('~>', '&', '|'), gap, below).map(([a, g, op, h, b]) => ({
        sql: `${a.sql}${g}${op}${separate(op, h, b.sql)}`,
        operators: a.operators + b.operators + 1,
        known: true,
      })),
    },
    {
      weight: 2,
      arbitrary: fc.tuple(below, gap, gap).map(([a, g, h]) => ({
        sql: `${a.sql}${g}|=>${h}'name'`,
        operators: a.operators + 1,
        known: true,
      })),
    },
    fc.tuple(below, below, below, gap).map(([a, b, c, g]) => ({
      sql: `(${a.sql}${g}?>${separate('?>', g, `(${b.sql})`)} !> (${c.sql}))`,
      operators: a.operators + b.operators + c.operators + 2,
      known: true,
    })),
    below.map((a) => ({ sql: `@> (${a.sql})`, operators: a.operators + 1, known: true })),
    wrapped((s) => `(${s})`),
    wrapped((s) => `(${s})::text`),
    wrapped((s) => `CAST((${s}) AS varchar)`),
    wrapped((s) => `(${s}) COLLATE "C"`),
    wrapped((s) => `CASE WHEN x & 1 = 1 THEN ${s} ELSE 'y' END`),
    wrapped((s) => `coalesce(NULL, ${s})`),
    wrapped((s) => `(SELECT ${s} FROM t WHERE tags @> '{a}')`),
    wrapped((s) => `df.seq(${s}, b => 'x')`),
    wrapped((s) => `df.loop(condition => ${s}, body => 'x')`),
    wrapped((s) => `df.if('c', ${s}, 'z')`),
  );
});

/** No operator may run into the one before it. */
function separate(operator: string, between: string, operand: string): string {
  const next = `${between}${operand}`;
  return /^[~!@#^&|`?+\-*/%<>=]/.test(next) && !/^(--|\/\*)/.test(next)
    ? ` ${next}`
    : next.replace(/^/, operator && '');
}

/** Expressions that are nobody's business: the operators in them mean something else. */
const foreign = oneOf(
  '5 & 3',
  "tags @> '{a}'",
  'ip | mask',
  'c ~> 1',
  'a & b',
  "'{a}'::jsonb @> 'x'",
  "B'1' | B'0'",
  '1',
);

export const expression: fc.Arbitrary<Generated> = step(4);

const start = fc
  .tuple(expression, foreign)
  .map(([e, other]) => ({ sql: `df.start(${e.sql}, (${other})::bool::text)`, operators: e.operators }));

/** Statements of all kinds around calls. */
export const statement: fc.Arbitrary<Generated> = fc
  .tuple(
    start,
    oneOf(
      'SELECT #',
      'SELECT 1, # AS x, a & b FROM t WHERE a | b = 3',
      'INSERT INTO t SELECT # FROM u',
      "INSERT INTO t (a, b) VALUES (1, #), (2 & 1, 'x') ON CONFLICT (a) DO UPDATE SET b = #",
      'UPDATE t SET a = # WHERE b @> c RETURNING #',
      'DELETE FROM t USING u WHERE # IS NOT NULL',
      'MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN UPDATE SET b = # WHEN NOT MATCHED THEN INSERT VALUES (#)',
      'WITH x AS (INSERT INTO t VALUES (#) RETURNING a) SELECT # FROM x',
      'CREATE TABLE n AS SELECT # AS id',
      'CREATE VIEW v AS SELECT # AS id',
      'CREATE TABLE n (id text DEFAULT #)',
      'EXPLAIN (ANALYZE) SELECT #',
      'PREPARE p (text) AS SELECT #',
      'DECLARE c CURSOR FOR SELECT #',
      'COPY (SELECT #) TO STDOUT',
      'CALL p(1, #)',
      'EXECUTE p (#)',
      'SELECT #; SELECT #; SELECT 5 & 3',
      'CREATE RULE r AS ON INSERT TO t DO ALSO SELECT #',
      'CREATE FUNCTION f() RETURNS text LANGUAGE sql RETURN #',
      'CREATE FUNCTION f() RETURNS text BEGIN ATOMIC SELECT 1; SELECT #; END',
      'CREATE POLICY p ON t USING (# = a)',
    ),
  )
  .map(([{ sql, operators }, template]) => ({
    sql: template.replaceAll('#', () => sql),
    operators: operators * (template.split('#').length - 1),
  }));

const doubled = (body: string) => `'${body.replaceAll("'", "''")}'`;
const escaped = (body: string) =>
  `E'${body.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\n', '\\n')}'`;

/** A body in one of the ways to quote it. */
const quoting = fc.constantFrom<(body: string) => string>(
  (body) => `$body$${body}$body$`,
  (body) => `$_1é$ ${body} $_1é$`,
  doubled,
  escaped,
  (body) => `U&${doubled(body.replaceAll('\\', '\\\\'))}`,
);

const plpgsqlBody = fc
  .tuple(
    start,
    expression,
    oneOf(
      'BEGIN PERFORM #; END',
      "DECLARE a text := #; n int := 5 & 3; BEGIN a := #; n := n | 1; RAISE NOTICE '%', #; END",
      'DECLARE id text; BEGIN SELECT # INTO id FROM t; IF # = id THEN NULL; ELSIF # IS NULL THEN RETURN; END IF; END',
      'DECLARE r record; c CURSOR FOR SELECT #; BEGIN FOR r IN SELECT # AS x LOOP INSERT INTO l VALUES (#); END LOOP; END',
      "DECLARE a text; BEGIN a = 'x'; -- # ~> 'c'\n /* & */ EXECUTE 'SELECT ' || # USING #; END",
      'BEGIN PERFORM 1; EXCEPTION WHEN others THEN PERFORM #; RAISE EXCEPTION USING message = #; END',
      'DECLARE a text; BEGIN CASE # WHEN # THEN NULL; ELSE NULL; END CASE; a := ~E~; END',
    ),
  )
  .map(([call, value, template]) => {
    const own = value.operators > 0 ? `df.seq(${value.sql}, 'x')` : "'x'";
    const times = template.split('#').length - 1 - (template.match(/--[^\n]*#/) ? 1 : 0);
    const comment = template.includes('-- #');
    return {
      // A line comment would end at a line break within the expression.
      sql: template
        .replace('-- #', '-- no')
        .replaceAll('#', () => call.sql)
        .replace('~E~', () => own),
      operators:
        call.operators * (comment ? template.split('#').length - 2 : times) +
        (template.includes('~E~') ? value.operators : 0),
    };
  });

const sqlBody = fc
  .tuple(start, oneOf('SELECT #', 'SELECT 5 & 3; INSERT INTO t VALUES (#); SELECT #'))
  .map(([s, t]) => ({
    sql: t.replaceAll('#', () => s.sql),
    operators: s.operators * (t.split('#').length - 1),
  }));

/** DO, CREATE FUNCTION and CREATE PROCEDURE with bodies in sql and plpgsql. */
export const withBody: fc.Arbitrary<Generated> = fc.oneof(
  fc
    .tuple(plpgsqlBody, quoting, oneOf('DO #', 'DO LANGUAGE plpgsql /* AS */ #', 'DO # LANGUAGE plpgsql'))
    .map(around),
  fc
    .tuple(
      plpgsqlBody,
      quoting,
      oneOf(
        "CREATE OR REPLACE FUNCTION f(t text DEFAULT 'as') RETURNS void AS # LANGUAGE plpgsql",
        'CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql STABLE AS /* AS */\n # COST 5',
        "CREATE PROCEDURE s.p(INOUT x int) LANGUAGE 'plpgsql' SET search_path = a, b AS #",
      ),
    )
    .map(around),
  fc
    .tuple(
      sqlBody,
      quoting,
      oneOf(
        'CREATE FUNCTION f(text) RETURNS text AS # LANGUAGE sql',
        'CREATE PROCEDURE p() LANGUAGE SQL AS #',
      ),
    )
    .map(around),
);

function around([body, quote, template]: [Generated, (body: string) => string, string]): Generated {
  return { sql: template.replace('#', () => quote(body.sql)), operators: body.operators };
}

export const nothing = none('SELECT 1');
