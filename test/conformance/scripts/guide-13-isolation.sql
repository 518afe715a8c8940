-- The user guide, "User Isolation & Privileges".
--> name alice bob alice_data bob_data report_owner admin_only_table run_report analysts analyst_reports
--> name app_role admin_role customer_admin app_backend etl_service shared_user
--> session superuser
CREATE ROLE bob LOGIN;
CREATE TABLE bob_data (secret text);
ALTER TABLE bob_data OWNER TO bob;

--> block -- Alice creates a table she owns
-- Alice creates a table she owns
CREATE USER alice;
CREATE TABLE alice_data (secret TEXT);
ALTER TABLE alice_data OWNER TO alice;
-- before the guide's next line: the right to use df, and a login that the proxy knows
SELECT df.grant_usage('alice');
--> says NOTICE pg_durable: granted df usage privileges to "alice"
--> session alice
SELECT current_user = session_user;
--> session superuser
-- Alice submits a durable function
SET SESSION AUTHORIZATION alice;
SELECT df.start('SELECT * FROM alice_data');
--> starts own
--> ends completed {"rows": [], "row_count": 0}
-- This works - alice can access her own table
SELECT df.start('SELECT * FROM bob_data');
--> starts foreign
--> ends failed SQL execution failed: error returned from database: permission denied for table bob_data
-- This fails - alice doesn't have permission
RESET SESSION AUTHORIZATION;
SELECT submitted_by FROM df.instances WHERE id = :'own';
--> prints alice

CREATE ROLE report_owner LOGIN;
GRANT CREATE ON SCHEMA public TO report_owner;
SELECT df.grant_usage('report_owner');
CREATE TABLE admin_only_table AS SELECT 'secret' AS s;
ALTER TABLE admin_only_table OWNER TO report_owner;
--> session report_owner
--> block -- Admin creates a wrapper owned by a privileged role
-- Admin creates a wrapper owned by a privileged role
CREATE FUNCTION run_report(q TEXT) RETURNS TEXT
LANGUAGE SQL SECURITY DEFINER AS $$
SELECT df.start(df.sql(q), 'report');
$$;
--> session alice
-- Unprivileged caller supplies SQL that runs as the function owner
SELECT run_report('SELECT * FROM admin_only_table');
--> starts report
--> ends completed {"rows": [{"s": "secret"}], "row_count": 1}
SELECT df.status(:'report');
--> prints (null)

--> session superuser
CREATE TABLE analyst_reports AS SELECT 1 AS n;
--> block -- Grant table access to alice directly
-- Grant table access to alice directly
GRANT SELECT ON analyst_reports TO alice;
-- Alice submits as herself (her own login role)
SET SESSION AUTHORIZATION alice;
SELECT df.start('SELECT * FROM analyst_reports');
--> starts direct
--> ends completed {"rows": [{"n": 1}], "row_count": 1}
-- Runs as 'alice' — alice has LOGIN and the required privileges
RESET SESSION AUTHORIZATION;
REVOKE SELECT ON analyst_reports FROM alice;

--> block -- Create a group role and grant it to users
-- Create a group role and grant it to users
CREATE ROLE analysts NOLOGIN;
GRANT analysts TO alice;
GRANT analysts TO bob;
-- Grant table access to the group
GRANT SELECT ON analyst_reports TO analysts;
-- Alice submits as herself (inherits analysts privileges)
SET SESSION AUTHORIZATION alice;
SELECT df.start('SELECT * FROM analyst_reports');
--> starts inherited
--> ends completed {"rows": [{"n": 1}], "row_count": 1}
-- Runs as 'alice', who inherits SELECT from 'analysts'
RESET SESSION AUTHORIZATION;
SELECT df.grant_usage('analysts');
SET ROLE analysts;
SELECT df.start('SELECT * FROM analyst_reports');
--> fails XX000 current_user "analysts" does not have LOGIN privilege. The background worker must connect as this role to execute SQL. Grant LOGIN to this role or call df.start() as a role with LOGIN.
RESET ROLE;

CREATE ROLE app_role LOGIN;
CREATE ROLE admin_role LOGIN;
--> block -- Grant all required df privileges to a role
-- Grant all required df privileges to a role
SELECT df.grant_usage('app_role');
--> says NOTICE pg_durable: granted df usage privileges to "app_role"
SELECT has_function_privilege('app_role', 'df.http(text,text,text,jsonb,integer)', 'EXECUTE');
--> prints f
-- Grant with HTTP access (opt-in)
SELECT df.grant_usage('app_role', include_http => true);
SELECT has_function_privilege('app_role', 'df.http(text,text,text,jsonb,integer)', 'EXECUTE');
--> prints t
-- Grant with delegation — target role can itself call df.grant_usage/df.revoke_usage
SELECT df.grant_usage('admin_role', include_http => true, with_grant => true);
SELECT has_function_privilege('admin_role', 'df.grant_usage(text,boolean,boolean)', 'EXECUTE WITH GRANT OPTION');
--> prints t

SELECT df.revoke_usage('app_role');
--> says NOTICE pg_durable: revoked df usage privileges granted by "<any>" from "app_role"
SELECT has_schema_privilege('app_role', 'df', 'USAGE');
--> prints f
--> block -- Access gate: schema USAGE makes every ordinary df.* function callable
-- Access gate: schema USAGE makes every ordinary df.* function callable
GRANT USAGE ON SCHEMA df TO app_role;
-- Optional: HTTP access (include_http => true)
-- GRANT EXECUTE ON FUNCTION df.http(text, text, text, jsonb, integer) TO app_role;
-- Optional: system-wide metrics access (also granted automatically by
-- df.grant_usage(role, with_grant => true))
-- GRANT EXECUTE ON FUNCTION df.metrics() TO app_role;
-- Optional: delegated administration (with_grant => true)
-- GRANT EXECUTE ON FUNCTION df.grant_usage(text, boolean, boolean) TO app_role;
-- GRANT EXECUTE ON FUNCTION df.revoke_usage(text) TO app_role;
-- Table privileges
GRANT SELECT ON df.instances TO app_role;
GRANT UPDATE (status, updated_at) ON df.instances TO app_role;
GRANT SELECT ON df.nodes TO app_role;
GRANT INSERT (id, label, root_node, submitted_by, database) ON df.instances TO app_role;
GRANT INSERT (id, instance_id, node_type, query, result_name, left_node, right_node, submitted_by, database) ON df.nodes TO app_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON df.vars TO app_role;
--> session app_role
SELECT df.start('SELECT 1 AS n');
--> starts manual
--> ends completed {"rows": [{"n": 1}], "row_count": 1}

--> session superuser
CREATE ROLE customer_admin LOGIN;
CREATE ROLE app_backend LOGIN;
CREATE ROLE etl_service LOGIN;
--> block -- Superuser or PaaS hook grants the admin role with delegation
-- Superuser or PaaS hook grants the admin role with delegation
SELECT df.grant_usage('customer_admin', include_http => true, with_grant => true);
-- The admin role (non-superuser) can now manage other roles:
SET ROLE customer_admin;
SELECT df.grant_usage('app_backend'); -- standard access
--> says NOTICE pg_durable: granted df usage privileges to "app_backend"
-- include_http => true requires the admin to have WITH GRANT OPTION on
-- df.http(); otherwise PostgreSQL's native privilege check blocks the grant.
SELECT has_schema_privilege('app_backend', 'df', 'USAGE');
--> prints t
SELECT df.revoke_usage('app_backend'); -- revoke when needed
--> says NOTICE pg_durable: revoked df usage privileges granted by "customer_admin" from "app_backend"
SELECT has_schema_privilege('app_backend', 'df', 'USAGE');
--> prints f
RESET ROLE;

--> fragment -- Create a shared role for pg_durable access
-- Create a shared role for pg_durable access
CREATE ROLE pg_durable_user NOLOGIN;
--> fails 42939 role name "pg_durable_user" is reserved
-- (no server takes the guide's name, which begins with pg_: another one here)
CREATE ROLE shared_user NOLOGIN;
SELECT df.grant_usage('shared_user');
-- Grant membership to application roles
GRANT shared_user TO app_backend, etl_service;
--> session etl_service
SELECT df.start('SELECT current_user = session_user AS itself');
--> starts member
--> ends completed {"rows": [{"itself": true}], "row_count": 1}

-- "Cross-Instance Visibility"
--> session alice
SELECT df.status(:'member'), df.result(:'member');
--> prints (null) | (null)
SELECT count(*) FROM df.list_instances() WHERE instance_id = :'member';
--> prints 0
SELECT df.cancel(:'member');
--> fails XX000 Instance not found or access denied: <member>

--> session superuser
--> block SELECT df.revoke_usage('app_role');
SELECT df.revoke_usage('app_role');
SELECT has_schema_privilege('app_role', 'df', 'USAGE'), has_table_privilege('app_role', 'df.nodes', 'SELECT');
--> prints f | f

--> block -- Revoke legacy PUBLIC grants
-- Revoke legacy PUBLIC grants
SELECT df.revoke_usage('PUBLIC');
--> says NOTICE pg_durable: revoked df usage privileges granted by "<any>" from "PUBLIC"
-- Then grant to specific roles
SELECT df.grant_usage('app_role');
--> session app_role
SELECT df.status(:'manual');
--> prints completed
