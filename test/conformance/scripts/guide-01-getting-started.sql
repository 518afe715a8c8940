-- The user guide, "Getting Started". Alone: the extension is of a whole database.
--> alone
--> name app_role
--> session superuser
CREATE ROLE app_role LOGIN;

--> block CREATE EXTENSION pg_durable;
CREATE EXTENSION pg_durable;
-- Grant usage to application roles (superuser or delegated admin)
SELECT df.grant_usage('app_role');
--> says NOTICE pg_durable: granted df usage privileges to "app_role"

--> session app_role
--> block -- Execute a simple SQL query as a durable function
-- Execute a simple SQL query as a durable function
SELECT df.start('SELECT ''Hello, durable world!''');
--> starts hello
-- Returns: a1b2c3d4 (8-character instance ID)
--> ends completed
--> a1b2c3d4 stands for hello
--> block -- List all functions
-- List all functions
SELECT * FROM df.list_instances();
--> prints <hello> | (null) | pg_durable::orchestration::execute-function-graph | completed | 1 | {"rows":[{"?column?":"Hello, durable world!"}],"row_count":1}
-- Get result of a specific instance
SELECT df.result('a1b2c3d4');
--> prints {"rows": [{"?column?": "Hello, durable world!"}], "row_count": 1}
