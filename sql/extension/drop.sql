-- Body of the DO block that a DROP EXTENSION pg_durable becomes: drops both schemas with all they hold, and what others
-- have built on them, in the caller's transaction. What goes besides is named as the server names it.
DECLARE
    v_path      pg_catalog.text := pg_catalog.current_setting('search_path');
    v_level     pg_catalog.text := pg_catalog.current_setting('client_min_messages');
    v_owner     pg_catalog.oid;
    v_timeout   pg_catalog.text := pg_catalog.current_setting('lock_timeout');
    v_tables    pg_catalog.text;
    v_dependent pg_catalog.text[];
    v_reason    pg_catalog.text[];
BEGIN
    {{others}}
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    SELECT c.relowner INTO v_owner
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid = to_regclass('_df.migrations') AND c.relkind = 'r'
      AND pg_get_userbyid(c.relowner) = {{admin}} AND pg_get_userbyid(n.nspowner) = {{admin}};
    IF v_owner IS NULL THEN
        IF NOT {{missing_ok}} THEN
            RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = 'extension "pg_durable" does not exist';
        END IF;
        PERFORM set_config('search_path', v_path, true);
        RAISE NOTICE USING MESSAGE = 'extension "pg_durable" does not exist, skipping';
        RETURN;
    ELSIF NOT (SELECT r.rolsuper OR pg_has_role(r.oid, v_owner, 'USAGE') FROM pg_roles AS r WHERE r.rolname = current_user) THEN
        RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'must be owner of extension pg_durable';
    END IF;

    -- Others' objects: what depends normally on something in the schemas and is not part of something in them. A view
    -- depends through its rule.
    WITH RECURSIVE
        inner_object AS (
            SELECT 'pg_namespace'::regclass::oid AS class, n.oid AS object
            FROM pg_namespace AS n
            WHERE n.nspname IN ('df', '_df')
            UNION
            SELECT d.classid, d.objid
            FROM inner_object AS i
            JOIN pg_depend AS d ON d.refclassid = i.class AND d.refobjid = i.object
            WHERE d.deptype IN ('a', 'i', 'P', 'S') OR i.class = 'pg_namespace'::regclass
        ),
        gone AS (
            SELECT i.class, i.object, 0 AS sub, NULL::text AS reason FROM inner_object AS i
            UNION
            SELECT coalesce(v.class, d.classid), coalesce(v.object, d.objid),
                   CASE WHEN v.class IS NULL THEN d.objsubid ELSE 0 END,
                   CASE WHEN d.deptype = 'n' THEN pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) END
            FROM gone AS g
            JOIN pg_depend AS d ON d.refclassid = g.class AND d.refobjid = g.object
            LEFT JOIN LATERAL (SELECT 'pg_class'::regclass::oid AS class, r.ev_class AS object
                               FROM pg_rewrite AS r
                               WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid) AS v ON true
            WHERE d.deptype IN ('n', 'a', 'i', 'P', 'S')
        ),
        other AS (
            SELECT pg_describe_object(g.class, g.object, g.sub) AS description, min(g.reason) AS reason
            FROM gone AS g
            WHERE g.reason IS NOT NULL
              AND NOT EXISTS (SELECT FROM inner_object AS i WHERE i.class = g.class AND i.object = g.object)
            GROUP BY 1
        )
    SELECT array_agg(o.description ORDER BY o.description), array_agg(o.reason ORDER BY o.description)
    INTO v_dependent, v_reason
    FROM other AS o
    WHERE o.description IS NOT NULL AND o.description <> o.reason;

    IF NOT {{cascade}} THEN
        RAISE EXCEPTION USING
            ERRCODE = '2BP01',
            MESSAGE = 'cannot drop extension pg_durable because other objects depend on it',
            DETAIL = (SELECT string_agg(l.line, chr(10) ORDER BY l.n)
                      FROM (SELECT 0 AS n, 'schema _df depends on extension pg_durable' AS line
                            UNION ALL
                            SELECT u.n, u.d || ' depends on ' || u.r
                            FROM ROWS FROM (unnest(v_dependent), unnest(v_reason)) WITH ORDINALITY AS u (d, r, n)
                            WHERE u.n < 100) AS l),
            HINT = 'Use DROP ... CASCADE to drop the dependent objects too.';
    END IF;

    -- Executors and users lock these tables in orders of their own. Who wants all of them, waits but shortly for each and
    -- then lets go of what he has, is in no deadlock that ends either's work. After a while he waits in the ordinary way.
    SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.relname <> 'instances', n.nspname DESC, c.relname)
    INTO v_tables
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('df', '_df') AND c.relkind IN ('r', 'p');
    PERFORM set_config('lock_timeout', '100ms', true);
    FOR n IN 1 .. 200 LOOP
        BEGIN
            EXECUTE 'LOCK TABLE ' || v_tables || ' IN ACCESS EXCLUSIVE MODE';
            EXIT;
        EXCEPTION
            WHEN lock_not_available THEN
                PERFORM pg_sleep(random() * 0.02);
        END;
    END LOOP;
    PERFORM set_config('lock_timeout', v_timeout, true);
    -- what this transaction has started is gone with it
    SET CONSTRAINTS df.nodes_instance_identity_fkey, df.nodes_left_node_same_instance_fkey,
        df.nodes_right_node_same_instance_fkey, df.instances_root_node_same_instance_fkey IMMEDIATE;
    PERFORM set_config('client_min_messages', 'warning', true);
    DROP SCHEMA df CASCADE;
    DROP SCHEMA _df CASCADE;
    PERFORM set_config('client_min_messages', v_level, true);
    IF cardinality(v_dependent) = 1 THEN
        RAISE NOTICE USING MESSAGE = 'drop cascades to ' || v_dependent[1];
    ELSIF cardinality(v_dependent) > 1 THEN
        RAISE NOTICE USING
            MESSAGE = 'drop cascades to ' || cardinality(v_dependent) || ' other objects',
            DETAIL = 'drop cascades to ' || array_to_string(v_dependent[:100], chr(10) || 'drop cascades to ');
    END IF;
    PERFORM set_config('search_path', v_path, true);
END
