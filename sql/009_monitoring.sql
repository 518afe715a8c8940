-- 009: lists and details of instances. Rows are those that row-level security shows to the caller; what the engine knows
-- of them comes through _df.visible_instances and _df.visible_executions (006).
--
-- A join with these views reads them whole, because a condition that is not the view's own stays outside a security
-- barrier; a subquery by id does not. So lists look up row by row what the engine knows, for the rows that they show.

CREATE FUNCTION _df.check_limit(p_limit int) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_max bigint := _df.setting('list_instances_max_limit', '1000')::bigint;
BEGIN
    IF p_limit IS NULL OR p_limit < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'limit_count must be at least 1';
    ELSIF p_limit > v_max THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'df.list_instances: limit_count (' || p_limit
                      || ') exceeds pg_durable.list_instances_max_limit (' || v_max
                      || '); request fewer rows, or use the paginated df.list_instances overload (after_cursor/next_cursor) for large result sets';
    END IF;
END
$$;
COMMENT ON FUNCTION _df.check_limit(int) IS 'Raises when a list of that many instances may not be asked for. Anybody.';

-- A custom plan for each call: which index serves depends on which filters are given.
CREATE FUNCTION df.list_instances(status_filter text DEFAULT NULL, limit_count integer DEFAULT 100)
    RETURNS TABLE (instance_id text, label text, function_name text, status text, execution_count bigint, output text)
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
    PERFORM _df.check_limit(limit_count);
    RETURN QUERY
        SELECT u.id::text, u.label, 'pg_durable::orchestration::execute-function-graph', u.status,
               (SELECT v.generation::bigint FROM _df.visible_instances AS v WHERE v.id = u.id),
               (SELECT v.output FROM _df.visible_instances AS v WHERE v.id = u.id)
        FROM df.instances AS u
        WHERE (status_filter IS NULL OR u.status = status_filter)
          AND (SELECT true FROM _df.visible_instances AS v WHERE v.id = u.id)
        ORDER BY u.created_at DESC
        LIMIT limit_count;
END
$$;
COMMENT ON FUNCTION df.list_instances(text, integer) IS
    'The newest instances that the caller may see, of one status if given. Caller''s rights.';

CREATE FUNCTION _df.read_cursor(p_cursor text, OUT created_at timestamptz, OUT id text)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_parts text[];
BEGIN
    IF p_cursor IS NULL THEN
        RETURN;
    ELSIF length(p_cursor) <= 512 AND p_cursor ~ '^([0-9a-fA-F]{2})+$' THEN
        v_parts := regexp_match(
            convert_from(decode(p_cursor, 'hex'), 'UTF8'),
            E'^v1\\|([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}[+-][0-9]{2}(?::[0-9]{2})?)\\|(.+)$');
    END IF;
    IF v_parts IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'df.list_instances: invalid after_cursor';
    END IF;
    created_at := v_parts[1]::timestamptz;
    id := v_parts[2];
EXCEPTION
    WHEN data_exception THEN  -- no UTF-8, a thirteenth month
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'df.list_instances: invalid after_cursor';
END
$$;
COMMENT ON FUNCTION _df.read_cursor(text) IS 'Where a page of df.list_instances ended. Anybody.';

CREATE FUNCTION df.list_instances(
    status_filter text,
    limit_count   integer,
    label_filter  text,
    after_cursor  text DEFAULT NULL
)
    RETURNS TABLE (instance_id text, label text, function_name text, status text, execution_count bigint, output text,
                   created_at timestamptz, completed_at timestamptz, next_cursor text)
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    v_after timestamptz;
    v_id    text;
BEGIN
    PERFORM _df.check_limit(limit_count);
    SELECT c.created_at, c.id INTO v_after, v_id FROM _df.read_cursor(after_cursor) AS c;
    RETURN QUERY
        WITH page AS MATERIALIZED (
            SELECT u.id, u.label, u.status, u.created_at, u.completed_at,
                   row_number() OVER (ORDER BY u.created_at DESC, u.id) AS n
            FROM df.instances AS u
            WHERE (status_filter IS NULL OR u.status = status_filter)
              AND (label_filter IS NULL OR u.label = label_filter)
              AND u.created_at IS NOT NULL
              AND (v_after IS NULL OR u.created_at <= v_after)
              AND (v_after IS NULL OR u.created_at < v_after OR u.id > v_id)
              AND (SELECT true FROM _df.visible_instances AS v WHERE v.id = u.id)
            ORDER BY u.created_at DESC, u.id
            LIMIT limit_count::bigint + 1
        )
        SELECT p.id::text, p.label, 'pg_durable::orchestration::execute-function-graph', p.status,
               (SELECT v.generation::bigint FROM _df.visible_instances AS v WHERE v.id = p.id),
               (SELECT v.output FROM _df.visible_instances AS v WHERE v.id = p.id), p.created_at, p.completed_at,
               (SELECT encode(convert_to('v1|' || to_char(l.created_at, 'YYYY-MM-DD"T"HH24:MI:SS.USOF') || '|' || l.id,
                                         'UTF8'), 'hex')
                FROM page AS l
                WHERE l.n = limit_count AND EXISTS (SELECT FROM page AS x WHERE x.n > limit_count))
        FROM page AS p
        WHERE p.n <= limit_count
        ORDER BY p.n;
END
$$;
COMMENT ON FUNCTION df.list_instances(text, integer, text, text) IS
    'A page of the instances that the caller may see, newest first; next_cursor, the same on every row, is NULL on the last page. Caller''s rights.';

-- LANGUAGE sql below where an argument has the name of a result column, which plpgsql does not take.
CREATE FUNCTION df.instance_info(instance_id text)
    RETURNS TABLE (instance_id text, label text, function_name text, function_version text, current_execution_id bigint,
                   status text, output text)
    LANGUAGE sql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT u.id::text, u.label, 'pg_durable::orchestration::execute-function-graph', '1.0.0', v.generation::bigint,
           u.status, v.output
    FROM df.instances AS u
    JOIN _df.visible_instances AS v ON v.id = u.id
    WHERE u.id = $1
$$;
COMMENT ON FUNCTION df.instance_info(text) IS
    'One row about an instance, none when the caller cannot see it. Caller''s rights.';

CREATE FUNCTION df.instance_executions(instance_id text, limit_count integer DEFAULT 5)
    RETURNS TABLE (execution_id bigint, status text, event_count bigint, duration_ms bigint, output text)
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_instance text := instance_id;
BEGIN
    IF limit_count < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'limit_count must be at least 1';
    END IF;
    RETURN QUERY
        SELECT x.execution_id, x.status, x.events,
               coalesce(floor(extract(epoch FROM x.ended_at - x.started_at) * 1000)::bigint, 0), x.output
        FROM (SELECT v.generation::bigint AS execution_id,
                     CASE u.status WHEN 'completed' THEN 'Completed' WHEN 'failed' THEN 'Failed'
                                   WHEN 'cancelled' THEN 'Failed' ELSE 'Running' END AS status,
                     v.events, v.started_at, v.finished_at AS ended_at, v.output
              FROM df.instances AS u
              JOIN _df.visible_instances AS v ON v.id = u.id
              WHERE u.id = v_instance
              UNION ALL
              SELECT e.execution_id, 'ContinuedAsNew', e.events, e.started_at, e.ended_at, e.output
              FROM _df.visible_executions AS e
              WHERE e.instance_id = v_instance
                AND EXISTS (SELECT FROM df.instances AS u WHERE u.id = v_instance)) AS x
        ORDER BY x.execution_id DESC
        LIMIT least(limit_count, 10000);
END
$$;
COMMENT ON FUNCTION df.instance_executions(text, integer) IS
    'The generations of an instance, newest first: one, or one per iteration of a root loop. Caller''s rights.';

CREATE FUNCTION df.instance_nodes(instance_id_param text)
    RETURNS TABLE (node_id text, node_type text, query text, result_name text, left_node text, right_node text,
                   status text, result text, status_details text, inferred_status text,
                   inferred_status_from_ancestor_id text, updated_at timestamptz)
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT n.id::text, n.node_type, n.query, n.result_name, n.left_node::text, n.right_node::text, n.status,
               n.result::text, coalesce(n.status_details || w.waiting, w.waiting, n.status_details)::text,
               coalesce(s.inferred_status, n.status), s.ancestor_id, n.updated_at
        FROM df.nodes AS n
        LEFT JOIN _df.infer(instance_id_param) AS s ON s.node_id = n.id
        -- why it waits for a login of its role stands at the root
        LEFT JOIN (SELECT u.root_node, jsonb_build_object('waiting', v.waiting) AS waiting
                   FROM _df.visible_instances AS v
                   JOIN df.instances AS u ON u.id = v.id
                   WHERE v.id = instance_id_param AND v.waiting IS NOT NULL) AS w ON w.root_node = n.id
        WHERE n.instance_id = instance_id_param;
END
$$;
COMMENT ON FUNCTION df.instance_nodes(text) IS
    'The nodes of an instance with their recorded and their inferred status. Caller''s rights.';

CREATE FUNCTION df.instance_nodes(instance_id_param text, _last_n_executions integer)
    RETURNS TABLE (execution_id bigint, node_id text, node_type text, query text, result_name text, left_node text,
                   right_node text, status text, result text, updated_at timestamptz)
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT 1::bigint, n.id::text, n.node_type, n.query, n.result_name, n.left_node::text, n.right_node::text,
               n.status, n.result::text, n.updated_at
        FROM df.nodes AS n
        WHERE n.instance_id = instance_id_param;
END
$$;
COMMENT ON FUNCTION df.instance_nodes(text, integer) IS
    'The nodes of an instance; kept for scripts that give a number of executions, which is ignored. Caller''s rights.';

CREATE FUNCTION df.metrics()
    RETURNS TABLE (total_instances bigint, running_instances bigint, completed_instances bigint,
                   failed_instances bigint, total_executions bigint, total_events bigint)
    LANGUAGE plpgsql STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
        SELECT s.total::bigint, s.total::bigint - s.completed::bigint - s.failed::bigint, s.completed::bigint,
               s.failed::bigint, i.executions::bigint, (i.events + e.events)::bigint
        FROM (SELECT coalesce(sum(g.count), 0) AS total,
                     coalesce(sum(g.count) FILTER (WHERE g.status = 'completed'), 0) AS completed,
                     coalesce(sum(g.count) FILTER (WHERE g.status IN ('failed', 'cancelled')), 0) AS failed
              FROM (SELECT u.status, count(*) AS count FROM df.instances AS u GROUP BY u.status) AS g) AS s,
             (SELECT coalesce(sum(x.generation), 0) AS executions, coalesce(sum(x.events), 0) AS events
              FROM _df.instances AS x) AS i,
             (SELECT coalesce(sum(x.events), 0) AS events FROM _df.executions AS x) AS e;
END
$$;
COMMENT ON FUNCTION df.metrics() IS
    'Instances of all roles by how they stand (running: all that have not ended; failed: the cancelled ones too), their executions and events. Owner''s rights, EXECUTE is not given to PUBLIC.';
REVOKE EXECUTE ON FUNCTION df.metrics() FROM PUBLIC;
