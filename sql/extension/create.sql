-- Body of the DO block that a CREATE EXTENSION pg_durable becomes (src/state/extension.ts, src/rewrite/extension.ts):
-- what is between the lines of braces is filled in. Any search_path may be set, and any of the schemas may be missing.
--
-- Installs the schemas where they are missing, as the admin role and in the caller's transaction, and remembers that
-- somebody has created the extension. Role and settings are afterwards as they were.
--
-- A superuser may run this, so nothing in a schema _df is touched that does not belong to the admin role: whoever may
-- create schemas could have put one there.
DECLARE
    c_created  CONSTANT pg_catalog.text := 'extension "pg_durable" already exists';
    v_settings pg_catalog.text[] := ARRAY['search_path', 'client_min_messages', 'standard_conforming_strings',
                                          'check_function_bodies', 'role'];
    v_before   pg_catalog.text[];
    v_owner    pg_catalog.text := {{admin}};
    v_foreign  pg_catalog.text;
    v_schema   pg_catalog.text;
    v_may      boolean;
    v_there    boolean;
    m          record;
BEGIN
    SELECT pg_catalog.array_agg(pg_catalog.current_setting(s.name) ORDER BY s.n) INTO v_before
    FROM pg_catalog.unnest(v_settings) WITH ORDINALITY AS s (name, n);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    v_may := (SELECT r.rolsuper OR pg_has_role(r.oid, v_owner, 'MEMBER') FROM pg_roles AS r WHERE r.rolname = current_user);
    IF v_may AND to_regclass('_df.migrations') IS NULL THEN
        -- proxies that start, and others who create it, take turns
        PERFORM pg_advisory_xact_lock(1146504275, 2);
    END IF;
    SELECT pg_get_userbyid(c.relowner)::text, pg_get_userbyid(n.nspowner)::text INTO v_foreign, v_schema
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid = to_regclass('_df.migrations');
    v_there := FOUND;
    IF v_foreign <> v_owner OR v_schema <> v_owner THEN
        RAISE EXCEPTION USING
            ERRCODE = '42P06',
            MESSAGE = 'the schemas df and _df belong to role "' || coalesce(nullif(v_foreign, v_owner), v_schema) || '", not to that of pg-durable-proxy';
    END IF;

    IF v_there THEN
        IF _df.setting('extension_created', 'off') = 'on' OR ({{if_not_exists}} AND NOT v_may) THEN
            IF NOT {{if_not_exists}} THEN
                RAISE EXCEPTION USING ERRCODE = '42710', MESSAGE = c_created;
            END IF;
            PERFORM set_config('search_path', v_before[1], true);
            RAISE NOTICE USING ERRCODE = '42710', MESSAGE = c_created || ', skipping';
            RETURN;
        END IF;
    END IF;
    IF NOT v_may THEN
        RAISE EXCEPTION USING
            ERRCODE = '42501',
            MESSAGE = 'permission denied to create extension "pg_durable"',
            HINT = 'Must be superuser, or a member of role "' || v_owner || '", to create this extension.';
    END IF;

    PERFORM set_config('client_min_messages', 'warning', true),
            set_config('standard_conforming_strings', 'on', true),
            set_config('check_function_bodies', 'on', true);
    IF current_user <> v_owner THEN
        PERFORM set_config('role', v_owner, true);
    END IF;
    IF NOT v_there THEN
        EXECUTE {{registry}};
        FOR m IN
            SELECT t.number, t.name, t.checksum, t.text
            FROM json_to_recordset(convert_from(decode({{migrations}}, 'base64'), 'UTF8')::json)
                     AS t (number int, name text, checksum text, text text)
            ORDER BY t.number
        LOOP
            EXECUTE m.text;
            INSERT INTO _df.migrations (number, name, checksum) VALUES (m.number, m.name, m.checksum);
        END LOOP;
    END IF;
    INSERT INTO _df.settings (name, value) VALUES ('extension_created', 'on')
    ON CONFLICT (name) DO UPDATE SET value = excluded.value;

    IF current_setting('role') <> v_before[5] THEN
        PERFORM set_config('role', v_before[5], true);
    END IF;
    PERFORM set_config('check_function_bodies', v_before[4], true),
            set_config('standard_conforming_strings', v_before[3], true),
            set_config('client_min_messages', v_before[2], true),
            set_config('search_path', v_before[1], true);
END
