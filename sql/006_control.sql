-- 006: df.status, df.result, df.cancel, df.run, and what a caller may see of the engine's records.
--
-- The engine's tables are readable by their owner only. The two views below show the rows of those instances that
-- row-level security on df.instances shows to the caller: in a view, current_user and row_security_active() speak of who
-- asks, while table rights are those of the view's owner. Whoever may not read df.instances (any more) sees nothing.

CREATE VIEW _df.visible_instances WITH (security_barrier) AS
SELECT i.id, i.generation, i.output, i.waiting, i.started_at, i.finished_at, i.events
FROM _df.instances AS i
JOIN df.instances AS u ON u.id OPERATOR(pg_catalog.=) i.id
WHERE (SELECT pg_catalog.has_schema_privilege('df', 'USAGE')
              AND pg_catalog.has_table_privilege('df.instances', 'SELECT'))
  AND (u.submitted_by OPERATOR(pg_catalog.=) (SELECT pg_catalog.quote_ident(current_user)::regrole)
       OR NOT (SELECT pg_catalog.row_security_active('df.instances'::regclass)));
COMMENT ON VIEW _df.visible_instances IS
    'The engine''s view of the instances that the caller may see: execution number, exact output, what it waits for. Anybody.';
GRANT SELECT ON _df.visible_instances TO PUBLIC;

CREATE VIEW _df.visible_executions WITH (security_barrier) AS
SELECT e.instance_id, e.execution_id, e.started_at, e.ended_at, e.events, e.output
FROM _df.executions AS e
JOIN df.instances AS u ON u.id OPERATOR(pg_catalog.=) e.instance_id
WHERE (SELECT pg_catalog.has_schema_privilege('df', 'USAGE')
              AND pg_catalog.has_table_privilege('df.instances', 'SELECT'))
  AND (u.submitted_by OPERATOR(pg_catalog.=) (SELECT pg_catalog.quote_ident(current_user)::regrole)
       OR NOT (SELECT pg_catalog.row_security_active('df.instances'::regclass)));
COMMENT ON VIEW _df.visible_executions IS
    'Finished generations of the instances that the caller may see. Anybody.';
GRANT SELECT ON _df.visible_executions TO PUBLIC;

CREATE FUNCTION df.status(instance_id text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT u.status FROM df.instances AS u WHERE u.id = status.instance_id);
END
$$;
COMMENT ON FUNCTION df.status(text) IS
    'pending, running, completed, failed or cancelled; NULL for an instance that the caller cannot see. Caller''s rights.';

CREATE FUNCTION _df.failure(p_instance text) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_output text := (SELECT v.output FROM _df.visible_instances AS v WHERE v.id = p_instance);
    k        record;
BEGIN
    -- The node where it began: enclosing nodes failed too, with texts that end in its text. Of several failed branches
    -- the one that the instance's error speaks of.
    SELECT n.id, n.status_details ->> 'sqlstate' AS sqlstate, e.error
    INTO k
    FROM df.nodes AS n
    CROSS JOIN LATERAL (SELECT coalesce(n.error, n.result #>> '{}') AS error) AS e
    WHERE n.instance_id = p_instance AND n.status = 'failed'
    ORDER BY coalesce(right(v_output, length(e.error)) = e.error, false) DESC,
             n.node_type IN ('THEN', 'IF', 'JOIN', 'RACE', 'LOOP'),
             n.updated_at, n.id
    LIMIT 1;

    RETURN '{"error": ' || coalesce(to_json(coalesce(v_output, k.error))::text, 'null')
           || ', "sqlstate": ' || coalesce(to_json(k.sqlstate)::text, 'null')
           || ', "node_id": ' || coalesce(to_json(k.id)::text, 'null') || '}';
END
$$;
COMMENT ON FUNCTION _df.failure(text) IS
    'Why an instance failed, as JSON text: error, sqlstate, node_id. Caller''s rights; anybody.';

CREATE FUNCTION df.result(instance_id text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_status text;
    v_root   text;
BEGIN
    SELECT u.status, u.root_node INTO v_status, v_root
    FROM df.instances AS u WHERE u.id = result.instance_id;

    IF v_status = 'failed' THEN
        RETURN _df.failure(result.instance_id);
    END IF;
    RETURN (SELECT n.result::text
            FROM df.nodes AS n
            WHERE n.instance_id = result.instance_id AND n.id = v_root AND n.status = 'completed');
END
$$;
COMMENT ON FUNCTION df.result(text) IS
    'The root node''s result as JSON text once it is completed; of a failed instance {"error", "sqlstate", "node_id"}; else NULL. Caller''s rights.';

CREATE FUNCTION df.cancel(instance_id text, reason text DEFAULT 'Cancelled by user') RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF _df.control_leaves() THEN
        RETURN _df.launch('df.cancel()', 'cancel', ARRAY[instance_id, reason]);
    END IF;
    PERFORM FROM df.instances AS u WHERE u.id = cancel.instance_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'Instance not found or access denied: ' || cancel.instance_id;
    END IF;

    -- the trigger _df.on_cancel does the engine's part, with this reason
    PERFORM set_config('df.cancel_reason', reason, true);
    UPDATE df.instances AS u
    SET status = 'cancelled', updated_at = now()
    WHERE u.id = cancel.instance_id AND u.status IN ('pending', 'running');
    PERFORM set_config('df.cancel_reason', '', true);

    RETURN 'Instance ' || cancel.instance_id || ' cancelled: ' || reason;
END
$$;
COMMENT ON FUNCTION df.cancel(text, text) IS
    'Cancels an instance as part of the caller''s transaction; one that has ended stays as it is. Caller''s rights.';

CREATE FUNCTION df.run(instance_id text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN coalesce('Triggered run for instance: ' || instance_id, 'Triggered run for all pending instances');
END
$$;
COMMENT ON FUNCTION df.run(text) IS 'Does nothing: instances run by themselves. Anybody with USAGE on df.';
