-- 002: what the engine does in the database: clock, triggers behind users' writes, claim, checkpoint, leases.
--
-- Called in this order for one instance:
--   _df.on_start       (trigger)  the start makes the instance runnable, in the caller's transaction
--   _df.claim          (admin)    an executor takes what is due: lease, fencing token, graph and journal in one answer
--   _df.checkpoint     (anybody with the token) a step's result, in the step's own transaction
--   _df.apply          (admin)    checkpoints that belong to no step: timers, parking, ends, statuses
--   _df.on_cancel      (trigger)  df.cancel: fences the instance off, in the caller's transaction
--   _df.heartbeat      (admin)    extends the executor's lease, takes over from dead executors
--
-- SQLSTATEs that only executors see: DF001 lease lost, DF002 cancelled, DF003 role gone, DF004 done already, DF005 read-only and nothing
-- changed.

CREATE FUNCTION _df.now() RETURNS timestamptz
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN clock_timestamp() + (SELECT c.shift FROM _df.clock AS c);
END
$$;
COMMENT ON FUNCTION _df.now() IS
    'The engine''s clock: the server''s, moved by _df.clock (which only the owner can write, for tests). Owner''s rights needed.';

CREATE FUNCTION _df.setting(p_name text, p_fallback text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((SELECT s.value FROM _df.settings AS s WHERE s.name = p_name), p_fallback)
$$;
COMMENT ON FUNCTION _df.setting(text, text) IS
    'A setting of the proxy as SQL functions see it. Anybody; settings are not secret.';

-- ---------------------------------------------------------------------------------------------------------------
-- Triggers behind users' writes
-- ---------------------------------------------------------------------------------------------------------------
CREATE FUNCTION _df.on_start() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_length bigint;
BEGIN
    INSERT INTO _df.instances AS i (id, role, database, label, vars, wake_at, started_at)
    SELECT NEW.id, NEW.submitted_by, NEW.database, NEW.label,
           coalesce((SELECT json_object_agg(v.name, v.value)
                     FROM df.vars AS v
                     WHERE v.owner = NEW.submitted_by AND v.value IS NOT NULL), '{}'::json),
           t.now, t.now
    FROM (SELECT _df.now() AS now OFFSET 0) AS t
    RETURNING octet_length(i.vars::text) + coalesce(octet_length(i.label), 0) + coalesce(octet_length(i.database), 0)
    INTO v_length;
    -- a claim brings them along with what others have started; with names, which are of any length by hand
    IF v_length > 16777216 THEN
        RAISE EXCEPTION USING
            ERRCODE = '54000',
            MESSAGE = 'the variables of the role are larger than 16 MiB together',
            HINT = 'An instance gets all variables of its role: see SELECT name, length(value) FROM df.vars.';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION _df.on_start() IS
    'Trigger with the owner''s rights: makes an instance that df.start has inserted runnable and captures its variables.';

-- df.start names the row that it is about to insert; a row inserted by hand starts nothing
CREATE TRIGGER instances_start
    AFTER INSERT ON df.instances
    FOR EACH ROW
    WHEN (pg_catalog.current_setting('df.starting', true) OPERATOR(pg_catalog.=) NEW.id::text
          -- evaluated as who inserts: whoever is above row-level security still starts nothing as somebody else
          AND NEW.submitted_by OPERATOR(pg_catalog.=) pg_catalog.quote_ident(current_user)::regrole)
    EXECUTE FUNCTION _df.on_start();

CREATE FUNCTION _df.on_cancel() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_owner uuid;
    v_now   timestamptz := _df.now();
BEGIN
    SELECT i.owner INTO v_owner FROM _df.instances AS i WHERE i.id = NEW.id FOR NO KEY UPDATE;
    -- the token stays: a step that cancels its own instance may still commit (see _df.record)
    UPDATE _df.instances AS i
    SET cancel_xid  = pg_current_xact_id(),
        owner       = NULL,
        wake_at     = NULL,
        waiting     = NULL,
        output      = 'canceled: ' || coalesce(nullif(current_setting('df.cancel_reason', true), ''),
                                               'Cancelled by user'),
        finished_at = v_now
    WHERE i.id = NEW.id AND i.finished_at IS NULL;
    DELETE FROM _df.signals AS s WHERE s.instance_id = NEW.id;
    IF v_owner IS NOT NULL THEN
        -- Everybody can listen: it names the executor, not the instance. Rare, so the lock that NOTIFY takes at commit
        -- does not matter.
        PERFORM pg_notify('_df_cancel', v_owner::text);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION _df.on_cancel() IS
    'Trigger with the owner''s rights: takes a cancelled instance from its executor, in the canceller''s transaction.';

CREATE TRIGGER instances_cancel
    AFTER UPDATE OF status ON df.instances
    FOR EACH ROW
    WHEN (NEW.status OPERATOR(pg_catalog.=) 'cancelled' AND OLD.status IN ('pending', 'running'))
    EXECUTE FUNCTION _df.on_cancel();

CREATE FUNCTION _df.on_delete() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM _df.journal    AS j WHERE j.instance_id = OLD.id;
    DELETE FROM _df.executions AS e WHERE e.instance_id = OLD.id;
    DELETE FROM _df.signals    AS s WHERE s.instance_id = OLD.id;
    DELETE FROM _df.instances  AS i WHERE i.id = OLD.id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION _df.on_delete() IS
    'Trigger with the owner''s rights: the engine''s half of an instance goes with the instance.';

CREATE TRIGGER instances_delete
    AFTER DELETE ON df.instances
    FOR EACH ROW
    EXECUTE FUNCTION _df.on_delete();

-- ---------------------------------------------------------------------------------------------------------------
-- Claim
-- ---------------------------------------------------------------------------------------------------------------
-- Roles are found one by one along the index (role, wake_at), each with its earliest instance: what others have to do
-- costs nothing. So many are looked at in one call that a claim stays short with any number of them; the next call goes
-- on behind the last.
CREATE FUNCTION _df.lock_in_turn(
    p_limit   int,
    p_now     timestamptz,
    p_roles   oid[],
    p_counts  int[],
    p_others  boolean,
    p_after   oid,
    OUT ids   text[],
    OUT after oid
)
    LANGUAGE plpgsql
    -- search_path and planner settings are the caller's (_df.claim)
AS $$
DECLARE
    c_most  CONSTANT int := 500;
    v_due   oid[] := '{}';
    v_role  oid;
    v_wake  timestamptz;
    v_again boolean := p_after = 0;  -- the roles up to p_after have been come to, or need not be
BEGIN
    after := p_after;
    FOR n IN 1 .. c_most LOOP
        EXIT WHEN cardinality(v_due) = p_limit;
        SELECT i.role, i.wake_at INTO v_role, v_wake
        FROM _df.instances AS i
        WHERE i.wake_at IS NOT NULL AND i.role > after
        ORDER BY i.role, i.wake_at
        LIMIT 1;
        IF NOT FOUND OR (v_again AND v_role > p_after AND p_after <> 0) THEN
            after := 0;
            EXIT WHEN v_again;
            v_again := true;
        ELSE
            after := v_role;
            IF v_wake <= p_now AND NOT (p_others AND v_role = ANY (p_roles)) THEN
                v_due := v_due || v_role;
            END IF;
        END IF;
    END LOOP;

    IF cardinality(v_due) = 1 THEN
        SELECT array_agg(d.id) INTO ids
        FROM (SELECT i.id
              FROM _df.instances AS i
              WHERE i.role = v_due[1] AND i.wake_at <= p_now
              ORDER BY i.wake_at
              LIMIT p_limit
              FOR UPDATE SKIP LOCKED) AS d;
    ELSE
        -- the first of each role, the second of each, ...: those that the executor holds already are counted before
        SELECT array_agg(d.id) INTO ids
        FROM (SELECT t.role, count(*) AS count
              FROM (SELECT r.role
                    FROM unnest(v_due) WITH ORDINALITY AS r (role, place)
                    LEFT JOIN unnest(p_roles, p_counts) AS h (role, count) ON h.role = r.role
                    CROSS JOIN LATERAL (SELECT row_number() OVER (ORDER BY x.wake_at) AS number
                                        FROM (SELECT i.wake_at
                                              FROM _df.instances AS i
                                              WHERE i.role = r.role AND i.wake_at <= p_now
                                              ORDER BY i.wake_at
                                              LIMIT p_limit) AS x) AS q
                    ORDER BY q.number + coalesce(h.count, 0), r.place
                    LIMIT p_limit) AS t
              GROUP BY t.role) AS s
        CROSS JOIN LATERAL (SELECT i.id
                            FROM _df.instances AS i
                            WHERE i.role = s.role AND i.wake_at <= p_now
                            ORDER BY i.wake_at
                            LIMIT s.count
                            FOR UPDATE SKIP LOCKED) AS d;
    END IF;
END
$$;
COMMENT ON FUNCTION _df.lock_in_turn(int, timestamptz, oid[], int[], boolean, oid) IS
    'Locks up to p_limit due instances, in turn by role: p_roles hold p_counts already; with p_others only roles that are not among them. Looks at the roles behind p_after first and says up to which it has looked, 0: at all. Owner only.';

CREATE FUNCTION _df.claim(
    p_owner  uuid,
    p_tokens uuid[],
    p_roles  oid[]   DEFAULT NULL,
    p_counts int[]   DEFAULT NULL,
    p_others boolean DEFAULT false,
    p_after  oid     DEFAULT 0
) RETURNS json
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off  -- plans are made while the tables are small, and kept
    SET jit = off
    SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_now       timestamptz := _df.now();
    v_ids       text[];
    v_after     oid := 0;
    v_instances json;
    v_next      timestamptz;
    v_sent      boolean;  -- there are signals that no executor has seen
    v_held      json;
    v_claimed   json;
BEGIN
    -- An executor that was declared dead (it was stopped, and now goes on) must not take anything under its old id:
    -- nobody would ever free it. The lock keeps it from being declared dead until this claim is visible.
    SELECT EXISTS (SELECT FROM _df.signals AS s WHERE s.pos IS NULL) INTO v_sent
    FROM _df.executors AS e WHERE e.id = p_owner FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN json_build_object('alive', false, 'instances', '[]'::json, 'next', NULL);
    END IF;
    IF v_sent THEN
        v_held := _df.hear(p_owner);
        -- while much is due that is of no use; what is due may be locked, though
        IF random() < 0.1 OR NOT EXISTS (SELECT FROM _df.instances AS i WHERE i.wake_at <= v_now OFFSET 100) THEN
            PERFORM _df.rouse(v_now);
        END IF;
    END IF;

    IF cardinality(p_tokens) > 0 THEN
        IF p_roles IS NULL THEN
            SELECT array_agg(d.id) INTO v_ids
            FROM (SELECT i.id
                  FROM _df.instances AS i
                  WHERE i.wake_at <= v_now
                  ORDER BY i.wake_at
                  LIMIT cardinality(p_tokens)
                  FOR UPDATE SKIP LOCKED) AS d;
        ELSE
            SELECT t.ids, t.after INTO v_ids, v_after
            FROM _df.lock_in_turn(cardinality(p_tokens), v_now, p_roles, p_counts, p_others, p_after) AS t;
        END IF;
    END IF;
    IF cardinality(v_ids) > 0 THEN
        WITH taken AS (
            UPDATE _df.instances AS i
            SET owner    = p_owner,
                token    = p_tokens[m.n],
                wake_at  = NULL,
                waiting  = NULL,
                role     = CASE WHEN i.graph IS NULL THEN u.submitted_by::oid ELSE i.role END,
                database = CASE WHEN i.graph IS NULL THEN u.database ELSE i.database END,
                graph    = coalesce(i.graph, (
                               -- written by hand it can be of any size: that one is left where it is (see df.start)
                               SELECT json_build_object('root', u.root_node, 'large', true)
                               FROM df.nodes AS k
                               WHERE k.instance_id = i.id
                               HAVING count(*) > 10000
                                      OR sum(coalesce(octet_length(k.query), 0) + coalesce(octet_length(k.result_name), 0)) > 20000000
                           ), (
                               SELECT json_build_object(
                                          'root', u.root_node,
                                          'role', (SELECT a.rolname FROM pg_catalog.pg_roles AS a
                                                   WHERE a.oid = u.submitted_by),
                                          'nodes', json_agg(json_build_array(
                                              k.id, k.node_type, k.query, k.result_name, k.left_node, k.right_node)))
                               FROM df.nodes AS k
                               WHERE k.instance_id = i.id))
            FROM unnest(v_ids) WITH ORDINALITY AS m (id, n), df.instances AS u
            WHERE i.id = m.id AND u.id = m.id
            RETURNING i.*, m.n
        )
        -- With the role's oid: its name can pass to another role, which must never get a pooled session of this one.
        SELECT json_agg(json_build_object(
                   'id', t.id, 'token', t.token, 'database', t.database, 'label', t.label,
                   'role', r.rolname, 'roleId', r.oid::text, 'superuser', r.rolsuper, 'login', r.rolcanlogin,
                   'vars', t.vars, 'graph', t.graph, 'generation', t.generation, 'attempts', t.attempts,
                   'events', t.events,
                   'journal', (
                       SELECT json_agg(json_build_array(
                                  j.node_id, j.stamp, j.kind, j.value,
                                  extract(epoch FROM j.due - v_now)::float8, j.columns, j.pos))
                       FROM _df.journal AS j
                       WHERE j.instance_id = t.id),
                   'inbox', (
                       SELECT json_agg(json_build_array(
                                  x.seq, x.pos, x.name, CASE WHEN length(x.data) <= 2048 THEN x.data END) ORDER BY x.pos)
                       FROM (SELECT s.seq, s.pos, s.name, s.data
                             FROM _df.signals AS s
                             WHERE s.instance_id = t.id AND s.pos IS NOT NULL
                             ORDER BY s.pos
                             LIMIT 100) AS x)
               ) ORDER BY t.n)
        INTO v_instances
        FROM taken AS t
        LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = t.role;
        IF v_sent THEN
            v_claimed := _df.number(p_owner, p_tokens);
        END IF;
    END IF;

    SELECT i.wake_at INTO v_next FROM _df.instances AS i WHERE i.wake_at IS NOT NULL ORDER BY i.wake_at LIMIT 1;
    RETURN json_build_object('alive', true, 'instances', coalesce(v_instances, '[]'::json),
                             'next', extract(epoch FROM v_next - v_now)::float8, 'after', v_after::bigint,
                             'held', v_held, 'claimed', v_claimed);
END
$$;
COMMENT ON FUNCTION _df.claim(uuid, uuid[], oid[], int[], boolean, oid) IS
    'Leases up to cardinality(p_tokens) due instances to an executor and returns all that is needed to run them: the earliest, or, where p_roles is given, in turn by role (_df.lock_in_turn); alive: false if the executor had been declared dead, then nothing is leased; next: seconds until the earliest instance left becomes due; held: new signals of instances that it holds already, claimed: of those that it has now. Owner only.';

-- ---------------------------------------------------------------------------------------------------------------
-- Checkpoint
-- ---------------------------------------------------------------------------------------------------------------
-- Entries come as parallel arrays, in the order in which they happened; of one node at most one that it shows, and one
-- that is for the journal only. kinds[i]:
--   c, f  a leaf ended: journal, and the node becomes completed or failed
--   C, F  a composite ended, or a leaf whose end follows from the journal: the node only
--   t     a timer or a wait begins: journal with due = now + dues[i] seconds, or what values[i] says in seconds since
--         1970; the node is running
--   l     a loop begins its next iteration: journal only
--   w     a race is decided: journal only
--   r     the node is running
--   s     the instance shows as running; written with the first thing that is written anyway
--   n     nothing of the instance is in the journal, which is all that there is to know of it
-- Of a SIGNAL's c, dues[i] is the position of the signal that it has taken.
-- A NULL value with c or C means: the same value as the entry before. p_detail belongs to the only leaf among them
-- that is a step: for f a JSON object that is added to status_details, for c the columns of its empty result.
-- p_end: NULL the lease goes on; completed, failed; parked: give the lease back, wake in p_wake seconds (NULL: not by
-- itself); waiting: the same, p_output says what for; retry: the same, and count an attempt.
CREATE FUNCTION _df.is_older(p_stamp text, p_than text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    -- search_path is the callers'
AS $$
DECLARE
    v_parts text[] := string_to_array(p_stamp, '::');
    v_than  text[] := string_to_array(p_than, '::');
BEGIN
    FOR n IN 1 .. least(cardinality(v_parts), cardinality(v_than)) LOOP
        IF v_parts[n] <> v_than[n] THEN
            RETURN n % 2 = 0 AND v_parts[n]::int < v_than[n]::int;
        END IF;
    END LOOP;
    RETURN false;
END
$$;
COMMENT ON FUNCTION _df.is_older(text, text) IS
    'Compares two stamps <instance>::<generation>::<node>::<generation>… of one node, level by level from the outermost, as long as the branches agree. Owner only.';

CREATE FUNCTION _df.shown(p_json text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    -- search_path is the callers'
AS $$
BEGIN
    RETURN p_json::jsonb;
EXCEPTION
    WHEN untranslatable_character OR invalid_text_representation THEN
        RETURN regexp_replace(p_json, E'(?<!\\\\)((?:\\\\\\\\)*)\\\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})', E'\\1\\\\ufffd', 'g')::jsonb;
END
$$;
COMMENT ON FUNCTION _df.shown(text) IS
    'A result as df.nodes shows it. JSON can hold what jsonb cannot, a NUL or half of a surrogate pair: shown as U+FFFD. Owner only.';

CREATE FUNCTION _df.record(
    p_instance   text,
    p_token      uuid,
    p_nodes      text[],
    p_stamps     text[],
    p_kinds      text,
    p_values     text[],
    p_dues       float8[],
    p_detail    text,
    p_end        text,
    p_output     text,
    p_wake       float8,
    p_generation int,
    p_events     bigint
) RETURNS boolean
    LANGUAGE plpgsql
    -- search_path and planner settings are the callers' (_df.checkpoint, _df.apply): setting them twice costs
AS $$
DECLARE
    v_ends   boolean := coalesce(p_end IN ('completed', 'failed'), false);
    v_now    timestamptz;
    v_ended  boolean := false;  -- and that is written
    v_token  uuid;
    v_cancel xid8;
    v_login  boolean;
    v_output text;
    v_kind   text;
    v_due    timestamptz;
    v_pos    bigint;
BEGIN
    FOR n IN 2 .. length(p_kinds) LOOP
        IF p_values[n] IS NULL AND substr(p_kinds, n, 1) IN ('c', 'C') THEN
            p_values[n] := p_values[n - 1];
        END IF;
    END LOOP;
    v_output := coalesce(p_output, p_values[length(p_kinds)]);

    -- few statements: what a statement costs to begin is most of what a checkpoint costs
    IF v_ends AND p_generation IS NULL THEN
        -- The end is the fence as well. The same order of locks as df.cancel's: the public row first.
        UPDATE df.instances AS u
        SET status = p_end, updated_at = t.now, completed_at = CASE WHEN p_end = 'completed' THEN t.now END
        FROM (SELECT clock_timestamp() + c.shift AS now FROM _df.clock AS c OFFSET 0) AS t
        WHERE u.id = p_instance AND u.status IN ('pending', 'running')
          -- who has not got the token neither changes, locks nor waits for a row
          AND EXISTS (SELECT FROM _df.instances AS i WHERE i.id = p_instance AND i.token = p_token)
        RETURNING t.now INTO v_now;
        v_ended := FOUND;
    END IF;
    IF v_ended THEN
        UPDATE _df.instances AS i
        SET owner = NULL, token = NULL, wake_at = NULL, graph = NULL, finished_at = v_now,
            events = coalesce(p_events, i.events), output = v_output
        WHERE i.id = p_instance AND i.token = p_token AND i.cancel_xid IS NULL
        RETURNING (SELECT r.rolcanlogin FROM pg_catalog.pg_roles AS r WHERE r.oid = i.role) INTO v_login;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the lease of instance % was lost', p_instance USING ERRCODE = 'DF001';
        END IF;
    ELSE
        IF p_end IS NULL AND p_generation IS NULL AND strpos(p_kinds, 's') = 0 THEN
            SELECT i.token, i.cancel_xid, clock_timestamp() + c.shift,
                   (SELECT r.rolcanlogin FROM pg_catalog.pg_roles AS r WHERE r.oid = i.role)
            INTO v_token, v_cancel, v_now, v_login
            FROM _df.instances AS i, _df.clock AS c
            WHERE i.id = p_instance AND i.token = p_token
            FOR SHARE OF i;
        ELSE
            SELECT i.token, i.cancel_xid, clock_timestamp() + c.shift,
                   (SELECT r.rolcanlogin FROM pg_catalog.pg_roles AS r WHERE r.oid = i.role)
            INTO v_token, v_cancel, v_now, v_login
            FROM df.instances AS u, _df.instances AS i, _df.clock AS c
            WHERE u.id = p_instance AND i.id = p_instance AND i.token = p_token
            FOR NO KEY UPDATE OF u, i;
        END IF;
        IF v_token IS NULL THEN
            RAISE EXCEPTION 'the lease of instance % was lost', p_instance USING ERRCODE = 'DF001';
        END IF;
        IF v_cancel IS NOT NULL THEN
            IF v_cancel = pg_current_xact_id_if_assigned() THEN
                RETURN true;  -- the step has cancelled its own instance: let it commit
            END IF;
            RAISE EXCEPTION 'instance % was cancelled', p_instance USING ERRCODE = 'DF002';
        END IF;
    END IF;

    -- all rows in one statement: the table's constraints are read anew by every statement, which is most of its cost
    UPDATE df.nodes AS k
    SET status         = CASE WHEN e.kind IN ('c', 'C') THEN 'completed'
                              WHEN e.kind IN ('f', 'F') THEN 'failed'
                              ELSE 'running' END,
        result         = CASE WHEN e.kind IN ('c', 'C')
                              THEN CASE WHEN strpos(e.value, E'\\u') > 0 THEN _df.shown(e.value)
                                        ELSE e.value::jsonb END
                              WHEN e.kind IN ('f', 'F') THEN to_jsonb(e.value) END,
        error          = CASE WHEN e.kind IN ('f', 'F') THEN e.value END,
        status_details = jsonb_build_object('execution_id', e.stamp)
                         || CASE WHEN e.kind = 'f' THEN coalesce(p_detail::jsonb, '{}') ELSE '{}' END,
        updated_at     = v_now
    -- fenced, so that each entry finds its row by the primary key: from the instance's side it would cost the product
    FROM (SELECT p_instance AS instance, u.node, u.stamp, u.value, u.kind
          FROM unnest(p_nodes, p_stamps, p_values, string_to_array(p_kinds, NULL)) AS u (node, stamp, value, kind)
          OFFSET 0) AS e
    WHERE k.instance_id = e.instance
      AND k.id = e.node
      AND e.kind IN ('c', 'C', 'f', 'F', 'r', 't')
      -- a note that a node runs may come after its end: then the end stands
      AND NOT (e.kind IN ('r', 't')
               AND k.status IN ('completed', 'failed')
               AND k.status_details ->> 'execution_id' = e.stamp)
      -- and a repeated note changes nothing: a step under a snapshot must not find its row changed by it again
      AND NOT (e.kind = 'r'
               AND k.status = 'running'
               AND k.status_details ->> 'execution_id' = e.stamp)
      -- what an older generation still had to say comes too late
      AND (k.status_details IS NULL
           OR k.status_details ->> 'execution_id' = e.stamp
           OR NOT _df.is_older(e.stamp, k.status_details ->> 'execution_id'));

    FOR n IN 1 .. length(p_kinds) LOOP
        v_kind := substr(p_kinds, n, 1);
        IF v_kind = 's' THEN
            UPDATE df.instances AS u
            SET status = 'running', updated_at = v_now
            WHERE u.id = p_instance AND u.status = 'pending';
        END IF;
        IF v_kind IN ('c', 'f', 't', 'l', 'w') AND NOT v_ends THEN
            v_due := CASE WHEN v_kind = 'c' THEN NULL
                          WHEN v_kind = 't' AND p_values[n] IS NOT NULL THEN to_timestamp(p_values[n]::float8)
                          ELSE v_now + p_dues[n] * interval '1 second' END;
            v_pos := CASE WHEN v_kind = 'c' THEN p_dues[n]::bigint END;
            INSERT INTO _df.journal AS j (instance_id, node_id, stamp, kind, value, columns, due, pos)
            VALUES (p_instance, p_nodes[n], p_stamps[n], v_kind::"char", p_values[n],
                    CASE WHEN v_kind = 'c' THEN p_detail END, v_due, v_pos)
            ON CONFLICT ON CONSTRAINT journal_pkey DO UPDATE
            SET stamp = excluded.stamp, kind = excluded.kind, value = excluded.value, columns = excluded.columns,
                due = excluded.due, pos = excluded.pos
            WHERE CASE WHEN j.stamp = excluded.stamp THEN j.kind NOT IN ('c', 'f', 'w')
                       ELSE NOT _df.is_older(excluded.stamp, j.stamp) END;
            IF NOT FOUND THEN
                -- an attempt of the same executor whose COMMIT it had given up for lost, or never heard of
                RAISE EXCEPTION 'node % of instance % is done already', p_nodes[n], p_instance USING ERRCODE = 'DF004';
            END IF;
        END IF;
    END LOOP;

    IF p_generation IS NOT NULL THEN
        INSERT INTO _df.executions AS e (instance_id, execution_id, started_at, ended_at, events, output)
        SELECT i.id, i.generation, i.started_at, v_now, coalesce(p_events, i.events),
               json_build_object('execution', p_generation)::text
        FROM _df.instances AS i WHERE i.id = p_instance
        ON CONFLICT ON CONSTRAINT executions_pkey DO NOTHING;
        DELETE FROM _df.executions AS e
        WHERE e.instance_id = p_instance AND e.execution_id <= p_generation - 10000;
        UPDATE _df.instances AS i
        SET generation = p_generation, started_at = v_now,
            events = length(substring(p_kinds FROM '[^l]*$'))  -- what is here of the new one already
        WHERE i.id = p_instance;
    END IF;

    IF v_ends THEN
        IF strpos(p_kinds, 'n') = 0 THEN
            -- the journal goes, but what it has must not have been done a second time
            WITH gone AS (
                DELETE FROM _df.journal AS j WHERE j.instance_id = p_instance RETURNING j.node_id, j.stamp, j.kind
            )
            SELECT g.node_id INTO v_kind
            FROM gone AS g, unnest(p_nodes, p_stamps, string_to_array(p_kinds, NULL)) AS e (node, stamp, kind)
            WHERE g.node_id = e.node AND g.stamp = e.stamp AND g.kind IN ('c', 'f', 'w') AND e.kind IN ('c', 'f', 'w')
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'node % of instance % is done already', v_kind, p_instance USING ERRCODE = 'DF004';
            END IF;
        END IF;
        IF NOT v_ended THEN
            UPDATE _df.instances AS i
            SET owner = NULL, token = NULL, wake_at = NULL, graph = NULL, finished_at = v_now,
                events = CASE WHEN p_generation IS NULL THEN coalesce(p_events, i.events) ELSE i.events END, output = v_output
            WHERE i.id = p_instance;
            UPDATE df.instances AS u
            SET status = p_end, updated_at = v_now,
                completed_at = CASE WHEN p_end = 'completed' THEN v_now END
            WHERE u.id = p_instance AND u.status IN ('pending', 'running');
        END IF;
    ELSIF p_end IS NOT NULL THEN
        UPDATE _df.instances AS i
        SET owner = NULL, token = NULL, wake_at = v_now + p_wake * interval '1 second',
            waiting = CASE WHEN p_end = 'waiting' THEN p_output END,
            attempts = CASE WHEN p_end = 'retry' THEN i.attempts + 1 ELSE 0 END,
            events = CASE WHEN p_generation IS NULL THEN coalesce(p_events, i.events) ELSE i.events END
        WHERE i.id = p_instance;
    END IF;
    RETURN coalesce(v_login, false);
END
$$;
COMMENT ON FUNCTION _df.record(text, uuid, text[], text[], text, text[], float8[], text, text, text, float8, int, bigint) IS
    'Writes a checkpoint under the fencing token and says whether the submitter may log in; DF001 when the lease was lost, DF002 when the instance was cancelled. Owner only.';

CREATE FUNCTION _df.checkpoint(
    p_instance   text,
    p_token      uuid,
    p_nodes      text[],
    p_stamps     text[],
    p_kinds      text,
    p_values     text[],
    p_dues       float8[],
    p_detail    text,
    p_end        text,
    p_output     text,
    p_wake       float8,
    p_generation int,
    p_events     bigint
) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET jit = off
    SET plan_cache_mode = force_generic_plan
    SET lock_timeout = '5s'  -- a transaction that has cancelled the instance and stays open must not hold a slot
AS $$
BEGIN
    IF current_setting('transaction_read_only')::boolean THEN
        IF pg_current_xact_id_if_assigned() IS NULL THEN
            RAISE EXCEPTION 'the step of instance % has changed nothing and cannot', p_instance USING ERRCODE = 'DF005';
        END IF;
        RAISE EXCEPTION 'the step has written and then made its transaction read-only' USING ERRCODE = '25006';
    END IF;
    IF NOT _df.record(p_instance, p_token, p_nodes, p_stamps, p_kinds, p_values, p_dues, p_detail, p_end, p_output,
                      p_wake, p_generation, p_events) THEN
        -- a pooled session outlives its role: a step must not
        RAISE EXCEPTION 'role of instance % does not exist or may not log in', p_instance USING ERRCODE = 'DF003';
    END IF;
END
$$;
COMMENT ON FUNCTION _df.checkpoint(text, uuid, text[], text[], text, text[], float8[], text, text, text, float8, int, bigint) IS
    'The checkpoint of a step, in the step''s own transaction. Anybody may call it; it does nothing without the fencing token that only the executor of the instance has.';

CREATE FUNCTION _df.apply(p_checkpoints json) RETURNS json
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET jit = off
    SET plan_cache_mode = force_generic_plan
    SET lock_timeout = '50ms'  -- one instance that somebody has locked must not hold up all the others
AS $$
DECLARE
    v_one  record;
    v_lost text[] := '{}';
    v_busy text[] := '{}';
BEGIN
    FOR v_one IN
        SELECT * FROM json_to_recordset(p_checkpoints) AS c (
            id text, token uuid, nodes text[], stamps text[], kinds text, "values" text[], dues float8[],
            detail text, "end" text, output text, wake float8, generation int, events bigint, inbox json)
        ORDER BY c.id  -- one order of locks for all executors
    LOOP
        BEGIN
            PERFORM _df.record(v_one.id, v_one.token, v_one.nodes, v_one.stamps, v_one.kinds, v_one."values",
                               v_one.dues, v_one.detail, v_one."end", v_one.output, v_one.wake, v_one.generation,
                               v_one.events);
            IF v_one.inbox IS NOT NULL THEN
                PERFORM _df.keep_inbox(v_one.id, v_one.inbox);
            END IF;
        EXCEPTION
            WHEN SQLSTATE 'DF001' OR SQLSTATE 'DF002' OR SQLSTATE 'DF004' THEN
                v_lost := v_lost || v_one.id;
            WHEN lock_not_available THEN
                v_busy := v_busy || v_one.id;
        END;
    END LOOP;
    RETURN json_build_object('lost', v_lost, 'busy', v_busy);
END
$$;
COMMENT ON FUNCTION _df.apply(json) IS
    'Checkpoints that belong to no step (timers, parking, ends, statuses), many at once; returns the instances for which nothing was written: lost, because the lease was; busy, because somebody has locked them. Owner only.';

-- ---------------------------------------------------------------------------------------------------------------
-- Leases
-- ---------------------------------------------------------------------------------------------------------------
CREATE FUNCTION _df.heartbeat(p_owner uuid, p_lease float8, p_ids text[], p_tokens uuid[]) RETURNS json
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now   timestamptz := _df.now();
    v_alive boolean;
    v_taken bigint := 0;
    v_lost  text[];
    v_stray json;
BEGIN
    UPDATE _df.executors AS e
    SET lease_until = v_now + p_lease * interval '1 second'
    WHERE e.id = p_owner;
    v_alive := FOUND;

    DELETE FROM _df.executors AS e
    WHERE e.id IN (SELECT x.id FROM _df.executors AS x WHERE x.lease_until < v_now FOR UPDATE SKIP LOCKED);

    -- A statement of its own: it must see what the dead one claimed while its row was waited for. What somebody has
    -- locked comes with a later beat.
    UPDATE _df.instances AS i
    SET owner = NULL, token = NULL, wake_at = v_now
    WHERE i.id IN (SELECT x.id
                   FROM _df.instances AS x
                   WHERE x.owner IS NOT NULL
                     AND x.finished_at IS NULL
                     AND NOT EXISTS (SELECT FROM _df.executors AS e WHERE e.id = x.owner)
                   FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_taken = ROW_COUNT;

    UPDATE df._worker_epoch AS w SET last_seen_at = clock_timestamp();
    IF NOT FOUND THEN
        PERFORM pg_advisory_xact_lock(1146504275, 1);  -- one row, however many proxies start at once
        INSERT INTO df._worker_epoch (epoch_id)
        SELECT gen_random_uuid() WHERE NOT EXISTS (SELECT FROM df._worker_epoch);
    END IF;

    SELECT array_agg(h.id) INTO v_lost
    FROM unnest(p_ids, p_tokens) AS h (id, token)
    WHERE NOT EXISTS (SELECT FROM _df.instances AS i
                      WHERE i.id = h.id AND i.token = h.token AND i.finished_at IS NULL);

    SELECT json_agg(json_build_object('id', i.id, 'token', i.token)) INTO v_stray
    FROM _df.instances AS i
    WHERE i.owner = p_owner AND i.finished_at IS NULL AND NOT i.token = ANY (p_tokens);

    RETURN json_build_object('alive', v_alive, 'taken', v_taken, 'lost', coalesce(to_json(v_lost), '[]'::json),
                             'stray', coalesce(v_stray, '[]'::json));
END
$$;
COMMENT ON FUNCTION _df.heartbeat(uuid, float8, text[], uuid[]) IS
    'Extends the lease of an executor by p_lease seconds (alive: false if it had been declared dead), frees what dead executors held, names those of the given instances that are no longer held under their token (lost), and those that are held but not given (stray: the answer to their claim was lost, say). Owner only.';

CREATE FUNCTION _df.enlist(p_owner uuid, p_lease float8) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now timestamptz := _df.now();
BEGIN
    INSERT INTO _df.executors (id, started_at, lease_until)
    VALUES (p_owner, v_now, v_now + p_lease * interval '1 second');
END
$$;
COMMENT ON FUNCTION _df.enlist(uuid, float8) IS 'A new executor, with a lease of p_lease seconds. Owner only.';

CREATE FUNCTION _df.resign(p_owner uuid) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- in this order: a claim that is still under way holds the row, and what it takes is then seen
    DELETE FROM _df.executors AS e WHERE e.id = p_owner;
    UPDATE _df.instances AS i
    SET owner = NULL, token = NULL, wake_at = _df.now()
    WHERE i.owner = p_owner AND i.finished_at IS NULL;
END
$$;
COMMENT ON FUNCTION _df.resign(uuid) IS
    'An executor leaves in order: what it still holds can be claimed at once. Owner only.';

CREATE FUNCTION _df.resume_role(p_role text) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_count bigint;
BEGIN
    UPDATE _df.instances AS i
    SET wake_at = _df.now(), waiting = NULL
    WHERE i.id IN (SELECT x.id
                   FROM _df.instances AS x
                   WHERE x.waiting IS NOT NULL
                     AND x.finished_at IS NULL
                     AND x.role = (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = p_role)
                   FOR UPDATE SKIP LOCKED);  -- one that somebody has locked wakes by itself, later
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;
COMMENT ON FUNCTION _df.resume_role(text) IS
    'The credential of a role has come: its waiting instances go on. Owner only.';

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA _df FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _df.setting(text, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION
    _df.checkpoint(text, uuid, text[], text[], text, text[], float8[], text, text, text, float8, int, bigint) TO PUBLIC;
