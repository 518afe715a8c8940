-- The user guide, "DSL Reference".
--> include setup

--> fragment -- These are equivalent:
SELECT ('SELECT 1' ~> 'SELECT 2')
= (df.sql('SELECT 1') ~> df.sql('SELECT 2'));
--> prints t

--> block -- Join: run both in parallel, wait for all
-- Join: run both in parallel, wait for all
SELECT df.start('SELECT 1' & 'SELECT 2');
--> starts both
-- Race: run both, first to complete wins
SELECT df.start(
'SELECT quick_result()' | df.sleep(30) -- timeout after 30s
);
--> starts race
-- If-then-else with operators
SELECT df.start(
'SELECT count(*) > 10 FROM orders'
?> 'SELECT ''high volume'''
!> 'SELECT ''low volume'''
);
--> starts choice
-- Loop with operator (prefix)
SELECT df.start(
@> ('INSERT INTO heartbeats (ts) VALUES (now())' ~> df.sleep(60)),
'heartbeat-job'
);
--> starts heartbeats
--> both ends completed [{"rows": [{"?column?": 1}], "row_count": 1}, {"rows": [{"?column?": 2}], "row_count": 1}]
--> race ends completed {"rows": [{"quick_result": "quick"}], "row_count": 1}
--> choice ends completed {"rows": [{"?column?": "high volume"}], "row_count": 1}
SELECT count(*) FROM heartbeats;
--> comes to 1
SELECT df.status(:'heartbeats');
--> comes to running
SELECT df.cancel(:'heartbeats', 'seen enough');
--> prints Instance <heartbeats> cancelled: seen enough

--> block SELECT df.start(
SELECT df.start(
'SELECT 100 as amount' |=> 'total' -- save result as $total
~> 'SELECT $total * 2 as doubled' -- use $total in next step
);
--> starts named
--> ends completed {"rows": [{"doubled": 200}], "row_count": 1}

--> block SELECT df.start(
SELECT df.start(
$$SELECT 42 AS id, 'Alice' AS name$$ |=> 'user'
~> $$SELECT $user.id AS id, $user.name AS name$$ -- access specific columns
);
--> starts columns
--> ends completed {"rows": [{"id": 42, "name": "Alice"}], "row_count": 1}

--> block SELECT df.start(
SELECT df.start(
$$SELECT NULL::text AS val$$ |=> 'x'
~> $$SELECT COALESCE($x.val?, 'fallback')$$ -- NULL → 'fallback'
);
--> starts null_safe
--> ends completed {"rows": [{"coalesce": "fallback"}], "row_count": 1}

-- the table below it: without ? no rows and NULL fail, with ? they are NULL
SELECT df.start($$SELECT 1 AS col WHERE false$$ |=> 'name' ~> $$SELECT $name$$);
--> starts no_rows
--> ends failed $name has no rows — query returned zero results
SELECT df.start($$SELECT 1 AS col WHERE false$$ |=> 'name' ~> $$SELECT $name.col$$);
--> starts no_rows_column
--> ends failed $name has no rows — query returned zero results
SELECT df.start($$SELECT NULL::int AS col$$ |=> 'name' ~> $$SELECT $name$$);
--> starts is_null
--> ends failed $name is NULL — first column of first row is NULL
SELECT df.start($$SELECT NULL::int AS col$$ |=> 'name' ~> $$SELECT $name.col$$);
--> starts is_null_column
--> ends failed $name.col is NULL
SELECT df.start($$SELECT 1 AS col WHERE false$$ |=> 'name' ~> $$SELECT $name? IS NULL AS a, $name.col? IS NULL AS b$$);
--> starts no_rows_safe
--> ends completed {"rows": [{"a": true, "b": true}], "row_count": 1}
SELECT df.start($$SELECT NULL::int AS col$$ |=> 'name' ~> $$SELECT $name? IS NULL AS a, $name.col? IS NULL AS b$$);
--> starts null_both_safe
--> ends completed {"rows": [{"a": true, "b": true}], "row_count": 1}

--> block SELECT df.start(
SELECT df.start(
$$SELECT id, name FROM users WHERE active$$ |=> 'batch'
~> $$SELECT count(*) FROM $batch.*$$ -- FROM expansion
);
--> starts row_set
--> ends completed {"rows": [{"count": 2}], "row_count": 1}

--> fragment {
SELECT df.start($$SELECT 'value1' AS column1, 42 AS column2 UNION ALL SELECT 'value2', 99 ORDER BY 2$$);
--> starts shape
--> ends completed {"rows": [{"column1": "value1", "column2": 42}, {"column1": "value2", "column2": 99}], "row_count": 2}

SELECT df.start('SELECT 42 AS answer');
--> starts answer
--> ends completed
--> a1b2c3d4 stands for answer
--> block -- Get the result
-- Get the result
SELECT df.result('a1b2c3d4');
--> prints {"rows": [{"answer": 42}], "row_count": 1}
-- Returns: '{"rows":[{"answer":42}],"row_count":1}'
-- Extract a specific value
SELECT df.result('a1b2c3d4')::jsonb->'rows'->0->>'answer';
--> prints 42
-- Returns: '42'

-- "Special cases"
SELECT df.start('SELECT 1 WHERE false');
--> starts nothing_found
--> ends completed {"rows": [], "row_count": 0}
SELECT df.start(df.sleep(0));
--> starts slept
--> ends completed {"slept": true, "seconds": 0}
SELECT df.start(df.loop(df.break('value')));
--> starts broken
--> ends completed "value"
