-- The user guide, "Multi-Database Support".
--> name analytics tenant_alpha tenant_beta app_owner
--> session superuser
CREATE DATABASE analytics;
CREATE DATABASE tenant_alpha;
CREATE DATABASE tenant_beta;
--> session superuser in analytics
CREATE TABLE events (n int);
INSERT INTO events VALUES (1), (2), (3);
CREATE TABLE reports (date timestamptz, total bigint);
GRANT ALL ON events, reports TO PUBLIC;
--> session superuser in tenant_alpha
CREATE TABLE refreshed (by text);
GRANT ALL ON refreshed TO PUBLIC;
CREATE PROCEDURE public.refresh_materialized_views() LANGUAGE sql AS $$ INSERT INTO public.refreshed VALUES (session_user) $$;
--> session superuser in tenant_beta
CREATE TABLE refreshed (by text);
GRANT ALL ON refreshed TO PUBLIC;
CREATE PROCEDURE public.refresh_materialized_views() LANGUAGE sql AS $$ INSERT INTO public.refreshed VALUES (session_user) $$;

--> session app
--> block -- Run a query in the 'analytics' database
-- Run a query in the 'analytics' database
SELECT df.start(
'INSERT INTO reports (date, total) SELECT now(), count(*) FROM events',
'daily-report',
'analytics'
);
--> starts report
--> ends completed
-- Using named parameter syntax (skip the label)
SELECT df.start(
'SELECT 1',
database => 'analytics'
);
--> starts skipped
--> ends completed {"rows": [{"?column?": 1}], "row_count": 1}
SELECT label, database FROM df.instances ORDER BY label;
--> prints daily-report | analytics
--> prints (null) | analytics
SELECT df.start('SELECT 1', database => 'no such database');
--> fails XX000 database "no such database" does not exist
--> session superuser in analytics
SELECT total FROM reports;
--> prints 3

--> session app
--> block -- Process data in each tenant database
-- Process data in each tenant database
SELECT df.start(
'CALL refresh_materialized_views()',
'tenant-alpha-refresh',
'tenant_alpha'
);
--> starts alpha
SELECT df.start(
'CALL refresh_materialized_views()',
'tenant-beta-refresh',
'tenant_beta'
);
--> starts beta
--> alpha ends completed
--> beta ends completed
--> session superuser in tenant_alpha
SELECT count(*) FROM refreshed WHERE by LIKE 'reader%';
--> prints 1
--> session superuser in tenant_beta
SELECT count(*) FROM refreshed WHERE by LIKE 'reader%';
--> prints 1
