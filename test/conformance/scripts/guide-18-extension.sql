-- The user guide, "Extension Drop/Recreate Issues". Alone: the extension is of a whole database.
--> alone
--> session app
SELECT df.start(df.sleep(600));
--> starts gone
--> session superuser
CREATE EXTENSION IF NOT EXISTS pg_durable;
DROP EXTENSION pg_durable;
--> fails 2BP01 cannot drop extension pg_durable because other objects depend on it
--> block DROP EXTENSION pg_durable CASCADE;
DROP EXTENSION pg_durable CASCADE;
SELECT to_regnamespace('df'), to_regnamespace('_df');
--> prints (null) | (null)
-- Wait ~20 seconds for background worker to fully shut down
CREATE EXTENSION pg_durable;
SELECT count(*) FROM df.instances;
--> prints 0
CREATE EXTENSION pg_durable;
--> fails 42710 extension "pg_durable" already exists
CREATE EXTENSION IF NOT EXISTS pg_durable;
--> says NOTICE extension "pg_durable" already exists, skipping
