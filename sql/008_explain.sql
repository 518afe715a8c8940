-- 008: df.explain, and what the status of a node really means.
--
--   _df.config_nodes(type, query)   node ids in a node's config: the condition, or a join's further branches
--   _df.infer(instance)             inferred statuses
--   _df.node_text(…)                one node in one line
--   _df.render(…)                   a graph as lines
--   _df.explain_envelope(json)      a dry run
--   _df.explain_instance(id)        a live instance
--   df.explain(input)               decides which of them it is
--
-- Everything runs with the caller's rights. The walks keep their own stacks, so that the depth of a graph costs no
-- server stack, and give up on a graph that somebody made by hand with a cycle in it.

CREATE FUNCTION _df.config_nodes(p_type text, p_query text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_query IS NULL OR p_type NOT IN ('IF', 'LOOP', 'JOIN') THEN
        RETURN '{}';
    ELSIF p_type = 'JOIN' THEN
        RETURN ARRAY(
            SELECT m.id[1]
            FROM regexp_matches(substring(p_query FROM E'"extra_nodes"\\s*:\\s*\\[([^\\]]*)\\]'),
                                '"([0-9a-f]{8})"', 'g') AS m (id));
    END IF;
    RETURN coalesce(regexp_match(p_query, E'"condition_node"\\s*:\\s*"([0-9a-f]{8})"'), '{}');
END
$$;
COMMENT ON FUNCTION _df.config_nodes(text, text) IS
    'The node ids in the config of an IF, LOOP or JOIN node. Anybody.';

-- A stamp is <scope>::<generation>, and a scope of a child <scope>::<generation>::<node>: every stamp names a generation
-- of its own scope and of each scope above. A node is superseded when one of these scopes has been seen in a later
-- generation. What is below a node that has ended and is not superseded will not run any more.
CREATE FUNCTION _df.infer(p_instance text)
    RETURNS TABLE (node_id text, inferred_status text, ancestor_id text)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_root       text := (SELECT u.root_node FROM df.instances AS u WHERE u.id = p_instance);
    v_ids        text[];
    v_children   json[];
    v_statuses   text[];
    v_superseded boolean[];
    v_gens       bigint[];
    v_index      jsonb;         -- id → place in the arrays
    v_seen       boolean[] := '{}';
    -- the stack: a node and what is known of its ancestors
    v_top        int := 1;
    s_id         text[] := ARRAY[v_root];
    s_ended      text[] := ARRAY[NULL::text];    -- the nearest that has ended
    s_latest     text[] := ARRAY[NULL::text];    -- the nearest of the highest generation
    s_gen        bigint[] := ARRAY[NULL::bigint];
    i            int;
    v_ended      text;
    v_latest     text;
    v_gen        bigint;
    v_child      text;
BEGIN
    WITH nodes AS (
        SELECT n.id::text AS id, n.status,
               to_json(array_remove(ARRAY[n.left_node, n.right_node]::text[], NULL)
                       || _df.config_nodes(n.node_type, n.query)) AS children,
               string_to_array(substring(n.status_details ->> 'execution_id'
                                         FROM '^[0-9a-f]{8}(?:::[0-9]{1,18}::[0-9a-f]{8})*::[0-9]{1,18}$'),
                               '::') AS stamp
        FROM df.nodes AS n
        WHERE n.instance_id = p_instance
    ), levels AS (
        SELECT n.id, array_to_string(n.stamp[1 : 2 * l - 1], '::') AS scope, n.stamp[2 * l]::bigint AS generation
        FROM nodes AS n, generate_series(1, cardinality(n.stamp) / 2) AS l
    ), latest AS (
        SELECT l.scope, max(l.generation) AS generation FROM levels AS l GROUP BY l.scope
    ), passed AS (
        SELECT DISTINCT l.id
        FROM levels AS l JOIN latest AS t ON t.scope = l.scope
        WHERE l.generation < t.generation
    )
    SELECT array_agg(n.id ORDER BY n.id), array_agg(n.children ORDER BY n.id), array_agg(n.status ORDER BY n.id),
           array_agg(p.id IS NOT NULL ORDER BY n.id),
           array_agg(n.stamp[cardinality(n.stamp)]::bigint ORDER BY n.id)
    INTO v_ids, v_children, v_statuses, v_superseded, v_gens
    FROM nodes AS n LEFT JOIN passed AS p ON p.id = n.id;

    SELECT jsonb_object_agg(t.id, t.n) INTO v_index FROM unnest(v_ids) WITH ORDINALITY AS t (id, n);

    WHILE v_top > 0 LOOP
        i := (v_index ->> s_id[v_top])::int;
        v_ended := s_ended[v_top];
        v_latest := s_latest[v_top];
        v_gen := s_gen[v_top];
        v_top := v_top - 1;
        CONTINUE WHEN i IS NULL OR v_seen[i];
        v_seen[i] := true;

        node_id := v_ids[i];
        ancestor_id := NULL;
        IF v_statuses[i] IN ('completed', 'failed') AND NOT v_superseded[i] THEN
            inferred_status := v_statuses[i];
        ELSIF v_ended IS NOT NULL THEN
            inferred_status := 'skipped';
            ancestor_id := v_ended;
        ELSIF v_statuses[i] IN ('completed', 'failed') THEN
            inferred_status := 'pending';
            ancestor_id := v_latest;
        ELSE
            inferred_status := CASE WHEN v_statuses[i] = 'running' THEN 'running' ELSE 'pending' END;
        END IF;
        RETURN NEXT;

        IF inferred_status IN ('completed', 'failed') THEN
            v_ended := v_ids[i];
        END IF;
        IF v_gens[i] >= coalesce(v_gen, 0) THEN
            v_gen := v_gens[i];
            v_latest := v_ids[i];
        END IF;
        FOR v_child IN SELECT c.value FROM json_array_elements_text(v_children[i]) AS c (value) LOOP
            v_top := v_top + 1;
            s_id[v_top] := v_child;
            s_ended[v_top] := v_ended;
            s_latest[v_top] := v_latest;
            s_gen[v_top] := v_gen;
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION _df.infer(text) IS
    'The inferred status of every node that is reachable from the root, and the ancestor it follows from. Caller''s rights; anybody.';

-- ---------------------------------------------------------------------------------------------------------------
-- Drawing
-- ---------------------------------------------------------------------------------------------------------------
CREATE FUNCTION _df.shorten(p_text text, p_limit int, p_keep int, p_mark text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_text text := btrim(regexp_replace(p_text, E'\\s+', ' ', 'g'));
BEGIN
    RETURN CASE WHEN length(v_text) > p_limit THEN left(v_text, p_keep) || p_mark ELSE v_text END;
END
$$;
COMMENT ON FUNCTION _df.shorten(text, int, int, text) IS
    'One line: white space collapsed; what is longer than p_limit characters is cut after p_keep and marked. Anybody.';

CREATE FUNCTION _df.node_text(p_type text, p_query text, p_name text, p_marker text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_name   text := coalesce(' |=> ''' || p_name || '''', '');
    v_config json := CASE WHEN p_type NOT IN ('SQL', 'SLEEP') THEN _df.as_object(p_query) END;
BEGIN
    RETURN CASE p_type
        WHEN 'SQL'   THEN 'SQL' || v_name || ': ' || coalesce(_df.shorten(p_query, 200, 200, '…'), '')
        WHEN 'SLEEP' THEN 'SLEEP ' || coalesce(p_query, '?') || 's' || v_name
        WHEN 'WAIT_SCHEDULE' THEN 'WAIT_SCHEDULE ''' || coalesce(v_config ->> 'cron_expr', '') || '''' || v_name
        WHEN 'SIGNAL' THEN 'SIGNAL ''' || coalesce(v_config ->> 'signal_name', '') || ''''
                           || coalesce(' (' || (v_config ->> 'timeout_seconds') || 's)', '') || v_name
        WHEN 'BREAK' THEN 'BREAK' || coalesce(' ''' || _df.shorten(v_config ->> 'break_value', 20, 17, '...') || '''', '')
                          || v_name
        WHEN 'LOOP'  THEN 'LOOP ' || CASE WHEN _df.config_nodes(p_type, p_query) = '{}' THEN '(infinite)'
                                          ELSE '(while)' END || v_name
        WHEN 'JOIN'  THEN 'JOIN (' || 2 + cardinality(_df.config_nodes(p_type, p_query)) || ')' || v_name
        WHEN 'RACE'  THEN 'RACE'
        WHEN 'IF'    THEN 'IF' || v_name
        ELSE p_type || ' ' || coalesce(v_config ->> 'method', '') || ' '
             || coalesce(_df.shorten(v_config ->> 'url', 40, 37, '...'), '') || v_name
    END || coalesce(' ' || p_marker, '');
END
$$;
COMMENT ON FUNCTION _df.node_text(text, text, text, text) IS
    'A node in one line, with its marker if it has one. Anybody.';

CREATE FUNCTION _df.marker(p_status text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE p_status WHEN 'completed' THEN '✓ Completed' WHEN 'failed'    THEN '✗ Failed'
                         WHEN 'running'   THEN '⏳ Running'   WHEN 'skipped'   THEN '⊘ Skipped'
                         WHEN 'cancelled' THEN '⊘ Cancelled' ELSE '○ Pending' END
$$;
COMMENT ON FUNCTION _df.marker(text) IS 'A status as df.explain shows it. Anybody.';

-- A chain of THEN nodes is flattened: its first step stands where the chain stands, each further one on a line of its
-- own with the same prefix and an arrow. The name of a THEN stands at its right step, whose result it has. A node's sections (body, condition, branches) are indented below it.
CREATE FUNCTION _df.render(
    p_root         text,
    p_ids          text[],
    p_types        text[],
    p_queries      text[],
    p_result_names text[],
    p_left_nodes   text[],
    p_right_nodes  text[],
    p_markers      text[]
) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_index    jsonb;           -- id → place in the arrays
    v_lines    text[] := '{}';
    v_visits   int := 0;
    -- the stack: what is still to be drawn, a node with prefix and connector or (no connector) a finished line
    v_top      int := 1;
    s_item     text[] := ARRAY[p_root];
    s_prefix   text[] := ARRAY[''];
    s_link     text[] := ARRAY[''];
    -- what the item in hand is made of, in the order of drawing
    k_item     text[];
    k_prefix   text[];
    k_link     text[];
    v_prefix   text;
    v_link     text;
    v_chain    int[];
    v_names    text[];          -- of the chain's steps: a named THEN has its right step's result, so it shows there
    v_open     text[];          -- right sides still to be flattened
    v_inherit  text[];          -- the names that they take over
    v_name     text;
    v_id       text;
    v_below    text;
    v_config   text[];
    v_branches text[];
    i          int;
BEGIN
    SELECT jsonb_object_agg(t.id, t.n) INTO v_index FROM unnest(p_ids) WITH ORDINALITY AS t (id, n);

    WHILE v_top > 0 LOOP
        v_id := s_item[v_top];
        v_prefix := s_prefix[v_top];
        v_link := s_link[v_top];
        v_top := v_top - 1;
        IF v_link IS NULL THEN
            v_lines := v_lines || v_id;
            CONTINUE;
        END IF;

        v_chain := '{}';
        v_names := '{}';
        v_open := ARRAY[v_id];
        v_inherit := ARRAY[NULL::text];
        WHILE cardinality(v_open) > 0 LOOP
            v_id := v_open[cardinality(v_open)];
            v_open := trim_array(v_open, 1);
            i := (v_index ->> v_id)::int;
            v_name := coalesce(p_result_names[i], v_inherit[cardinality(v_inherit)]);
            v_inherit := trim_array(v_inherit, 1);
            v_visits := v_visits + 1;
            IF v_visits > 2 * cardinality(p_ids) + 10000 THEN
                RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'graph contains a cycle';
            ELSIF p_types[i] = 'THEN' THEN
                v_open := v_open || p_right_nodes[i] || p_left_nodes[i];
                v_inherit := v_inherit || v_name || NULL::text;
            ELSIF i IS NOT NULL THEN
                v_chain := v_chain || i;
                v_names := v_names || v_name;
            END IF;
        END LOOP;

        k_item := '{}';
        k_prefix := '{}';
        k_link := '{}';
        FOR n IN 1 .. cardinality(v_chain) LOOP
            i := v_chain[n];
            k_item := k_item || (v_prefix || CASE WHEN n > 1 THEN '→ ' ELSE v_link END
                                 || _df.node_text(p_types[i], p_queries[i], v_names[n], p_markers[i]));
            k_prefix := k_prefix || NULL::text;
            k_link := k_link || NULL::text;
            v_below := v_prefix || CASE WHEN v_link = '├─' AND cardinality(v_chain) = 1 THEN '│   ' ELSE '    ' END;
            v_config := _df.config_nodes(p_types[i], p_queries[i]);

            IF p_types[i] = 'LOOP' THEN
                k_item := k_item || ARRAY[v_below || '↻ body:', p_left_nodes[i]];
                IF v_config <> '{}' THEN
                    k_item := k_item || ARRAY[v_below || '? while:', v_config[1]];
                END IF;
            ELSIF p_types[i] = 'IF' THEN
                IF v_config <> '{}' THEN
                    k_item := k_item || ARRAY[v_below || '? condition:', v_config[1]];
                END IF;
                k_item := k_item || ARRAY[v_below || '✓ then:', p_left_nodes[i], v_below || '✗ else:', p_right_nodes[i]];
            ELSIF p_types[i] IN ('JOIN', 'RACE') THEN
                v_branches := ARRAY[p_left_nodes[i], p_right_nodes[i]] || v_config;
                FOR b IN 1 .. cardinality(v_branches) LOOP
                    k_item := k_item || ARRAY[v_below || '║ branch ' || b || ':', v_branches[b]];
                END LOOP;
            END IF;
            -- sections came as pairs of a heading and a node
            WHILE cardinality(k_link) < cardinality(k_item) LOOP
                k_prefix := k_prefix || ARRAY[NULL, v_below || '  '];
                k_link := k_link || ARRAY[NULL, CASE WHEN v_branches IS NOT NULL
                                                          AND cardinality(k_link) + 2 < cardinality(k_item)
                                                     THEN '├─' ELSE '└─' END];
            END LOOP;
            v_branches := NULL;
        END LOOP;
        FOR n IN REVERSE cardinality(k_item) .. 1 LOOP
            v_top := v_top + 1;
            s_item[v_top] := k_item[n];
            s_prefix[v_top] := k_prefix[n];
            s_link[v_top] := k_link[n];
        END LOOP;
    END LOOP;
    RETURN rtrim(array_to_string(v_lines, E'\n'), E' \n');
END
$$;
COMMENT ON FUNCTION _df.render(text, text[], text[], text[], text[], text[], text[], text[]) IS
    'A graph as lines of text. Anybody.';

-- ---------------------------------------------------------------------------------------------------------------
-- df.explain
-- ---------------------------------------------------------------------------------------------------------------
CREATE FUNCTION _df.explain_envelope(p_envelope json) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    g record;
BEGIN
    SELECT * INTO g FROM _df.flatten(p_envelope);
    IF g.problem IS NOT NULL THEN
        RETURN 'Invalid durable function graph: ' || g.problem;
    END IF;
    RETURN _df.render(g.ids[1], g.ids, g.node_types, g.queries, g.result_names, g.left_nodes, g.right_nodes, NULL);
END
$$;
COMMENT ON FUNCTION _df.explain_envelope(json) IS 'The drawing of an envelope, or what is wrong with it. Anybody.';

CREATE FUNCTION _df.explain_instance(p_instance text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    u       record;
    e       record;
    g       record;
BEGIN
    SELECT i.label, i.status, i.root_node INTO u FROM df.instances AS i WHERE i.id = p_instance;
    IF NOT FOUND THEN
        RETURN 'Instance ''' || p_instance || ''' not found';
    END IF;

    SELECT array_agg(n.id::text ORDER BY n.id) AS ids, array_agg(n.node_type ORDER BY n.id) AS node_types,
           array_agg(n.query ORDER BY n.id) AS queries, array_agg(n.result_name ORDER BY n.id) AS result_names,
           array_agg(n.left_node::text ORDER BY n.id) AS left_nodes,
           array_agg(n.right_node::text ORDER BY n.id) AS right_nodes,
           array_agg(_df.marker(coalesce(s.inferred_status, n.status)) ORDER BY n.id) AS markers
    INTO g
    FROM df.nodes AS n
    LEFT JOIN _df.infer(p_instance) AS s ON s.node_id = n.id
    WHERE n.instance_id = p_instance;
    IF g.ids IS NULL THEN
        RETURN 'No nodes found for instance ''' || p_instance || '''';
    END IF;

    SELECT v.output, v.waiting INTO e FROM _df.visible_instances AS v WHERE v.id = p_instance;
    RETURN 'Instance: ' || p_instance || coalesce(' (' || u.label || ')', '')
           || E'\nStatus:   ' || _df.marker(u.status)
           || coalesce(E'\nWaiting:  ' || e.waiting, '')
           || coalesce(E'\nOutput:   ' || CASE WHEN length(e.output) > 60 THEN left(e.output, 57) || '...'
                                               ELSE e.output END, '')
           || E'\n\n'
           || _df.render(u.root_node, g.ids, g.node_types, g.queries, g.result_names, g.left_nodes, g.right_nodes,
                         g.markers);
END
$$;
COMMENT ON FUNCTION _df.explain_instance(text) IS 'The drawing of an instance with the status of its nodes. Caller''s rights; anybody.';

CREATE FUNCTION _df.explain_text(p_input text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_json json := _df.as_object(p_input);
    f      record;
BEGIN
    IF p_input ~ '^[0-9a-fA-F]{8}$' THEN
        RETURN _df.explain_instance(p_input);
    END IF;
    IF v_json IS NOT NULL THEN
        SELECT * INTO f FROM _df.envelope_fields(v_json);
        IF f.problem IS NULL THEN
            RETURN _df.explain_envelope(v_json);
        END IF;
    END IF;
    IF p_input ~ E'~>|\\|=>|\\?>|!>|@>|df\\.' THEN
        RETURN NULL;
    ELSIF upper(p_input COLLATE "C") ~ E'^((SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|DROP|CALL|DO|TRUNCATE|GRANT|REVOKE|EXPLAIN) |(SELECT|INSERT|UPDATE|DELETE|WITH)\\r?\\n)' THEN
        RETURN _df.explain_envelope(_df.envelope('SQL', NULL, NULL, NULL, NULL, p_input, NULL)::json);
    END IF;
    RETURN E'Cannot explain input: not a valid Durofut JSON, instance ID, SQL statement, or DSL expression.\n'
           'Hint: DSL expressions use df.*() functions and operators like ~>, |=>, &, |.';
END
$$;
COMMENT ON FUNCTION _df.explain_text(text) IS
    'The explanation of an input that needs no evaluation; NULL for a DSL expression. Caller''s rights; anybody.';

CREATE FUNCTION _df.explain_value(p_value text) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_json json := _df.as_object(p_value);
    f      record;
BEGIN
    IF p_value IS NULL THEN
        RETURN 'Expression returned NULL';
    ELSIF v_json IS NULL THEN
        RETURN 'Failed to parse Durofut JSON: expected a JSON object';
    END IF;
    SELECT * INTO f FROM _df.envelope_fields(v_json);
    IF f.problem IS NOT NULL THEN
        RETURN 'Failed to parse Durofut JSON: ' || f.problem;
    END IF;
    RETURN _df.explain_envelope(v_json);
END
$$;
COMMENT ON FUNCTION _df.explain_value(text) IS 'The explanation of the value of a DSL expression. Anybody.';

-- No SET search_path here: the expression is the caller's and is read with the caller's search_path, df behind it for
-- the operators. Hence every name is qualified. A cursor takes one statement and no more.
CREATE FUNCTION df.explain(input text) RETURNS text
    LANGUAGE plpgsql STRICT
AS $$
DECLARE
    v_input pg_catalog.text := pg_catalog.btrim(input, E' \t\n\r\f\v');
    v_text  pg_catalog.text := _df.explain_text(v_input);
    v_path  pg_catalog.text;
    c       pg_catalog.refcursor;
BEGIN
    IF v_text IS NOT NULL THEN
        RETURN v_text;
    END IF;
    v_path := pg_catalog.current_setting('search_path');
    PERFORM pg_catalog.set_config(
        'search_path',
        CASE WHEN pg_catalog.length(v_path) OPERATOR(pg_catalog.=) 0 THEN 'df' ELSE pg_catalog.concat(v_path, ', df') END,
        true);
    OPEN c FOR EXECUTE pg_catalog.concat('SELECT ', v_input);
    FETCH c INTO v_text;
    CLOSE c;
    PERFORM pg_catalog.set_config('search_path', v_path, true);
    RETURN _df.explain_value(v_text);
END
$$;
COMMENT ON FUNCTION df.explain(text) IS
    'Draws a workflow: of an instance id with the status of its nodes, of an envelope, a SQL statement or a DSL expression, which is evaluated, without running it. Caller''s rights.';
