-- df-api, 1.4, 1.6 and 8: status, result, lists, stamps, inference.
SELECT df.start('SELECT 1' ~> df.if('SELECT false', 'SELECT 2', 'SELECT 3'), 'a');
--> starts a
--> ends completed
SELECT df.start('SELECT 1/0' ~> 'SELECT 2', 'b');
--> starts b
--> ends failed
SELECT df.start('SELECT 3', 'c');
--> starts c
--> ends completed
-- 8.2
SELECT query, status, inferred_status, inferred_status_from_ancestor_id IS NOT NULL, status_details::jsonb ->> 'execution_id'
FROM df.instance_nodes(:'a') WHERE node_type = 'SQL' ORDER BY 1;
--> prints SELECT 1 | completed | completed | f | <a>::1
--> prints SELECT 2 | pending | skipped | t | (null)
--> prints SELECT 3 | completed | completed | f | <a>::1
--> prints SELECT false | completed | completed | f | <a>::1
SELECT query, status, inferred_status FROM df.instance_nodes(:'b') WHERE node_type = 'SQL' ORDER BY 1;
--> prints SELECT 1/0 | failed | failed
--> prints SELECT 2 | pending | skipped
SELECT df.start('SELECT 1' & ('SELECT 2' ~> 'SELECT 3'));
--> starts stamps
--> ends completed
SELECT query, status_details ->> 'execution_id' FROM df.nodes WHERE instance_id = :'stamps' AND node_type = 'SQL' ORDER BY 1;
--> prints SELECT 1 | <stamps>::1::<id>::1
--> prints SELECT 2 | <stamps>::1::<id>::1
--> prints SELECT 3 | <stamps>::1::<id>::1
-- decision 7
SELECT error, status_details ->> 'sqlstate', status_details ->> 'statement' FROM df.nodes WHERE instance_id = :'b' AND node_type = 'SQL' AND status = 'failed';
--> prints SQL execution failed: error returned from database: division by zero | 22012 | SELECT 1/0
-- decision 8
SELECT df.result(:'b');
--> prints {"error": "SQL execution failed: error returned from database: division by zero", "sqlstate": "22012", "node_id": "<id>"}

-- 1.6
SELECT * FROM df.list_instances('completed', 1, 'a');
--> columns instance_id | label | function_name | status | execution_count | output | created_at | completed_at | next_cursor
--> prints <a> | a | pg_durable::orchestration::execute-function-graph | completed | 1 | {"rows":[{"?column?":3}],"row_count":1} | <any> | <any> | (null)
SELECT p.instance_id = :'c', q.instance_id = :'b', q.next_cursor IS NOT NULL
FROM df.list_instances(NULL, 1, 'c') AS p, df.list_instances(NULL, 1, 'b') AS b, df.list_instances(NULL, 1, NULL, (SELECT next_cursor FROM df.list_instances(NULL, 2, NULL) LIMIT 1)) AS q;
--> prints t | t | t
SELECT count(*) FROM df.list_instances(NULL, 0);
--> fails XX000 limit_count must be at least 1
SELECT count(*) FROM df.list_instances(NULL, 1001);
--> fails XX000 df.list_instances: limit_count (1001) exceeds pg_durable.list_instances_max_limit (1000); request fewer rows, or use the paginated df.list_instances overload (after_cursor/next_cursor) for large result sets
SELECT count(*) FROM df.list_instances(NULL, 10, NULL, 'abc');
--> fails XX000 df.list_instances: invalid after_cursor
SELECT count(*) FROM df.instance_executions(:'a', 0);
--> fails XX000 limit_count must be at least 1
SELECT count(*) FROM df.instance_executions('00000000');
--> prints 0
SELECT count(*) FROM df.instance_info('00000000');
--> prints 0
SELECT df.status('00000000'), df.result('00000000');
--> prints (null) | (null)
-- 1.3
SELECT df.run(), df.run(:'a');
--> prints Triggered run for all pending instances | Triggered run for instance: <a>
SELECT df.cancel('00000000');
--> fails XX000 Instance not found or access denied: 00000000
-- 1.7
SELECT df.version() ~ '^[0-9]+\.[0-9]+\.[0-9]+ \(built [-0-9T:.Z]+\)$', df.target_database() = current_database();
--> prints t | t
SELECT df.grant_usage('nobody');
--> fails 42501 permission denied for function grant_usage
