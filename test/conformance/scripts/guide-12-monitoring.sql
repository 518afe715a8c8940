-- The user guide, "Monitoring".
SELECT df.start('SELECT 1 AS n', 'first');
--> starts first
--> ends completed
SELECT df.start('SELECT 1/0', 'second');
--> starts second
--> ends failed
SELECT df.start(df.sleep(600) ~> 'SELECT 3', 'third');
--> starts third
--> waits
--> a1b2c3d4 stands for first

--> block -- All instances
-- All instances
SELECT * FROM df.list_instances();
--> columns instance_id | label | function_name | status | execution_count | output
--> prints <third> | third | pg_durable::orchestration::execute-function-graph | running | 1 | (null)
--> prints <second> | second | pg_durable::orchestration::execute-function-graph | failed | 1 | SQL execution failed: error returned from database: division by zero
--> prints <first> | first | pg_durable::orchestration::execute-function-graph | completed | 1 | {"rows":[{"n":1}],"row_count":1}
-- Filter by status (lowercase)
SELECT * FROM df.list_instances('running');
--> prints <third> | third | pg_durable::orchestration::execute-function-graph | running | 1 | (null)
SELECT * FROM df.list_instances('completed');
--> prints <first> | first | pg_durable::orchestration::execute-function-graph | completed | 1 | {"rows":[{"n":1}],"row_count":1}
SELECT * FROM df.list_instances('failed');
--> prints <second> | second | pg_durable::orchestration::execute-function-graph | failed | 1 | SQL execution failed: error returned from database: division by zero
-- With limit
SELECT * FROM df.list_instances(NULL, 10);
--> prints <third> | <any>
--> prints <second> | <any>
--> prints <first> | <any>

--> block SELECT * FROM df.instance_info('a1b2c3d4');
SELECT * FROM df.instance_info('a1b2c3d4');
--> columns instance_id | label | function_name | function_version | current_execution_id | status | output
--> prints <first> | first | pg_durable::orchestration::execute-function-graph | 1.0.0 | 1 | completed | {"rows":[{"n":1}],"row_count":1}

--> block -- Last 5 executions (default)
-- Last 5 executions (default)
SELECT * FROM df.instance_executions('a1b2c3d4');
--> columns execution_id | status | event_count | duration_ms | output
--> prints 1 | Completed | <any> | <any> | {"rows":[{"n":1}],"row_count":1}
-- Last 20 executions
SELECT * FROM df.instance_executions('a1b2c3d4', 20);
--> prints 1 | Completed | <any> | <any> | {"rows":[{"n":1}],"row_count":1}

--> block -- Last 5 executions (default)
-- Last 5 executions (default)
SELECT * FROM df.instance_nodes('a1b2c3d4');
--> columns node_id | node_type | query | result_name | left_node | right_node | status | result | status_details | inferred_status | inferred_status_from_ancestor_id | updated_at
--> prints <id> | SQL | SELECT 1 AS n | (null) | (null) | (null) | completed | {"rows": [{"n": 1}], "row_count": 1} | {<any>"execution_id": "<first>::1"<any>} | completed | (null) | <any>
-- Last 10 executions
SELECT * FROM df.instance_nodes('a1b2c3d4', 10);
--> columns execution_id | node_id | node_type | query | result_name | left_node | right_node | status | result | updated_at
--> prints 1 | <id> | SQL | SELECT 1 AS n | (null) | (null) | (null) | completed | {"rows": [{"n": 1}], "row_count": 1} | <any>

SELECT * FROM df.metrics();
--> fails 42501 permission denied for function metrics
--> session superuser
--> block -- Requires a direct admin grant; df.grant_usage() does not include it.
-- Requires a direct admin grant; df.grant_usage() does not include it.
SELECT * FROM df.metrics();
--> columns total_instances | running_instances | completed_instances | failed_instances | total_executions | total_events
--> session app

--> block -- Status only
-- Status only
SELECT df.status('a1b2c3d4');
--> prints completed
-- Result only
SELECT df.result('a1b2c3d4');
--> prints {"rows": [{"n": 1}], "row_count": 1}

--> session superuser
--> block SELECT started_at, last_seen_at,
SELECT started_at, last_seen_at,
now() - last_seen_at AS time_since_last_heartbeat
FROM df._worker_epoch;
--> columns started_at | last_seen_at | time_since_last_heartbeat
SELECT now() - last_seen_at < interval '15 seconds' FROM df._worker_epoch;
--> prints t
--> session app
SELECT df.cancel(:'third');
