-- design, "Promises": the admin role has no special right, and everything that it owns works all the same.
--> session superuser
SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles
WHERE oid = (SELECT nspowner FROM pg_namespace WHERE nspname = 'df');
--> prints f | f | f | f | f
SELECT count(*) FROM pg_proc WHERE pronamespace IN ('df'::regnamespace, '_df'::regnamespace) AND proowner <> (SELECT nspowner FROM pg_namespace WHERE nspname = 'df');
--> prints 0
-- logins have passwords, and none is trusted without one
SELECT count(*) > 0, bool_and(auth_method = 'scram-sha-256') FROM pg_hba_file_rules WHERE type LIKE 'host%' AND NOT 'replication' = ANY (database);
--> prints t | t
SELECT bool_and(rolpassword LIKE 'SCRAM-SHA-256$%') FROM pg_authid
WHERE oid = (SELECT nspowner FROM pg_namespace WHERE nspname = 'df');
--> prints t
