-- 012: a claim says also which role it is, not only what its name is now.
--
-- Sessions of steps are pooled. A name can pass from one role to another (renamed or dropped, and made anew); a session
-- of the one must never be given to the other.

CREATE OR REPLACE FUNCTION _df.claim(p_owner uuid, p_tokens uuid[]) RETURNS json
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off  -- plans are made while the tables are small, and kept
    SET jit = off
    SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_now       timestamptz := _df.now();
    v_instances json;
    v_next      timestamptz;
BEGIN
    -- An executor that was declared dead (it was stopped, and now goes on) must not take anything under its old id:
    -- nobody would ever free it. The lock keeps it from being declared dead until this claim is visible.
    PERFORM FROM _df.executors AS e WHERE e.id = p_owner FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN json_build_object('alive', false, 'instances', '[]'::json, 'next', NULL);
    END IF;

    IF cardinality(p_tokens) > 0 THEN
        WITH due AS MATERIALIZED (
            SELECT i.id, i.wake_at
            FROM _df.instances AS i
            WHERE i.wake_at <= v_now
            ORDER BY i.wake_at
            LIMIT cardinality(p_tokens)
            FOR UPDATE SKIP LOCKED
        ), numbered AS MATERIALIZED (
            SELECT d.id, row_number() OVER (ORDER BY d.wake_at) AS n
            FROM due AS d
        ), taken AS (
            UPDATE _df.instances AS i
            SET owner    = p_owner,
                token    = p_tokens[m.n],
                wake_at  = NULL,
                waiting  = NULL,
                role     = CASE WHEN i.graph IS NULL THEN u.submitted_by::oid ELSE i.role END,
                database = CASE WHEN i.graph IS NULL THEN u.database ELSE i.database END,
                graph    = coalesce(i.graph, (
                               SELECT json_build_object(
                                          'root', u.root_node,
                                          'role', (SELECT a.rolname FROM pg_catalog.pg_roles AS a
                                                   WHERE a.oid = u.submitted_by),
                                          'nodes', json_agg(json_build_array(
                                              k.id, k.node_type, k.query, k.result_name, k.left_node, k.right_node)))
                               FROM df.nodes AS k
                               WHERE k.instance_id = i.id))
            FROM numbered AS m, df.instances AS u
            WHERE i.id = m.id AND u.id = m.id
            RETURNING i.*, m.n
        )
        SELECT json_agg(json_build_object(
                   'id', t.id, 'token', t.token, 'database', t.database, 'label', t.label,
                   'role', r.rolname, 'roleId', r.oid::text, 'superuser', r.rolsuper, 'login', r.rolcanlogin,
                   'vars', t.vars, 'graph', t.graph, 'generation', t.generation, 'attempts', t.attempts,
                   'events', t.events,
                   'journal', (
                       SELECT json_agg(json_build_array(
                                  j.node_id, j.stamp, j.kind, j.value,
                                  extract(epoch FROM j.due - v_now)::float8, j.columns))
                       FROM _df.journal AS j
                       WHERE j.instance_id = t.id)
               ) ORDER BY t.n)
        INTO v_instances
        FROM taken AS t
        LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = t.role;
    END IF;

    SELECT i.wake_at INTO v_next FROM _df.instances AS i WHERE i.wake_at IS NOT NULL ORDER BY i.wake_at LIMIT 1;
    RETURN json_build_object('alive', true, 'instances', coalesce(v_instances, '[]'::json),
                             'next', extract(epoch FROM v_next - v_now)::float8);
END
$$;
