-- 016: the extension's statements about settings (docs/compatibility.md).
--
-- The proxy makes SHOW, SET, RESET, ALTER SYSTEM and the like of a setting pg_durable.x, and set_config and
-- current_setting of it, into calls of these functions. Settings live in the configuration of the proxy, which writes
-- here what they are at each start and each SIGHUP:
--
--   _df.configuration   all settings, as SHOW has them
--   _df.settings        those that SQL functions read (002)
--
-- The extension itself is installed and dropped by sql/extension, since that must work without these schemas. That
-- somebody has created it is remembered in _df.settings as extension_created.

CREATE TABLE _df.configuration (
    name  text PRIMARY KEY,
    value text                -- NULL: not to be shown
);
COMMENT ON TABLE _df.configuration IS 'Settings of the proxy that wrote them last. Owner only; see _df.shown_setting.';

CREATE FUNCTION _df.shown_setting(p_name text, p_missing_ok boolean DEFAULT false) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_name  text := regexp_replace(lower(p_name), E'^pg_durable\\.', '');
    v_value text;
BEGIN
    SELECT coalesce(CASE WHEN c.name IN ('list_instances_max_limit', 'signal_transaction_mode') THEN _df.setting(c.name, c.value) END, c.value)
    INTO v_value
    FROM _df.configuration AS c
    WHERE c.name = v_name;
    IF NOT FOUND THEN
        IF p_missing_ok THEN
            RETURN NULL;
        END IF;
        RAISE EXCEPTION USING
            ERRCODE = '42704',
            MESSAGE = format('unrecognized configuration parameter "pg_durable.%s"', v_name);
    ELSIF v_value IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = '42501',
            MESSAGE = format('permission denied to examine "pg_durable.%s"', v_name),
            HINT = 'This setting is shown nowhere but in the configuration of the proxy.';
    END IF;
    RETURN v_value;
END
$$;
COMMENT ON FUNCTION _df.shown_setting(text, boolean) IS
    'A setting of the proxy as SHOW answers it. Anybody, with the owner''s rights; what may hold secrets is refused.';

CREATE FUNCTION _df.change_setting(p_name text, p_value text, p_scope text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c_hint CONSTANT text := 'Settings of pg_durable live in the configuration of pg-durable-proxy: its file, its environment (PG_DURABLE_%s) or --set.';
    v_name  text := regexp_replace(lower(p_name), E'^pg_durable\\.', '');
    v_owner oid  := (SELECT n.nspowner FROM pg_namespace AS n WHERE n.nspname = '_df');
    v_value text := p_value;
BEGIN
    BEGIN
        PERFORM _df.shown_setting(v_name);  -- 42704
    EXCEPTION
        WHEN insufficient_privilege THEN
            NULL;  -- it is known
    END;
    IF NOT (SELECT r.rolsuper OR pg_has_role(r.oid, v_owner, 'USAGE') FROM pg_roles AS r WHERE r.rolname = current_user) THEN
        RAISE EXCEPTION USING
            ERRCODE = '42501',
            MESSAGE = format('permission denied to set parameter "pg_durable.%s"', v_name),
            HINT = format(c_hint, upper(replace(v_name, '.', '_')));
    ELSIF v_name NOT IN ('list_instances_max_limit', 'signal_transaction_mode') OR p_scope = 'role' THEN
        RAISE EXCEPTION USING
            ERRCODE = '55P02',
            MESSAGE = format('parameter "pg_durable.%s" cannot be changed now', v_name),
            HINT = format(c_hint, upper(replace(v_name, '.', '_')));
    END IF;
    IF v_value IS NULL THEN
        SELECT c.value INTO v_value FROM _df.configuration AS c WHERE c.name = v_name;
    ELSIF v_name = 'signal_transaction_mode' AND v_value NOT IN ('caller', 'new')
          OR v_name = 'list_instances_max_limit' AND v_value !~ E'^\\s*[+-]?[0-9]{1,18}\\s*$' THEN
        RAISE EXCEPTION USING
            ERRCODE = '22023',
            MESSAGE = format('invalid value for parameter "pg_durable.%s": "%s"', v_name, v_value);
    ELSIF v_name = 'list_instances_max_limit' THEN
        v_value := v_value::bigint::text;
    END IF;
    IF v_name = 'list_instances_max_limit' AND v_value::bigint NOT BETWEEN 1 AND 1000000 THEN
        RAISE EXCEPTION USING
            ERRCODE = '22023',
            MESSAGE = format('%s is outside the valid range for parameter "pg_durable.%s" (1 .. 1000000)',
                             v_value, v_name);
    END IF;
    INSERT INTO _df.settings (name, value) VALUES (v_name, v_value)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value;
    RAISE NOTICE USING
        MESSAGE = format('"pg_durable.%s" is %s for everybody until a proxy next reads its configuration', v_name, v_value),
        HINT = format(c_hint, upper(replace(v_name, '.', '_')));
END
$$;
COMMENT ON FUNCTION _df.change_setting(text, text, text) IS
    'What SET, RESET and ALTER of a setting do: refused (42501) for all but the owner and superusers, and for them where only the proxy reads the setting (55P02). p_value NULL: as configured. p_scope: session, system, or role for ALTER ROLE and ALTER DATABASE. Anybody, with the caller''s rights.';

CREATE FUNCTION _df.current_setting(p_name text, p_missing_ok boolean DEFAULT false) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT _df.shown_setting(p_name, coalesce(p_missing_ok, false))
$$;
COMMENT ON FUNCTION _df.current_setting(text, boolean) IS
    'In the place of pg_catalog.current_setting for a setting of the proxy. Anybody.';

CREATE FUNCTION _df.set_config(p_name text, p_value text, p_local boolean) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM _df.change_setting(p_name, p_value, 'session');
    RETURN _df.shown_setting(p_name);
END
$$;
COMMENT ON FUNCTION _df.set_config(text, text, boolean) IS
    'In the place of pg_catalog.set_config for a setting of the proxy; p_local means nothing. Anybody, with the caller''s rights.';

GRANT EXECUTE ON FUNCTION
    _df.shown_setting(text, boolean), _df.change_setting(text, text, text), _df.current_setting(text, boolean),
    _df.set_config(text, text, boolean) TO PUBLIC;

SELECT _df.close_tables();
