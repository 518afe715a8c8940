-- The user guide, "Troubleshooting". Blocks about the extension's files and logs have nothing here to run against.
--> include setup
--> name analysts alice analyst_data role_name
--> session superuser
CREATE ROLE alice LOGIN;
SELECT df.grant_usage('alice');
CREATE ROLE analysts NOLOGIN;
CREATE ROLE role_name NOLOGIN;
CREATE TABLE analyst_data AS SELECT 7 AS n;
GRANT SELECT ON analyst_data TO analysts;
SELECT df.grant_usage('role_name');
--> session app

--> block SELECT * FROM users WHERE id = 999999; -- no such user
SELECT * FROM users WHERE id = 999999; -- no such user
--> prints nothing
SELECT df.start('SELECT * FROM users WHERE id = 999999');
--> starts no_such_user
--> ends completed {"rows": [], "row_count": 0}

--> block -- Bad: result not captured
-- Bad: result not captured
SELECT df.start('SELECT id FROM users LIMIT 1');
--> starts not_captured
-- Good: result captured
SELECT df.start('SELECT id FROM users LIMIT 1' |=> 'user_id');
--> starts captured
--> captured ends completed {"rows": [{"id": 1}], "row_count": 1}

--> block SELECT df.start(
SELECT df.start(
'INSERT INTO logs (msg) VALUES (''done'')'
~> 'SELECT ''success'' as status'
);
--> starts status
--> ends completed {"rows": [{"status": "success"}], "row_count": 1}

-- "Superuser Cannot Start Workflows"
--> session superuser
SELECT df.start('SELECT 1');
--> fails XX000 pg_durable: superuser instances are disabled. current_user "<any>" is a superuser, but pg_durable.enable_superuser_instances is off. Set pg_durable.enable_superuser_instances = on to allow this.

-- "current_user does not have LOGIN privilege"
SET ROLE role_name;
SELECT df.start('SELECT 1');
--> fails XX000 current_user "role_name" does not have LOGIN privilege. The background worker must connect as this role to execute SQL. Grant LOGIN to this role or call df.start() as a role with LOGIN.
RESET ROLE;
--> session alice
SELECT 1;
--> session superuser
--> block -- Instead of SET ROLE analysts; df.start(...):
-- Instead of SET ROLE analysts; df.start(...):
GRANT analysts TO alice; -- alice inherits privileges
SET SESSION AUTHORIZATION alice;
SELECT df.start('SELECT * FROM analyst_data'); -- runs as alice
--> starts as_alice
--> ends completed {"rows": [{"n": 7}], "row_count": 1}
RESET SESSION AUTHORIZATION;
--> block ALTER ROLE role_name LOGIN;
ALTER ROLE role_name LOGIN;
--> session role_name
SELECT df.start('SELECT current_user = session_user AS itself');
--> starts role_name
--> ends completed {"rows": [{"itself": true}], "row_count": 1}

-- "Debugging Failed Workflows"
--> session app
SELECT df.start(
'SELECT count(*) FROM users' |=> 'total'
~> 'SELECT 1/0'
~> 'SELECT $total', 'broken');
--> starts broken
--> ends failed
--> a1b2c3d4 stands for broken
--> block SELECT df.status('a1b2c3d4');
SELECT df.status('a1b2c3d4');
--> prints failed
-- Returns: 'pending', 'running', 'completed', 'failed', or 'cancelled'
--> block SELECT df.result('a1b2c3d4');
SELECT df.result('a1b2c3d4');
--> prints {"error": "SQL execution failed: error returned from database: division by zero", "sqlstate": "22012", "node_id": "<id>"}
--> block SELECT df.explain('a1b2c3d4');
SELECT df.explain('a1b2c3d4');
--> prints Instance: <broken> (broken)
--> | Status:   ✗ Failed
--> | Output:   SQL execution failed: error returned from database: divis...
--> | 
--> | SQL |=> 'total': SELECT count(*) FROM users ✓ Completed
--> | → SQL: SELECT 1/0 ✗ Failed
--> | → SQL: SELECT $total ⊘ Skipped
--> block SELECT node_id, node_type, result_name, status,
SELECT node_id, node_type, result_name, status,
left(query, 80) AS query,
left(result, 120) AS result
FROM df.instance_nodes('a1b2c3d4');
--> columns node_id | node_type | result_name | status | query | result
SELECT node_type, status, left(query, 80) AS query, left(result, 120)
FROM df.instance_nodes('a1b2c3d4') WHERE node_type = 'SQL' ORDER BY query DESC;
--> prints SQL | completed | SELECT count(*) FROM users | {"rows": [{"count": 3}], "row_count": 1}
--> prints SQL | failed | SELECT 1/0 | "SQL execution failed: error returned from database: division by zero"
--> prints SQL | pending | SELECT $total | (null)
--> block -- Show only nodes that produce named results
-- Show only nodes that produce named results
SELECT result_name, status, result
FROM df.instance_nodes('a1b2c3d4')
WHERE result_name IS NOT NULL
ORDER BY node_id;
--> prints total | completed | {"rows": [{"count": 3}], "row_count": 1}
--> block -- Suppose step 'total' should produce a number, but downstream SQL fails
-- Suppose step 'total' should produce a number, but downstream SQL fails
SELECT result_name, result FROM df.instance_nodes('a1b2c3d4')
WHERE result_name = 'total';
--> prints total | {"rows": [{"count": 3}], "row_count": 1}
-- If result is: {"rows": [{"count": 42}], "row_count": 1}
-- Then $total substitutes the FULL JSON object, not just 42
-- Fix: use ($total::jsonb->'rows'->0->>'count')::int in downstream SQL
-- (this sentence of the guide is not so: $total is the first column of the first row)
SELECT df.start('SELECT 42 AS count' |=> 'total' ~> 'SELECT $total + 1 AS n');
--> starts scalar
--> ends completed {"rows": [{"n": 43}], "row_count": 1}
