-- df-api, 5: variables and results in the text of a step.
-- 5.2, 5.3
SELECT df.setvar('tab', 'pg_class'), df.setvar('indirect', '$x'), df.setvar('brace', '{tab}'), df.setvar('sys_label', 'mine');
SELECT df.start('SELECT 1 AS n' |=> 'x' ~> $$SELECT count(*) > 0 AS a, {indirect} AS b, '{brace}' AS c, '{unknown}' AS d, '{1,2}'::int[] AS e, '{sys_label}' AS f, '{"tab": "{tab}"}' AS g FROM {tab}$$, 'a label');
--> starts variables
--> ends completed
SELECT df.result(:'variables')::jsonb #> '{rows,0}';
--> prints {"a": true, "b": 1, "c": "{tab}", "d": "{unknown}", "e": [1, 2], "f": "a label", "g": "{\"tab\": \"pg_class\"}"}
SELECT df.start($$SELECT '{sys_instance_id}' AS id, '{sys_label}' AS label$$);
--> starts system
--> ends completed {"rows": [{"id": "<system>", "label": ""}], "row_count": 1}

-- 5.4: the longest name first; forms
SELECT df.start('SELECT 1 AS n' |=> 'a' ~> 'SELECT 2 AS n' |=> 'ab' ~> $$SELECT $a AS a, $ab AS ab, '$abc' AS abc, $a::text AS cast, '$a.' AS dot$$);
--> starts longest
--> ends completed {"rows": [{"a": 1, "ab": 2, "abc": "$abc", "dot": "1.", "cast": "1"}], "row_count": 1}
SELECT df.start($$SELECT 'it''s' || E'\\' || '$x {y}' AS t, 1 AS n, true AS b, NULL::text AS z$$ |=> 'r' ~> $$SELECT $r AS t, $r.n AS n, $r.b AS b, $r.z? AS z$$);
--> starts values
--> ends completed
SELECT df.result(:'values')::jsonb #> '{rows,0}';
--> prints {"b": true, "n": 1, "t": "it's\\$x {y}", "z": null}
SELECT df.start('SELECT 1 AS n' |=> 'r' ~> 'SELECT $r.missing');
--> starts missing_column
--> ends failed SQL execution failed: error returned from database: syntax error at or near "$"
SELECT df.start('SELECT 1' & 'SELECT 2' |=> 'j' ~> 'SELECT $j.x');
--> starts no_object
--> ends failed $j.x: result is neither a row set nor a JSON object
SELECT df.start('SELECT 1 AS a' & 'SELECT 2 AS b' |=> 'j' ~> $$SELECT jsonb_array_length($j::jsonb) AS n, $j::jsonb #> '{1,rows,0,b}' AS b$$);
--> starts array
--> ends completed {"rows": [{"b": 2, "n": 2}], "row_count": 1}

-- 5.5
SELECT df.start($$SELECT n, 'v' || n AS val, CASE n WHEN 2 THEN NULL ELSE ARRAY[n] END AS list FROM generate_series(1, 3) AS n$$ |=> 'rows' ~> $$SELECT string_agg(val || coalesce(list, '-'), ' ' ORDER BY n) AS r FROM $rows.*$$);
--> starts rows
--> ends completed {"rows": [{"r": "v1[1] v2- v3[3]"}], "row_count": 1}
SELECT df.start($$SELECT 1 AS n, now() AS at WHERE false$$ |=> 'none' ~> $$SELECT count(*) AS c, pg_typeof(max(n))::text AS n FROM $none.*$$);
--> starts no_rows
--> ends completed {"rows": [{"c": 0, "n": "integer"}], "row_count": 1}
SELECT df.start($$SELECT n FROM generate_series(1, 10001) AS n$$ |=> 'many' ~> $$SELECT count(*) FROM $many.*$$);
--> starts too_many
--> ends failed $many.* — result has 10001 rows, exceeding the maximum of 10000 for row-set expansion. Use pagination or intermediate tables for large result sets.
SELECT df.start($$SELECT n FROM generate_series(1, 10000) AS n$$ |=> 'many' ~> $$SELECT sum(n) AS s FROM $many.*$$);
--> starts just_enough
--> ends completed {"rows": [{"s": 50005000}], "row_count": 1}
-- 5.6
SELECT df.start('SELECT 1' |=> 'a' ~> df.if('SELECT false', 'SELECT 2' |=> 'b', 'SELECT 3') ~> $$SELECT '$b' AS b$$);
--> starts untaken
--> ends completed {"rows": [{"b": "$b"}], "row_count": 1}
