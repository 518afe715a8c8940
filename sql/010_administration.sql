-- 010: who may use df, and what this installation is.
--
-- USAGE on schema df is the gate: functions keep EXECUTE for PUBLIC but for those named below. Both helpers run with the
-- caller's rights, so that PostgreSQL's own rules on grant options and grantors hold.

CREATE FUNCTION df.version() RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_version text := _df.setting('version', '0.1.0');
BEGIN
    IF strpos(v_version, ' ') > 0 THEN
        RETURN v_version;
    END IF;
    RETURN v_version || ' (built ' || _df.setting('built_at', '1970-01-01T00:00:00Z') || ')';
END
$$;
COMMENT ON FUNCTION df.version() IS 'Version of the proxy that wrote its settings last, and when it was built. Anybody with USAGE on df.';

CREATE FUNCTION df.target_database() RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT current_database()::text
$$;
COMMENT ON FUNCTION df.target_database() IS
    'The control database: the one in which df is installed. Anybody with USAGE on df.';

CREATE FUNCTION df.duroxide_schema() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT '_df'
$$;
COMMENT ON FUNCTION df.duroxide_schema() IS 'The schema of the engine''s state. Anybody with USAGE on df.';

-- Where somebody has a right and may not pass it on, PostgreSQL's GRANT and REVOKE do nothing and warn. These helpers
-- fail then, as where he does not have it at all: half a grant is none.
CREATE FUNCTION _df.must_grant(p_http boolean, p_helpers boolean) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_lacks text := CASE
        WHEN NOT has_schema_privilege('df', 'USAGE WITH GRANT OPTION') THEN 'schema df'
        WHEN p_http AND NOT has_function_privilege(
            'df.http(text,text,text,jsonb,integer)', 'EXECUTE WITH GRANT OPTION') THEN 'function http'
        WHEN p_http AND NOT has_function_privilege(
            'df.http_multipart(text,text,jsonb,jsonb,integer)', 'EXECUTE WITH GRANT OPTION') THEN 'function http_multipart'
        WHEN p_helpers AND NOT has_function_privilege(
            'df.grant_usage(text,boolean,boolean)', 'EXECUTE WITH GRANT OPTION') THEN 'function grant_usage'
        WHEN p_helpers AND NOT has_function_privilege(
            'df.revoke_usage(text)', 'EXECUTE WITH GRANT OPTION') THEN 'function revoke_usage'
        WHEN p_helpers AND NOT has_function_privilege('df.metrics()', 'EXECUTE WITH GRANT OPTION') THEN 'function metrics'
        WHEN NOT (has_table_privilege('df.instances', 'SELECT WITH GRANT OPTION')
                  AND has_column_privilege('df.instances', 'status', 'UPDATE WITH GRANT OPTION')
                  AND has_column_privilege('df.instances', 'id', 'INSERT WITH GRANT OPTION')) THEN 'table instances'
        WHEN NOT (has_table_privilege('df.nodes', 'SELECT WITH GRANT OPTION')
                  AND has_column_privilege('df.nodes', 'id', 'INSERT WITH GRANT OPTION')) THEN 'table nodes'
        WHEN NOT (has_table_privilege('df.vars', 'SELECT WITH GRANT OPTION')
                  AND has_table_privilege('df.vars', 'INSERT WITH GRANT OPTION')
                  AND has_table_privilege('df.vars', 'UPDATE WITH GRANT OPTION')
                  AND has_table_privilege('df.vars', 'DELETE WITH GRANT OPTION')) THEN 'table vars'
    END;
BEGIN
    IF v_lacks IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = '42501',
            MESSAGE = 'permission denied for ' || v_lacks,
            HINT = 'Only who has these rights with the grant option can give or take them: SELECT df.grant_usage(''' || current_user || ''', with_grant => true).';
    END IF;
END
$$;
COMMENT ON FUNCTION _df.must_grant(boolean, boolean) IS
    'Raises unless the caller may pass on what df.grant_usage gives: with HTTP, with the helpers. Caller''s rights; anybody.';

CREATE FUNCTION df.grant_usage(p_role text, include_http boolean DEFAULT false, with_grant boolean DEFAULT false)
    RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_to    text := format(' TO %I', p_role) || CASE WHEN with_grant THEN ' WITH GRANT OPTION' ELSE '' END;
    v_right text;
BEGIN
    PERFORM _df.must_grant(include_http, with_grant);
    EXECUTE 'GRANT USAGE ON SCHEMA df' || v_to;
    IF include_http THEN
        EXECUTE 'GRANT EXECUTE ON FUNCTION df.http(text, text, text, jsonb, integer), '
                'df.http_multipart(text, text, jsonb, jsonb, integer)' || v_to;
    END IF;
    IF with_grant THEN
        EXECUTE 'GRANT EXECUTE ON FUNCTION df.grant_usage(text, boolean, boolean), df.revoke_usage(text), df.metrics()' || v_to;
    END IF;
    FOREACH v_right IN ARRAY ARRAY[
        'SELECT ON df.instances',
        'UPDATE (status, updated_at) ON df.instances',
        'SELECT ON df.nodes',
        'INSERT (id, label, root_node, submitted_by, database) ON df.instances',
        'INSERT (id, instance_id, node_type, query, result_name, left_node, right_node, submitted_by, database) ON df.nodes',
        'SELECT, INSERT, UPDATE, DELETE ON df.vars'
    ] LOOP
        EXECUTE 'GRANT ' || v_right || v_to;
    END LOOP;
    RAISE NOTICE 'pg_durable: granted df usage privileges to "%"', p_role;
END
$$;
COMMENT ON FUNCTION df.grant_usage(text, boolean, boolean) IS
    'Gives a role what it needs to use df; with_grant makes it an administrator of these rights. Caller''s rights, EXECUTE is not given to PUBLIC.';
REVOKE EXECUTE ON FUNCTION df.grant_usage(text, boolean, boolean) FROM PUBLIC;

CREATE FUNCTION df.revoke_usage(p_role text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_from  text := format(' FROM %I CASCADE', p_role);
    v_right text;
BEGIN
    PERFORM _df.must_grant(false, false);
    -- taking rights from everybody is never a mistake, so this spelling is taken too unless a role is named so
    IF p_role = 'PUBLIC' AND NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = p_role) THEN
        v_from := ' FROM PUBLIC CASCADE';
    END IF;
    FOREACH v_right IN ARRAY ARRAY[
        'df.http(text,text,text,jsonb,integer)',
        'df.metrics()',
        'df.http_multipart(text,text,jsonb,jsonb,integer)',
        'df.grant_usage(text,boolean,boolean)',
        'df.revoke_usage(text)'
    ] LOOP
        BEGIN
            EXECUTE 'REVOKE EXECUTE ON FUNCTION ' || v_right || v_from;
        EXCEPTION
            WHEN insufficient_privilege THEN
                NULL;  -- not his to take
        END;
    END LOOP;
    FOREACH v_right IN ARRAY ARRAY[
        'SELECT, INSERT, UPDATE, DELETE ON df.vars',
        'INSERT (id, instance_id, node_type, query, result_name, left_node, right_node, submitted_by, database) ON df.nodes',
        'INSERT (id, label, root_node, submitted_by, database) ON df.instances',
        'SELECT ON df.nodes',
        'UPDATE (status, updated_at) ON df.instances',
        'SELECT ON df.instances',
        'USAGE ON SCHEMA df'
    ] LOOP
        EXECUTE 'REVOKE ' || v_right || v_from;
    END LOOP;
    RAISE NOTICE 'pg_durable: revoked df usage privileges granted by "%" from "%"', current_user, p_role;
END
$$;
COMMENT ON FUNCTION df.revoke_usage(text) IS
    'Takes from a role what the caller has given it with df.grant_usage. Caller''s rights, EXECUTE is not given to PUBLIC.';
REVOKE EXECUTE ON FUNCTION df.revoke_usage(text) FROM PUBLIC;

-- Default privileges of the owner may give somebody rights on what these files make, and members of pg_read_all_data
-- read every table without row-level security. What is in _df opens doors: fencing tokens, sealed credentials. A file
-- that makes tables or views there ends with a call of this function (a test looks). Row-level security without any
-- policy does not apply to the owner, and costs him nothing.
CREATE FUNCTION _df.close_tables() RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_table   regclass;
    v_grantee text;
BEGIN
    FOR v_table, v_grantee IN
        SELECT DISTINCT c.oid::regclass,
               CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
        FROM pg_class AS c, aclexplode(c.relacl) AS a
        WHERE c.relnamespace = '_df'::regnamespace
          AND c.relkind IN ('r', 'v', 'S')
          AND a.grantee <> c.relowner
          AND (a.grantee <> 0 OR c.relkind <> 'v')  -- what views show to everybody is said where they are
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', v_table, v_grantee);
    END LOOP;
    GRANT SELECT ON _df._worker_ready TO PUBLIC;

    FOR v_table IN
        SELECT c.oid
        FROM pg_class AS c
        WHERE c.relnamespace = '_df'::regnamespace AND c.relkind = 'r' AND c.relname <> '_worker_ready'
          AND NOT c.relrowsecurity
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', v_table);
    END LOOP;
END
$$;
COMMENT ON FUNCTION _df.close_tables() IS
    'Takes all rights on the tables of _df from everybody but the owner, but for what everybody may read. Owner only.';
REVOKE EXECUTE ON FUNCTION _df.close_tables() FROM PUBLIC;

SELECT _df.close_tables();
