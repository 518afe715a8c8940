-- df-api, 4: how the types of nodes run. Types of results have api-04-types.sql.
CREATE TABLE seen (n int, at timestamptz DEFAULT clock_timestamp());

-- 4.1: names
SELECT df.start(('SELECT 1 AS n' |=> 'a') ~> df.sleep(0) ~> (df.sleep(0) |=> 'slept') ~> 'SELECT $a AS a, ''$slept'' AS no_name');
--> starts names
--> ends completed {"rows": [{"a": 1, "no_name": "$slept"}], "row_count": 1}
SELECT df.start('SELECT 1 AS n' |=> 'x' ~> (('SELECT 2 AS n' |=> 'x') & 'SELECT 3') ~> 'SELECT $x AS x');
--> starts later_branch_wins
--> ends completed {"rows": [{"x": 1}], "row_count": 1}
SELECT df.start(('SELECT 1 AS n' |=> 'a') & ('SELECT 2 AS n' |=> 'b') ~> 'SELECT $a + $b AS sum');
--> starts merged
--> ends completed {"rows": [{"sum": 3}], "row_count": 1}

-- 4.2
SELECT df.start('SELECT session_user = current_user AS real, current_setting(''application_name'') AS name, current_setting(''TimeZone'') AS zone, current_setting(''DateStyle'') AS dates, current_setting(''df.in_workflow'') AS inside');
--> starts session
--> ends completed {"rows": [{"name": "pg_durable:worker:workflow-sql", "real": true, "zone": "UTC", "dates": "ISO, MDY", "inside": "true"}], "row_count": 1}
SELECT df.start('CREATE TEMP TABLE t (n int)' ~> 'SELECT to_regclass(''pg_temp.t'') IS NULL AS gone');
--> starts own_session
--> ends completed
SELECT df.start('INSERT INTO seen (n) VALUES (1), (2)');
--> starts no_returning
--> ends completed {"rows": [], "row_count": 0}
SELECT df.start('INSERT INTO seen (n) VALUES (3), (4) RETURNING n');
--> starts returning
--> ends completed {"rows": [{"n": 3}, {"n": 4}], "row_count": 2}
SELECT df.start('');
--> starts empty
--> ends completed {"rows": [], "row_count": 0}
SELECT df.start('SELECT $1');
--> starts placeholder
--> ends failed SQL execution failed: error returned from database: <any>
SELECT df.start('INSERT INTO seen (n) VALUES (5); INSERT INTO seen (n) VALUES (6); SELECT max(n) FROM seen;');
--> starts several
--> ends completed {"rows": [{"max": 6}], "row_count": 1}
SELECT df.start('INSERT INTO seen (n) VALUES (7); SELECT 1/0');
--> starts all_or_nothing
--> ends failed SQL execution failed: error returned from database: division by zero
SELECT count(*) FROM seen WHERE n = 7;
--> prints 0

-- 4.3, 4.14
SELECT df.start('SELECT 1/0' ~> 'INSERT INTO seen (n) VALUES (8)');
--> starts then_fails
--> ends failed SQL execution failed: error returned from database: division by zero
SELECT count(*) FROM seen WHERE n = 8;
--> prints 0
SELECT status, completed_at FROM df.instances WHERE id = :'then_fails';
--> prints failed | (null)

-- 4.4
SELECT df.start(df.join3('SELECT 1 AS a', 'SELECT 2 AS b', 'SELECT 3 AS c'));
--> starts join3
--> ends completed [{"rows": [{"a": 1}], "row_count": 1}, {"rows": [{"b": 2}], "row_count": 1}, {"rows": [{"c": 3}], "row_count": 1}]
SELECT df.start(('SELECT 1/0' & 'SELECT ''x''::int') & (df.sleep(0) ~> 'INSERT INTO seen (n) VALUES (9)'));
--> starts join_fails
--> ends failed JOIN branch 1 failed: JOIN branch 1 failed: SQL execution failed: error returned from database: division by zero
SELECT count(*) FROM seen WHERE n = 9;
--> prints 1

-- 4.5
SELECT df.start('SELECT ''fast'' AS r' | df.sleep(600));
--> starts race
--> ends completed {"rows": [{"r": "fast"}], "row_count": 1}
SELECT df.start(df.sleep(600) | 'SELECT 1/0');
--> starts race_fails
--> ends failed RACE right branch failed: SQL execution failed: error returned from database: division by zero
SELECT df.start(df.race(df.loop(df.sleep(600)), 'SELECT 1'));
--> starts losing_loop
--> ends completed
SELECT status, result, status_details ->> 'execution_id' FROM df.nodes WHERE instance_id = :'losing_loop' AND node_type = 'LOOP';
--> prints failed | "Loop branch cancelled after losing RACE" | <losing_loop>::1::<id>::1

-- 4.6
SELECT df.start('SELECT 1 WHERE false' |=> 'none' ~> df.if_rows('none', 'SELECT ''rows''', 'SELECT ''no rows'' AS r'));
--> starts if_rows
--> ends completed {"rows": [{"r": "no rows"}], "row_count": 1}
SELECT df.start(df.if_rows('nobody', 'SELECT 1', 'SELECT 2'));
--> starts if_rows_missing
--> ends failed df.if_rows: result 'nobody' not found
SELECT df.start('SELECT 1' & 'SELECT 2' |=> 'j' ~> df.if_rows('j', 'SELECT 1', 'SELECT 2'));
--> starts if_rows_join
--> ends failed df.if_rows: result 'j' is not a SQL result (missing row_count)

-- 4.7, 4.8
CREATE TABLE rounds (n int);
SELECT df.start(df.loop('INSERT INTO rounds VALUES (1) RETURNING n' , 'SELECT count(*) < 3 FROM rounds'));
--> starts loop
--> ends completed {"rows": [{"n": 1}], "row_count": 1}
SELECT execution_id, status FROM df.instance_executions(:'loop');
--> prints 3 | Completed
--> prints 2 | ContinuedAsNew
--> prints 1 | ContinuedAsNew
SELECT df.start('SELECT 0' ~> df.loop('SELECT 1/0'));
--> starts nested_loop_fails
--> ends failed Loop sub-orchestration failed: SQL execution failed: error returned from database: division by zero
SELECT df.start(df.loop('SELECT 5 AS n' |=> 'r' ~> (df.break('{"n": $r}') & df.sleep(0))));
--> starts break_in_join
--> ends completed {"n": 5}
SELECT df.start('SELECT 1' ~> df.break('x'));
--> starts break_outside
--> ends failed df.break() was called outside of a loop. df.break() may only be used inside df.loop().
SELECT df.start(df.loop(df.break('done')));
--> starts break_text
--> ends completed "done"

-- 4.13
SELECT df.start(df.sleep(600) ~> 'INSERT INTO seen (n) VALUES (10)');
--> starts cancelled
--> waits
SELECT df.cancel(:'cancelled', 'enough');
--> prints Instance <cancelled> cancelled: enough
SELECT status, completed_at, df.result(id) FROM df.instances WHERE id = :'cancelled';
--> prints cancelled | (null) | (null)
SELECT output FROM df.instance_info(:'cancelled');
--> comes to canceled: enough
BEGIN;
SELECT df.start(df.sleep(600));
--> starts cancel_undone
COMMIT;
BEGIN;
SELECT df.cancel(:'cancel_undone');
ROLLBACK;
SELECT df.status(:'cancel_undone') <> 'cancelled';
--> prints t
