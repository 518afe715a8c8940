-- Body of the DO block that an ALTER EXTENSION pg_durable UPDATE becomes: proxies bring the schemas up to date when they
-- start, so there is nothing to do. COMMENT ON EXTENSION pg_durable, which is in every dump of a database with the
-- extension, becomes it too, without the notice: the comment is kept nowhere.
DECLARE
    v_path  pg_catalog.text := pg_catalog.current_setting('search_path');
    v_owner pg_catalog.oid;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    SELECT CASE WHEN pg_get_userbyid(n.nspowner) = {{admin}} THEN c.relowner ELSE n.nspowner END INTO v_owner
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid = to_regclass('_df.migrations');
    IF v_owner IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = 'extension "pg_durable" does not exist';
    ELSIF NOT (SELECT r.rolsuper OR pg_has_role(r.oid, v_owner, 'USAGE') FROM pg_roles AS r WHERE r.rolname = current_user) THEN
        RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'must be owner of extension pg_durable';
    END IF;
    -- schemas of these names that somebody else has made: nothing in them is called, whoever asks
    IF pg_get_userbyid(v_owner) <> {{admin}} THEN
        RAISE EXCEPTION USING
            ERRCODE = '42P06',
            MESSAGE = 'the schemas df and _df belong to role "' || pg_get_userbyid(v_owner) || '", not to that of pg-durable-proxy';
    END IF;
    IF {{update}} THEN
        RAISE NOTICE USING
            MESSAGE = 'version "' || split_part(_df.setting('version', '0.1.0'), ' ', 1)
                      || '" of extension "pg_durable" is already installed';
    END IF;
    PERFORM set_config('search_path', v_path, true);
END
