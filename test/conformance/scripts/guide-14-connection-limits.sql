-- The user guide, "Connection Limits". Its blocks are lines of postgresql.conf; here they are settings of the proxy
-- (docs/guide.md), and SHOW answers.
SHOW pg_durable.max_user_connections;
--> columns pg_durable.max_user_connections
--> prints 10
SHOW pg_durable.execution_acquire_timeout;
--> prints 30s
SHOW pg_durable.max_management_connections;
--> prints 6
SHOW pg_durable.max_duroxide_connections;
--> prints 10
SET pg_durable.list_instances_max_limit = 5;
--> fails 42501 permission denied to set parameter "pg_durable.list_instances_max_limit"
