-- 005: df.start.
--
-- In the caller's transaction and with the caller's rights it writes one row to df.instances and one per node to
-- df.nodes; the trigger _df.on_start (002) does the rest. Rolled back, nothing was started.
--
--   _df.flatten(envelope)          the tree as rows, or what is wrong with it
--   _df.start_new(…)               transaction_mode => 'new': the same df.start, called by a proxy (013)
--   df.start(…)                    checks, in the order of the reference, then the rows
--
-- A plain SQL text, the commonest start of all, never meets the JSON code.

-- Depth first: node, left subtree, right subtree, condition or extra branches. The walk keeps its own stack, so that the
-- depth of a graph costs no server stack. Ids are the multiples of an odd number from a random start: 8 hex digits, all
-- different, without a look at each other.
--
-- Limits: depth 256 below the root, 10 000 nodes.
CREATE FUNCTION _df.flatten(
    p_envelope       json,
    OUT ids          text[],
    OUT node_types   text[],
    OUT queries      text[],
    OUT result_names text[],
    OUT left_nodes   text[],
    OUT right_nodes  text[],
    OUT problem      text
)
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c_limit_hint CONSTANT text := ' Simplify the workflow or break it into multiple instances.';
    v_seed    bigint := ('x' || right(gen_random_uuid()::text, 8))::bit(32)::bigint;
    v_given   bigint := 1;      -- ids given out, the root's among them
    v_count   int := 0;         -- nodes visited
    v_top     int := 1;
    -- the stack
    s_json    json[]  := ARRAY[p_envelope];
    s_path    text[]  := ARRAY['root'];
    s_depth   int[]   := ARRAY[0];
    s_id      text[]  := ARRAY[lpad(to_hex(v_seed), 8, '0')];
    -- the node
    f         record;
    v_path    text;
    v_depth   int;
    v_id      text;
    v_key     text;             -- of its config: condition_node or extra_nodes
    v_refs    text;             -- the JSON under that key
    v_config  json;
    v_left    text;
    v_right   text;
    v_extra   json[];
    v_ids     text[];
BEGIN
    WHILE v_top > 0 LOOP
        v_path := s_path[v_top];
        v_depth := s_depth[v_top];
        v_id := s_id[v_top];
        IF v_depth > 256 THEN
            problem := v_path || ': Graph exceeds maximum nesting depth of 256.' || c_limit_hint;
            RETURN;
        ELSIF v_count >= 10000 THEN
            problem := v_path || ': Workflow exceeds maximum node count of 10000.' || c_limit_hint;
            RETURN;
        END IF;
        v_count := v_count + 1;
        SELECT * INTO f FROM _df.envelope_fields(s_json[v_top]);
        v_top := v_top - 1;

        IF f.node_type IS NOT NULL AND f.node_type <> ALL (_df.node_types()) THEN
            problem := 'Unknown node_type ''' || f.node_type || '''. Valid types: '
                       || array_to_string(_df.node_types(), ', ');
        ELSIF f.problem IS NOT NULL THEN
            problem := 'failed to deserialize Durofut child: ' || f.problem;
        ELSIF f.condition_node IS NOT NULL AND f.node_type NOT IN ('IF', 'LOOP') THEN
            problem := 'condition_node is not valid for ' || f.node_type || ' nodes';
        ELSIF f.extra_nodes IS NOT NULL AND f.node_type <> 'JOIN' THEN
            problem := 'extra_nodes is not valid for ' || f.node_type || ' nodes';
        END IF;
        IF problem IS NOT NULL THEN
            problem := v_path || ': ' || problem;
            RETURN;
        END IF;

        v_left := NULL;
        v_right := NULL;
        v_extra := NULL;
        IF f.left_node IS NOT NULL THEN
            v_left := lpad(to_hex((v_seed + v_given * 2654435761) % 4294967296), 8, '0');
            v_given := v_given + 1;
        END IF;
        IF f.right_node IS NOT NULL THEN
            v_right := lpad(to_hex((v_seed + v_given * 2654435761) % 4294967296), 8, '0');
            v_given := v_given + 1;
        END IF;

        v_key := CASE f.node_type WHEN 'IF' THEN 'condition_node' WHEN 'LOOP' THEN 'condition_node'
                                  WHEN 'JOIN' THEN 'extra_nodes' END;
        v_config := CASE WHEN v_key IS NOT NULL THEN _df.as_object(f.query) END;
        IF v_config -> v_key IS NOT NULL THEN
            problem := v_path || ': ' || v_key || ' in ' || f.node_type
                       || ' must be a first-class Durofut field, not embedded in query';
            RETURN;
        END IF;
        IF f.condition_node IS NOT NULL THEN
            v_extra := ARRAY[f.condition_node];
        ELSIF f.extra_nodes IS NOT NULL THEN
            SELECT array_agg(e.value ORDER BY e.ordinality) INTO v_extra
            FROM json_array_elements(f.extra_nodes) WITH ORDINALITY AS e (value, ordinality);
        END IF;
        IF v_extra IS NOT NULL THEN
            SELECT array_agg(lpad(to_hex((v_seed + (v_given + n) * 2654435761) % 4294967296), 8, '0') ORDER BY n)
            INTO v_ids
            FROM generate_series(0, cardinality(v_extra) - 1) AS n;
            v_given := v_given + cardinality(v_extra);
            v_refs := '"' || array_to_string(v_ids, '","') || '"';
            IF v_key = 'extra_nodes' THEN
                v_refs := '[' || v_refs || ']';
            END IF;
            IF f.query IS NOT NULL AND v_config IS NULL THEN
                BEGIN
                    PERFORM f.query::json;
                    problem := v_path || ': query in ' || f.node_type || ' must be a JSON config object';
                EXCEPTION
                    WHEN invalid_text_representation THEN
                        problem := v_path || ': query in ' || f.node_type || ' must be valid JSON config: ' || SQLERRM;
                END;
                RETURN;
            END IF;
            f.query := regexp_replace(coalesce(_df.compact(f.query), '{}'), E'\\}$', '')
                       || CASE WHEN (SELECT count(*) FROM json_object_keys(v_config)) > 0 THEN ',' ELSE '' END
                       || '"' || v_key || '":' || v_refs || '}';
        END IF;

        ids[v_count] := v_id;
        node_types[v_count] := f.node_type;
        queries[v_count] := f.query;
        result_names[v_count] := f.result_name;
        left_nodes[v_count] := v_left;
        right_nodes[v_count] := v_right;

        -- what is visited first goes on the stack last
        FOR n IN REVERSE coalesce(cardinality(v_extra), 0) .. 1 LOOP
            v_top := v_top + 1;
            s_json[v_top] := v_extra[n];
            s_path[v_top] := v_path || CASE v_key WHEN 'extra_nodes' THEN '.extra_nodes[' || n - 1 || ']'
                                                  ELSE '.condition_node' END;
            s_depth[v_top] := v_depth + 1;
            s_id[v_top] := v_ids[n];
        END LOOP;
        IF v_right IS NOT NULL THEN
            v_top := v_top + 1;
            s_json[v_top] := f.right_node;
            s_path[v_top] := v_path || '.right';
            s_depth[v_top] := v_depth + 1;
            s_id[v_top] := v_right;
        END IF;
        IF v_left IS NOT NULL THEN
            v_top := v_top + 1;
            s_json[v_top] := f.left_node;
            s_path[v_top] := v_path || '.left';
            s_depth[v_top] := v_depth + 1;
            s_id[v_top] := v_left;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION _df.flatten(json) IS
    'The nodes of an envelope in pre-order with new ids, or what is wrong with it as "<path>: <message>". Writes nothing. Anybody.';

CREATE FUNCTION _df.start_new(p_fut text, p_label text, p_database text) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('df.in_workflow', true) = 'true' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'df.start() with transaction_mode => ''new'' cannot be called inside a workflow - a df.sql() node already runs as a single autocommitted statement, so a plain df.start() there is already independent of any caller transaction';
    ELSIF NOT (SELECT a.rolcanlogin FROM pg_roles AS a WHERE a.rolname = current_user) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'current_user "' || current_user || '" does not have LOGIN privilege. The background worker must connect as this role to execute SQL. Grant LOGIN to this role or call df.start() as a role with LOGIN.';
    ELSIF left(ltrim(p_fut, E' \t\n\r\f\v'), 1) <> '{' THEN
        PERFORM _df.refuse_helper(p_fut, 'Invalid durable function: ');  -- of this statement, as no other session knows
    END IF;
    RETURN _df.launch('df.start() with transaction_mode => ''new''', 'start', ARRAY[p_fut, p_label, p_database]);
END
$$;
COMMENT ON FUNCTION _df.start_new(text, text, text) IS
    'df.start in a transaction of its own (013): committed when it returns, whatever becomes of the caller''s. Caller''s rights; anybody.';

CREATE FUNCTION df.start(
    fut              text,
    label            text DEFAULT NULL,
    database         text DEFAULT NULL,
    transaction_mode text DEFAULT 'caller'
) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_label    text := label;
    v_database text := database;
    v_mode     text := lower(transaction_mode COLLATE "C");
    v_json     json;
    f          record;
    g          record;
    r          record;
    v_id       text;
    v_root     text;
BEGIN
    IF v_mode IS NULL OR v_mode NOT IN ('caller', 'new') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'invalid transaction_mode "' || coalesce(transaction_mode, 'NULL')
                      || '" for df.start(): expected ''caller'' or ''new''';
    ELSIF v_mode = 'new' THEN
        RETURN _df.start_new(fut, v_label, v_database);
    ELSIF fut IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'unboxing fut argument failed',
            HINT = 'What is to be started is NULL. An operator, and nearly every builder, is NULL where an operand is.';
    ELSIF octet_length(fut) > 16777216 THEN
        RAISE EXCEPTION USING
            ERRCODE = '54000',
            MESSAGE = 'the durable function is larger than 16 MiB',
            HINT = 'Keep large data in a table, and let its steps read it there.';
    END IF;

    -- 1. What is to be started
    IF left(ltrim(fut, E' \t\n\r\f\v'), 1) = '{' THEN
        BEGIN
            v_json := _df.as_object(fut);
        EXCEPTION
            WHEN statement_too_complex THEN  -- nested beyond what the server's JSON parser has stack for
                RAISE EXCEPTION USING
                    ERRCODE = 'XX000',
                    MESSAGE = 'Invalid durable function graph: root: Graph exceeds maximum nesting depth of 256. Simplify the workflow or break it into multiple instances.';
        END;
    END IF;
    IF v_json IS NULL THEN
        PERFORM _df.refuse_helper(fut, 'Invalid durable function: ');
    ELSE
        SELECT * INTO f FROM _df.envelope_fields(v_json);
        IF f.node_type IS NULL THEN
            v_json := NULL;  -- a JSON object that is no envelope: a SQL step
        ELSIF f.node_type <> ALL (_df.node_types()) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'XX000',
                MESSAGE = 'Invalid durable function: Unknown node_type ''' || f.node_type || '''. Valid types: '
                          || array_to_string(_df.node_types(), ', ');
        ELSIF f.problem IS NOT NULL THEN
            RAISE EXCEPTION USING
                ERRCODE = 'XX000',
                MESSAGE = 'Invalid durable function: Malformed Durofut JSON with node_type ''' || f.node_type
                          || ''': ' || f.problem;
        END IF;
    END IF;

    -- 2. – 4. Where and as whom it is to run
    SELECT a.oid, a.rolname, a.rolcanlogin, a.rolsuper,
           v_database IS NULL OR EXISTS (SELECT FROM pg_database AS d WHERE d.datname = v_database) AS database_exists,
           EXISTS (SELECT FROM _df._worker_ready AS w WHERE w.schema_version >= 1) AS ready
    INTO r
    FROM pg_roles AS a
    WHERE a.rolname = current_user;

    IF NOT r.database_exists THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'database "' || v_database || '" does not exist';
    ELSIF NOT r.rolcanlogin THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'current_user "' || r.rolname || '" does not have LOGIN privilege. The background worker must connect as this role to execute SQL. Grant LOGIN to this role or call df.start() as a role with LOGIN.';
    ELSIF r.rolsuper
          AND lower(_df.setting('enable_superuser_instances', 'off') COLLATE "C") NOT IN ('on', 'true', 'yes', '1') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'pg_durable: superuser instances are disabled. current_user "' || r.rolname || '" is a superuser, but pg_durable.enable_superuser_instances is off. Set pg_durable.enable_superuser_instances = on to allow this.',
            HINT = 'It is a setting of pg-durable-proxy: its file, its environment (PG_DURABLE_ENABLE_SUPERUSER_INSTANCES) or --set. Better start as another role.';
    END IF;

    -- 5. The graph
    IF v_json IS NOT NULL THEN
        SELECT * INTO g FROM _df.flatten(v_json);
        IF g.problem IS NOT NULL THEN
            RAISE EXCEPTION USING
                ERRCODE = 'XX000',
                MESSAGE = 'Invalid durable function graph: ' || g.problem;
        END IF;
        v_root := g.ids[1];
    ELSE
        v_root := right(gen_random_uuid()::text, 8);
    END IF;

    IF NOT r.ready THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'failed to start durable function: pg_durable background worker not yet initialized — try again in a moment';
    END IF;

    -- 6. The instance; the setting tells the trigger that this row is a start
    FOR n IN 1 .. 10 LOOP
        v_id := right(gen_random_uuid()::text, 8);
        PERFORM set_config('df.starting', v_id, true);
        INSERT INTO df.instances (id, label, root_node, submitted_by, database)
        VALUES (v_id, v_label, v_root, r.oid::regrole, v_database)
        ON CONFLICT (id) DO NOTHING;
        EXIT WHEN FOUND;
        v_id := NULL;
    END LOOP;
    PERFORM set_config('df.starting', '', true);
    IF v_id IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'Failed to create instance: exhausted 10 attempts to generate a collision-free ID';
    END IF;

    -- 7. Its nodes
    IF v_json IS NULL THEN
        INSERT INTO df.nodes (id, instance_id, node_type, query, submitted_by, database)
        VALUES (v_root, v_id, 'SQL', fut, r.oid::regrole, v_database);
    ELSE
        INSERT INTO df.nodes
            (id, instance_id, node_type, query, result_name, left_node, right_node, submitted_by, database)
        SELECT t.id, v_id, t.node_type, t.query, t.result_name, t.left_node, t.right_node, r.oid::regrole, v_database
        FROM unnest(g.ids, g.node_types, g.queries, g.result_names, g.left_nodes, g.right_nodes)
             WITH ORDINALITY AS t (id, node_type, query, result_name, left_node, right_node, n)
        ORDER BY t.n;
    END IF;
    RETURN v_id;
END
$$;
COMMENT ON FUNCTION df.start(text, text, text, text) IS
    'Starts a durable function as part of the caller''s transaction (transaction_mode => ''new'': in one of its own) and returns the id of the instance. Runs with the caller''s rights; the steps will run as the caller''s current_user.';
