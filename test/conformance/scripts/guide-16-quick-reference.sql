-- The user guide, "Quick Reference Card": one block. What it leaves open (body, fast, slow, url) comes from a FROM here.
--> include setup
--> http
--> name analytics
--> session superuser
CREATE DATABASE analytics;
--> session app

--> block -- Start a durable function (plain SQL auto-wrapped)
-- Start a durable function (plain SQL auto-wrapped)
SELECT df.start('SELECT 1', 'optional-label');
--> starts labelled
--> ends completed {"rows": [{"?column?": 1}], "row_count": 1}
-- Start in a different database
SELECT df.start('SELECT 1', 'label', 'analytics');
--> starts elsewhere
--> ends completed {"rows": [{"?column?": 1}], "row_count": 1}
SELECT df.start('SELECT 1', database => 'analytics');
--> starts database_only
--> ends completed {"rows": [{"?column?": 1}], "row_count": 1}
-- Chain steps with ~>
SELECT df.start('SELECT 1' ~> 'SELECT 2' ~> 'SELECT 3');
--> starts chain
--> ends completed {"rows": [{"?column?": 3}], "row_count": 1}
-- Name a result with |=>
SELECT df.start('SELECT 1' |=> 'myvar' ~> 'SELECT $myvar * 2');
--> starts named
--> ends completed {"rows": [{"?column?": 2}], "row_count": 1}
-- Parallel join (& operator or df.join)
SELECT df.start('SELECT 1' & 'SELECT 2'); -- operator
--> starts join_operator
--> ends completed [{"rows": [{"?column?": 1}], "row_count": 1}, {"rows": [{"?column?": 2}], "row_count": 1}]
SELECT df.start(df.join('SELECT 1', 'SELECT 2')); -- function
--> starts join_function
--> ends completed [{"rows": [{"?column?": 1}], "row_count": 1}, {"rows": [{"?column?": 2}], "row_count": 1}]
-- Race (| operator or df.race) - first wins
SELECT df.start('fast_query' | df.sleep(30)); -- operator
--> starts race_operator
--> ends failed RACE left branch failed: SQL execution failed: error returned from database: syntax error at or near "fast_query"
SELECT df.start(df.race(fast, slow)) -- function
FROM (SELECT 'SELECT 1' AS fast, df.sleep(30) AS slow) AS given;
--> starts race_function
--> ends completed {"rows": [{"?column?": 1}], "row_count": 1}
-- Conditional (?> !> operators or df.if)
SELECT df.start('SELECT true' ?> 'yes' !> 'no'); -- operator
--> starts if_operator
--> ends failed SQL execution failed: error returned from database: syntax error at or near "yes"
SELECT df.start(df.if('SELECT true', 'yes', 'no')); -- function
--> starts if_function
--> ends failed SQL execution failed: error returned from database: syntax error at or near "yes"
-- Loop forever (@> operator or df.loop)
SELECT df.start(@> (body ~> df.sleep(60))) -- operator
FROM (SELECT 'INSERT INTO heartbeats VALUES (now())' AS body) AS given;
--> starts loop_operator
SELECT df.start(df.loop(body ~> df.sleep(60))) -- function
FROM (SELECT 'INSERT INTO heartbeats VALUES (now())' AS body) AS given;
--> starts loop_function
SELECT count(*) FROM heartbeats;
--> comes to 2
-- While loop (continues while condition is true)
SELECT df.start(df.loop(body, 'SELECT count(*) > 0 FROM queue'))
FROM (SELECT 'DELETE FROM queue WHERE id = (SELECT min(id) FROM queue)' AS body) AS given;
--> starts while
--> ends completed
SELECT count(*) FROM queue;
--> prints 0
-- Break out of loop
SELECT df.start(df.loop(
df.break() -- exit loop
));
--> starts break
--> ends completed null
SELECT df.start(df.loop(
df.break('{"done": true}') -- exit with literal return value (not SQL)
));
--> starts break_value
--> ends completed {"done": true}
-- Timers
SELECT
df.sleep(60), -- 60 seconds
df.wait_for_schedule('*/5 * * * *'); -- every 5 min
--> prints {"node_type":"SLEEP","query":"60"} | {"node_type":"WAIT_SCHEDULE","query":"{\"cron_expr\":\"*/5 * * * *\"}"}
-- HTTP requests
SELECT df.start(
df.http('https://api.example.com', 'GET') -- simple GET
~> df.http('https://api.example.com', 'POST', '{"key": "val"}') -- POST with body
~> df.http(url, 'GET', NULL, '{"Auth": "Bearer x"}'::jsonb) -- with headers
) FROM (SELECT 'https://api.example.com/headers' AS url) AS given;
--> starts http
--> ends completed
--> requested GET https://api.example.com/
--> requested POST https://api.example.com/ {"key": "val"}
--> requested GET https://api.example.com/headers auth: Bearer x
-- Durable function variables (set BEFORE df.start)
SELECT df.setvar('api_url', 'https://api.example.com'); -- set variable
SELECT df.getvar('api_url'); -- get variable
--> prints https://api.example.com
-- Use variables in workflows: {varname}
SELECT df.start(df.http('{api_url}/data', 'GET')); -- variable substitution
--> starts variable
--> ends completed
--> requested GET https://api.example.com/data
SELECT df.unsetvar('api_url'); -- remove variable
SELECT df.getvar('api_url');
--> prints (null)
SELECT df.clearvars(); -- clear all
--> prints OK
-- System vars: {sys_instance_id}, {sys_label}
-- Signals (wait for external events)
SELECT df.start(
df.wait_for_signal('approval') -- wait forever
~>
df.wait_for_signal('approval', 3600) -- wait with 1h timeout
);
--> starts approval
--> inst_id stands for approval
SELECT df.signal('inst_id', 'approval', '{}'); -- send signal
--> prints OK
SELECT df.signal('inst_id', 'approval', '{}'); -- send signal
--> approval ends completed {"data": {}, "timed_out": false, "signal_name": "approval"}
--> instance_id stands for chain
-- Visualize
SELECT df.explain('instance_id'); -- live instance
--> prints Instance: <chain>
--> | Status:   ✓ Completed
--> | Output:   {"rows":[{"?column?":3}],"row_count":1}
--> | 
--> | SQL: SELECT 1 ✓ Completed
--> | → SQL: SELECT 2 ✓ Completed
--> | → SQL: SELECT 3 ✓ Completed
SELECT df.explain('a' ~> 'b'); -- dry-run preview
--> prints SQL: a
--> | → SQL: b
-- Monitor
SELECT * FROM df.list_instances();
--> columns instance_id | label | function_name | status | execution_count | output
--> 'id' stands for labelled
SELECT * FROM df.instance_info('id');
--> prints <labelled> | optional-label | <any> | 1.0.0 | 1 | completed | {"rows":[{"?column?":1}],"row_count":1}
SELECT df.status('id');
--> prints completed
SELECT df.result('id');
--> prints {"rows": [{"?column?": 1}], "row_count": 1}
-- Cancel
SELECT df.cancel('id', 'reason');
--> prints Instance <labelled> cancelled: reason
