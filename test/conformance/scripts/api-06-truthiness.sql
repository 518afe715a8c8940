-- df-api, 6: what a condition's result is taken for.
CREATE TABLE cases (condition text, wanted boolean);
INSERT INTO cases VALUES
    ('SELECT true', true), ('SELECT false', false), ('SELECT NULL', false), ('SELECT 1 WHERE false', false),
    ('SELECT 0', false), ('SELECT 0.0::float8', false), ('SELECT 0.00::numeric', false), ('SELECT -1', true),
    ('SELECT ''''', false), ('SELECT ''  ''', false), ('SELECT '' Yes ''', true), ('SELECT ''t''', true),
    ('SELECT ''F''', false), ('SELECT ''no''', false), ('SELECT ''n''', true), ('SELECT ''off''', true),
    ('SELECT ''0''', false), ('SELECT ''0.000''', false), ('SELECT ''abc''', true), ('SELECT ''NaN''', true),
    ('SELECT ''[]''::jsonb', false), ('SELECT ''{}''::jsonb', false), ('SELECT ''[0]''::jsonb', true),
    ('SELECT ARRAY[]::int[]', false), ('SELECT ''null''::jsonb', false), ('CREATE TEMP TABLE x ()', false),
    ('SELECT false AS a, true AS b', false), ('SELECT generate_series(1, 3)', true);
SELECT count(df.start(df.if(condition, 'SELECT true AS r', 'SELECT false AS r'), condition)) FROM cases;
--> prints 28
SELECT count(*) FROM df.instances WHERE status = 'completed';
--> comes to 28
SELECT c.condition FROM cases AS c JOIN df.instances AS i ON i.label = c.condition
WHERE (df.result(i.id)::jsonb #>> '{rows,0,r}')::boolean <> c.wanted;
--> prints nothing
-- what is no row set is judged whole
SELECT df.start(df.if(df.sleep(0), 'SELECT 1 AS yes', 'SELECT 1 AS no'));
--> starts sleep
--> ends completed {"rows": [{"yes": 1}], "row_count": 1}
SELECT df.start('SELECT 0 AS ok' |=> 'r' ~> df.if('$r.ok', 'SELECT 1 AS yes', 'SELECT 1 AS no'));
--> starts reference
--> ends completed {"rows": [{"no": 1}], "row_count": 1}
