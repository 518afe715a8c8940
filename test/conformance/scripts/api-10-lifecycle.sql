-- df-api, 10 and 12: settings and the extension's statements. Alone: the extension is of a whole database.
--> alone
--> session app
CREATE EXTENSION pg_durable;
--> fails 42501 permission denied to create extension "pg_durable"
SHOW pg_durable.retention_days;
--> columns pg_durable.retention_days
--> prints 30
SHOW pg_durable.enable_superuser_instances;
--> prints off
SHOW pg_durable.foo;
--> fails 42704 unrecognized configuration parameter "pg_durable.foo"
SET pg_durable.list_instances_max_limit = 5;
--> fails 42501 <any>
DROP EXTENSION pg_durable CASCADE;
--> fails 42501 must be owner of extension pg_durable
--> session superuser
CREATE EXTENSION pg_durable;
CREATE EXTENSION pg_durable;
--> fails 42710 extension "pg_durable" already exists
CREATE EXTENSION IF NOT EXISTS pg_durable WITH SCHEMA pg_catalog CASCADE;
--> says NOTICE extension "pg_durable" already exists, skipping
ALTER EXTENSION pg_durable UPDATE;
--> says NOTICE version "<any>" of extension "pg_durable" is already installed
--> session app
SELECT df.start(df.sleep(600));
--> starts waiting
--> session superuser
DROP EXTENSION IF EXISTS pg_durable;
--> fails 2BP01 cannot drop extension pg_durable because other objects depend on it
BEGIN;
DROP EXTENSION pg_durable CASCADE;
SELECT to_regnamespace('df');
--> prints (null)
ROLLBACK;
SELECT df.status(:'waiting');
--> comes to running
DROP EXTENSION pg_durable CASCADE;
DROP EXTENSION pg_durable CASCADE;
--> fails 42704 extension "pg_durable" does not exist
DROP EXTENSION IF EXISTS pg_durable CASCADE;
--> says NOTICE extension "pg_durable" does not exist, skipping
SELECT to_regnamespace('df'), to_regnamespace('_df');
--> prints (null) | (null)
DO $$ BEGIN CREATE EXTENSION pg_durable; END $$;
SELECT count(*) FROM df.instances;
--> prints 0
