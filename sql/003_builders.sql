-- 003: step builders. Text in, text out: they read no table and write nothing.
--
-- A step is described by its envelope, compact JSON text with the keys, absent ones omitted, in this order:
--   node_type, left_node, right_node, condition_node, extra_nodes, query, result_name
--
-- An argument that is a step may be an envelope or anything else, which then is the text of a SQL step. Three private
-- functions decide that, and everything that reads steps (builders, df.start, df.explain) goes through them:
--   _df.as_object(text)        the text as a JSON object, or NULL when it is none
--   _df.envelope_fields(json)  the parts of an envelope and what is wrong with its shape
--   _df.step(text, name)       the envelope for an argument: what the builders put together
--
-- All run with the caller's rights. String literals with a backslash are written E'…', so that they mean the same with
-- standard_conforming_strings off. Errors of the reference's native code have SQLSTATE XX000.

-- ---------------------------------------------------------------------------------------------------------------
-- Reading an argument
-- ---------------------------------------------------------------------------------------------------------------
CREATE FUNCTION _df.node_types() RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ARRAY['SQL', 'THEN', 'IF', 'JOIN', 'LOOP', 'BREAK', 'RACE', 'SLEEP', 'WAIT_SCHEDULE', 'HTTP',
                 'HTTP_MULTIPART', 'SIGNAL']
$$;
COMMENT ON FUNCTION _df.node_types() IS 'The node types, in the order in which messages list them. Anybody.';

CREATE FUNCTION _df.as_object(p_text text) RETURNS json
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF left(ltrim(p_text, E' \t\n\r\f\v'), 1) <> '{' THEN
        RETURN NULL;  -- plain SQL nearly always: no subtransaction for it
    END IF;
    BEGIN
        RETURN p_text::json;
    EXCEPTION
        WHEN invalid_text_representation THEN
            RETURN NULL;
    END;
END
$$;
COMMENT ON FUNCTION _df.as_object(text) IS
    'The text as a JSON object with its keys in order, or NULL when it is no JSON object. Anybody.';

CREATE FUNCTION _df.compact(p_json text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- one pass of a state machine; nearly always all there is to do
    IF p_json ~ E'^(?:[^"\\s]|"(?:[^"\\\\]|\\\\.)*")*$' THEN
        RETURN p_json;
    END IF;
    RETURN regexp_replace(p_json, E'("(?:[^"\\\\]|\\\\.)*")|\\s+', E'\\1', 'g');
END
$$;
COMMENT ON FUNCTION _df.compact(text) IS
    'JSON text without white space between its tokens; the order of keys stays. Anybody.';

CREATE FUNCTION _df.envelope_fields(
    p_envelope         json,
    OUT node_type      text,
    OUT left_node      json,
    OUT right_node     json,
    OUT condition_node json,
    OUT extra_nodes    json,
    OUT query          text,
    OUT result_name    text,
    OUT problem        text
)
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_type  json;
    v_query json;
    v_name  json;
    v_lines text[];
BEGIN
    SELECT r.node_type, r.left_node, r.right_node, r.condition_node, r.extra_nodes, r.query, r.result_name
    INTO v_type, left_node, right_node, condition_node, extra_nodes, v_query, v_name
    FROM json_to_record(p_envelope) AS r (
        node_type json, left_node json, right_node json, condition_node json, extra_nodes json, query json,
        result_name json);

    IF v_type IS NULL THEN
        problem := 'missing field `node_type`';
    ELSIF json_typeof(v_type) <> 'string' THEN
        problem := 'invalid type: ' || json_typeof(v_type) || ', expected a string';
    ELSE
        node_type := v_type #>> '{}';
    END IF;

    IF problem IS NOT NULL THEN
        NULL;
    ELSIF json_typeof(left_node) <> 'object' OR json_typeof(right_node) <> 'object' THEN
        problem := 'Durofut children must be JSON objects';
    ELSIF json_typeof(condition_node) <> 'object' THEN
        problem := 'condition_node must be a Durofut JSON object';
    ELSIF json_typeof(extra_nodes) <> 'array' THEN
        problem := 'invalid type: ' || json_typeof(extra_nodes) || ', expected a sequence';
    ELSIF extra_nodes IS NOT NULL
          AND EXISTS (SELECT FROM json_array_elements(extra_nodes) AS e WHERE json_typeof(e.value) <> 'object') THEN
        problem := 'extra_nodes entries must be Durofut JSON objects';
    ELSIF json_typeof(v_query) <> 'string' THEN
        problem := 'invalid type: ' || json_typeof(v_query) || ', expected a string';
    ELSIF json_typeof(v_name) <> 'string' THEN
        problem := 'invalid type: ' || json_typeof(v_name) || ', expected a string';
    ELSE
        query := v_query #>> '{}';
        result_name := v_name #>> '{}';
        RETURN;
    END IF;

    v_lines := string_to_array(p_envelope::text, E'\n');
    problem := problem || ' at line ' || cardinality(v_lines)
               || ' column ' || length(v_lines[cardinality(v_lines)]);
END
$$;
COMMENT ON FUNCTION _df.envelope_fields(json) IS
    'The parts of an envelope. node_type is NULL when it is missing or no string; problem says what is wrong with the shape, NULL when nothing is. Children are not looked into. Anybody.';

CREATE FUNCTION _df.envelope(
    p_type      text,
    p_left      text,
    p_right     text,
    p_condition text,
    p_extras    text,
    p_query     text,
    p_name      text
) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN '{"node_type":' || to_json(p_type)
           || coalesce(',"left_node":' || p_left, '')
           || coalesce(',"right_node":' || p_right, '')
           || coalesce(',"condition_node":' || p_condition, '')
           || coalesce(',"extra_nodes":' || p_extras, '')
           || coalesce(',"query":' || to_json(p_query), '')
           || coalesce(',"result_name":' || to_json(p_name), '')
           || '}';
END
$$;
COMMENT ON FUNCTION _df.envelope(text, text, text, text, text, text, text) IS
    'Envelope text from its parts, keys in their order; children are given as envelope text, extras as a JSON array. Anybody.';

CREATE FUNCTION _df.refuse_helper(p_text text, p_prefix text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_mark   text := current_setting('df.non_future_helper', true);
    v_helper text;
BEGIN
    -- what a helper returned, in the statement in which it ran: somebody composed the helper as if it were a step
    IF p_text IN ('OK', 'completed', 'failed', 'cancelled')
       AND v_mark LIKE (E'%\n' || statement_timestamp()) THEN
        v_helper := split_part(v_mark, E'\n', 1);
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = p_prefix || v_helper || ' cannot be used as a workflow step. Call ' || v_helper
                      || ' before df.start().';
    END IF;
END
$$;
COMMENT ON FUNCTION _df.refuse_helper(text, text) IS
    'Raises when the text is the answer of df.setvar and its like in the same statement. Anybody.';

CREATE FUNCTION _df.step(p_text text, p_name text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_json json := _df.as_object(p_text);
    f      record;
BEGIN
    IF v_json IS NOT NULL THEN
        SELECT * INTO f FROM _df.envelope_fields(v_json);
        IF f.node_type IS NOT NULL THEN
            IF f.problem IS NOT NULL THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'XX000',
                    MESSAGE = 'Invalid Durofut JSON: failed to deserialize workflow step: ' || f.problem;
            END IF;
            IF f.node_type = ANY (_df.node_types()) THEN
                RETURN _df.compact(_df.envelope(
                    f.node_type, f.left_node::text, f.right_node::text, f.condition_node::text, f.extra_nodes::text,
                    f.query, coalesce(p_name, f.result_name)));
            END IF;
        END IF;
    ELSE
        PERFORM _df.refuse_helper(p_text, '');
    END IF;
    RETURN _df.envelope('SQL', NULL, NULL, NULL, NULL, p_text, p_name);
END
$$;
COMMENT ON FUNCTION _df.step(text, text) IS
    'The compact envelope for an argument that stands for a step: itself when it is an envelope, else a SQL step with that text; under another result name if one is given. Anybody.';

-- ---------------------------------------------------------------------------------------------------------------
-- Steps and their composition
-- ---------------------------------------------------------------------------------------------------------------
CREATE FUNCTION df.sql(query text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN _df.envelope('SQL', NULL, NULL, NULL, NULL, query, NULL);
END
$$;
COMMENT ON FUNCTION df.sql(text) IS 'A step that runs a SQL statement. Pure; caller''s rights.';

CREATE FUNCTION df.seq(a text, b text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN _df.envelope('THEN', _df.step(a), _df.step(b), NULL, NULL, NULL, NULL);
END
$$;
COMMENT ON FUNCTION df.seq(text, text) IS 'One step after another: a ~> b. Pure; caller''s rights.';

CREATE FUNCTION df."as"(fut text, name text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF name = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'df.as: result name cannot be empty';
    ELSIF name !~ '^[a-zA-Z_][a-zA-Z0-9_]*$' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'df.as: result name ''' || name
                      || ''' is not a valid identifier — must match [a-zA-Z_][a-zA-Z0-9_]*';
    END IF;
    RETURN _df.step(fut, name);
END
$$;
COMMENT ON FUNCTION df."as"(text, text) IS 'Names the result of a step: fut |=> name. Pure; caller''s rights.';

CREATE FUNCTION df."join"(a text, b text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN _df.envelope('JOIN', _df.step(a), _df.step(b), NULL, NULL, NULL, NULL);
END
$$;
COMMENT ON FUNCTION df."join"(text, text) IS 'Two steps in parallel, wait for both: a & b. Pure; caller''s rights.';

CREATE FUNCTION df.join3(a text, b text, c text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN _df.envelope('JOIN', _df.step(a), _df.step(b), NULL, '[' || _df.step(c) || ']', NULL, NULL);
END
$$;
COMMENT ON FUNCTION df.join3(text, text, text) IS 'Three steps in parallel, wait for all. Pure; caller''s rights.';

CREATE FUNCTION df.race(a text, b text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN _df.envelope('RACE', _df.step(a), _df.step(b), NULL, NULL, NULL, NULL);
END
$$;
COMMENT ON FUNCTION df.race(text, text) IS
    'Two steps in parallel, the first to end decides: a | b. Pure; caller''s rights.';

CREATE FUNCTION df."if"(condition text, then_branch text, else_branch text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_condition text := _df.step(condition);
BEGIN
    RETURN _df.envelope('IF', _df.step(then_branch), _df.step(else_branch), v_condition, NULL, NULL, NULL);
END
$$;
COMMENT ON FUNCTION df."if"(text, text, text) IS
    'Runs one of two steps by the result of a third: condition ?> then !> else. Pure; caller''s rights.';

CREATE FUNCTION df.if_rows(result_name text, then_branch text, else_branch text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN _df.envelope(
        'IF', _df.step(then_branch), _df.step(else_branch), NULL, NULL,
        '{"condition_type":"result_has_rows","result_name":' || to_json(result_name) || '}', NULL);
END
$$;
COMMENT ON FUNCTION df.if_rows(text, text, text) IS
    'Runs one of two steps by whether a named result has rows. Pure; caller''s rights.';

CREATE FUNCTION df."loop"(body text, condition text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF body IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'unboxing body argument failed';
    END IF;
    RETURN _df.envelope('LOOP', _df.step(body), NULL, CASE WHEN condition IS NOT NULL THEN _df.step(condition) END,
                        NULL, NULL, NULL);
END
$$;
COMMENT ON FUNCTION df."loop"(text, text) IS
    'Repeats a step, for ever (@> body) or while a condition holds after it. Pure; caller''s rights.';

CREATE FUNCTION df."break"(value text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN _df.envelope('BREAK', NULL, NULL, NULL, NULL,
                        '{"break_value":' || coalesce(to_json(value)::text, 'null') || '}', NULL);
END
$$;
COMMENT ON FUNCTION df."break"(text) IS 'Leaves the nearest loop, with a value. Pure; caller''s rights.';

-- ---------------------------------------------------------------------------------------------------------------
-- Waiting
-- ---------------------------------------------------------------------------------------------------------------
CREATE FUNCTION df.sleep(seconds bigint) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF seconds < 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'Sleep duration must be non-negative';
    END IF;
    RETURN _df.envelope('SLEEP', NULL, NULL, NULL, NULL, seconds::text, NULL);
END
$$;
COMMENT ON FUNCTION df.sleep(bigint) IS 'Waits for a number of seconds, 0 and more. Pure; caller''s rights.';

CREATE FUNCTION _df.cron_value(p_text text, p_min int, p_max int, p_names text[]) RETURNS int
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_name  int;
    v_value int;
BEGIN
    IF p_text ~ '^[0-9]{1,4}$' THEN
        v_value := p_text::int;
        RETURN CASE WHEN v_value BETWEEN p_min AND p_max THEN v_value END;
    END IF;
    v_name := array_position(p_names, p_text);  -- short and full names by turns
    RETURN (v_name - 1) / 2 + p_min;
END
$$;
COMMENT ON FUNCTION _df.cron_value(text, int, int, text[]) IS
    'A number or name of a cron field as a number, NULL when it is none or out of range. Anybody.';

CREATE FUNCTION _df.cron_field(p_field text, p_min int, p_max int, p_names text[], p_question boolean) RETURNS int[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_item   text;
    v_parts  text[];
    v_low    int;
    v_high   int;
    v_values int[] := '{}';
BEGIN
    FOREACH v_item IN ARRAY string_to_array(coalesce(p_field, ''), ',') LOOP
        v_parts := regexp_match(v_item, '^([^/-]+)(?:-([^/-]+))?(?:/([0-9]{1,4}))?$');
        IF v_parts IS NULL OR v_parts[3]::int = 0 THEN
            RETURN NULL;
        ELSIF v_parts[1] = '*' OR (v_parts[1] = '?' AND p_question) THEN
            IF v_parts[2] IS NOT NULL THEN
                RETURN NULL;
            END IF;
            v_low := p_min;
            v_high := p_max;
        ELSE
            v_low := _df.cron_value(v_parts[1], p_min, p_max, p_names);
            v_high := CASE WHEN v_parts[2] IS NOT NULL THEN _df.cron_value(v_parts[2], p_min, p_max, p_names)
                           WHEN v_parts[3] IS NOT NULL THEN p_max
                           ELSE v_low END;
            IF v_high = 0 AND v_parts[2] IN ('sun', 'sunday') AND v_low > 0 THEN
                v_high := 7;  -- Sunday ends a week as well as it begins one
            END IF;
            IF v_low IS NULL OR v_high IS NULL OR v_high < v_low THEN
                RETURN NULL;
            END IF;
        END IF;
        v_values := v_values || ARRAY(SELECT generate_series(v_low, v_high, coalesce(v_parts[3]::int, 1)));
    END LOOP;
    RETURN nullif(v_values, '{}');
END
$$;
COMMENT ON FUNCTION _df.cron_field(text, int, int, text[], boolean) IS
    'The values that a field of a cron expression names: lists, ranges, steps, names; NULL when it is not well-formed. Anybody.';

-- src/engine/cron.ts reads the same language: a change here is one there.
CREATE FUNCTION _df.cron_valid(p_expr text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c_space  CONSTANT text := E' \t\n\r\f\v';
    v_rest   text := btrim(p_expr, c_space);
    v_zone   text := 'UTC';
    v_local  timestamp;
    v_fields text[];
    v_minute int[];
    v_hour   int[];
    v_day    int[];
    v_month  int[];
    v_week   int[];
    v_year   int[];
    v_either boolean;
BEGIN
    IF length(p_expr) > 2000 THEN
        RETURN false;
    ELSIF v_rest ^@ 'CRON_TZ=' THEN
        v_zone := (regexp_match(v_rest, E'^CRON_TZ=([A-Za-z][A-Za-z0-9_+/-]*)[ \\t\\n\\r\\f\\v]'))[1];
        IF v_zone IS NULL THEN
            RETURN false;
        END IF;
        v_rest := ltrim(substr(v_rest, length(v_zone) + 9), c_space);
    END IF;
    v_rest := lower(v_rest COLLATE "C");

    IF v_rest IN ('@yearly', '@annually', '@monthly', '@weekly', '@daily', '@midnight', '@hourly') THEN
        v_rest := '0 0 * * *';  -- they come for ever
    END IF;
    v_fields := regexp_split_to_array(v_rest, E'[ \\t\\n\\r\\f\\v]+');
    v_minute := _df.cron_field(v_fields[1], 0, 59, NULL, false);
    v_hour := _df.cron_field(v_fields[2], 0, 23, NULL, false);
    v_day := _df.cron_field(v_fields[3], 1, 31, NULL, true);
    v_month := _df.cron_field(v_fields[4], 1, 12, ARRAY[
        'jan', 'january', 'feb', 'february', 'mar', 'march', 'apr', 'april', 'may', 'may', 'jun', 'june',
        'jul', 'july', 'aug', 'august', 'sep', 'september', 'oct', 'october', 'nov', 'november',
        'dec', 'december'], false);
    v_week := _df.cron_field(v_fields[5], 0, 7, ARRAY[
        'sun', 'sunday', 'mon', 'monday', 'tue', 'tuesday', 'wed', 'wednesday', 'thu', 'thursday',
        'fri', 'friday', 'sat', 'saturday'], true);
    v_year := _df.cron_field(v_fields[6], 1970, 2100, NULL, false);
    IF v_minute IS NULL OR v_hour IS NULL OR v_day IS NULL OR v_month IS NULL OR v_week IS NULL
       OR cardinality(v_fields) > 6 OR v_year IS NULL AND v_fields[6] IS NOT NULL THEN
        RETURN false;
    END IF;

    -- A zone with rules of its own, by name: not an abbreviation, nor the notation of POSIX. Last, because it reads files.
    IF upper(v_zone) <> 'UTC'
       AND NOT EXISTS (SELECT FROM pg_timezone_names AS z WHERE lower(z.name) = lower(v_zone)) THEN
        RETURN false;
    END IF;

    -- Does it ever come? Without a year, when there is such a day at all. Both day fields must match, unless both are
    -- restricted: then either does.
    v_either := v_fields[3] !~ '^[*?]' AND v_fields[5] !~ '^[*?]';
    IF v_year IS NULL THEN
        RETURN v_either OR EXISTS (SELECT FROM unnest(v_month) AS m, unnest(v_day) AS d
                                   WHERE d <= CASE WHEN m = 2 THEN 29 WHEN m IN (4, 6, 9, 11) THEN 30 ELSE 31 END);
    END IF;
    v_local := timezone(v_zone, clock_timestamp());
    RETURN EXISTS (
        SELECT
        FROM unnest(v_year) AS y,
             generate_series(make_date(y, 1, 1)::timestamp, make_date(y, 12, 31)::timestamp, interval '1 day') AS t (day),
             LATERAL (SELECT extract(day FROM t.day)::int = ANY (v_day)                     AS by_day,
                             extract(dow FROM t.day)::int IN (SELECT w % 7 FROM unnest(v_week) AS w) AS by_week) AS b
        WHERE y >= extract(year FROM v_local)::int
          AND extract(month FROM t.day)::int = ANY (v_month)
          AND CASE WHEN v_either THEN b.by_day OR b.by_week ELSE b.by_day AND b.by_week END
          AND t.day + make_interval(hours => (SELECT max(h) FROM unnest(v_hour) AS h),
                                    mins => (SELECT max(m) FROM unnest(v_minute) AS m)) > v_local);
END
$$;
COMMENT ON FUNCTION _df.cron_valid(text) IS
    'Whether a cron expression is well-formed, [CRON_TZ=zone] minute hour day month weekday [year] or @daily and its like, and has a time that is still to come. Anybody.';

CREATE FUNCTION df.wait_for_schedule(cron_expr text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT _df.cron_valid(cron_expr) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'Invalid cron expression ''' || cron_expr
                      || ''': Invalid expression: Invalid cron expression.',
            HINT = 'Five fields: minute, hour, day of the month, month, day of the week; "CRON_TZ=zone " may stand in front. A date that never comes is refused as well.';
    END IF;
    RETURN _df.envelope('WAIT_SCHEDULE', NULL, NULL, NULL, NULL, '{"cron_expr":' || to_json(cron_expr) || '}', NULL);
END
$$;
COMMENT ON FUNCTION df.wait_for_schedule(text) IS
    'Waits for the next time of a cron expression; UTC unless it begins with CRON_TZ=zone. Pure; caller''s rights.';

CREATE FUNCTION df.wait_for_signal(name text, timeout_seconds integer DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF name IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'unboxing name argument failed';
    ELSIF name = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'Signal name cannot be empty';
    ELSIF octet_length(name) > 1024 THEN
        RAISE EXCEPTION USING ERRCODE = '54000', MESSAGE = 'Signal name is longer than 1024 bytes';
    ELSIF timeout_seconds <= 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'Timeout must be positive';
    END IF;
    RETURN _df.envelope('SIGNAL', NULL, NULL, NULL, NULL,
                        '{"signal_name":' || to_json(name) || ',"timeout_seconds":'
                        || coalesce(timeout_seconds::text, 'null') || '}', NULL);
END
$$;
COMMENT ON FUNCTION df.wait_for_signal(text, integer) IS
    'Waits for a signal, at most for a number of seconds, 1 and more (NULL: for ever). Pure; caller''s rights.';

-- ---------------------------------------------------------------------------------------------------------------
-- HTTP
-- ---------------------------------------------------------------------------------------------------------------
CREATE FUNCTION _df.check_http_scheme(p_url text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_scheme text := lower(split_part(p_url, '://', 1) COLLATE "C");
BEGIN
    IF strpos(p_url, '{') = 0 AND v_scheme NOT IN ('http', 'https') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'Blocked: unsupported URL scheme ''' || v_scheme || '''. Only http and https are allowed.';
    END IF;
END
$$;
COMMENT ON FUNCTION _df.check_http_scheme(text) IS
    'Raises when a URL without {variables} is neither http nor https. Anybody.';

CREATE FUNCTION df.http(
    url             text,
    method          text    DEFAULT 'POST',
    body            text    DEFAULT NULL,
    headers         jsonb   DEFAULT NULL,
    timeout_seconds integer DEFAULT 30
) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_method text := upper(method COLLATE "C");
BEGIN
    IF url IS NULL OR method IS NULL OR timeout_seconds IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'unboxing ' || CASE WHEN url IS NULL THEN 'url' WHEN method IS NULL THEN 'method'
                                          ELSE 'timeout_seconds' END || ' argument failed';
    END IF;
    PERFORM _df.check_http_scheme(url);
    IF v_method NOT IN ('GET', 'POST', 'PUT', 'DELETE', 'PATCH') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'Invalid HTTP method: ' || method || '. Must be GET, POST, PUT, DELETE, or PATCH';
    ELSIF timeout_seconds <= 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'Timeout must be positive';
    END IF;
    RETURN _df.envelope('HTTP', NULL, NULL, NULL, NULL,
                        '{"url":' || to_json(url)
                        || ',"method":' || to_json(v_method)
                        || ',"body":' || coalesce(to_json(body)::text, 'null')
                        || ',"headers":' || coalesce(_df.compact(headers::text), 'null')
                        || ',"timeout_seconds":' || timeout_seconds || '}', NULL);
END
$$;
COMMENT ON FUNCTION df.http(text, text, text, jsonb, integer) IS
    'An HTTP request. Pure; caller''s rights, EXECUTE is not given to PUBLIC.';
REVOKE EXECUTE ON FUNCTION df.http(text, text, text, jsonb, integer) FROM PUBLIC;

CREATE FUNCTION df.http_multipart(
    url             text,
    method          text    DEFAULT 'POST',
    parts           jsonb   DEFAULT NULL,
    headers         jsonb   DEFAULT NULL,
    timeout_seconds integer DEFAULT 30
) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_method  text := upper(method COLLATE "C");
    v_problem text;
BEGIN
    IF url IS NULL OR method IS NULL OR timeout_seconds IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'unboxing ' || CASE WHEN url IS NULL THEN 'url' WHEN method IS NULL THEN 'method'
                                          ELSE 'timeout_seconds' END || ' argument failed';
    END IF;
    PERFORM _df.check_http_scheme(url);
    v_problem := CASE
        WHEN v_method NOT IN ('POST', 'PUT', 'PATCH')
            THEN 'Invalid HTTP method for multipart: ' || method || '. Must be POST, PUT, or PATCH'
        WHEN timeout_seconds <= 0              THEN 'Timeout must be positive'
        WHEN parts IS NULL                     THEN 'parts is required and cannot be NULL'
        WHEN jsonb_typeof(parts) <> 'array'    THEN 'parts must be a JSON array of part objects'
        WHEN jsonb_array_length(parts) = 0     THEN 'parts must contain at least one part'
    END;
    IF v_problem IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = v_problem;
    END IF;
    RETURN _df.envelope('HTTP_MULTIPART', NULL, NULL, NULL, NULL,
                        '{"url":' || to_json(url)
                        || ',"method":' || to_json(v_method)
                        || ',"parts":' || _df.compact(parts::text)
                        || ',"headers":' || coalesce(_df.compact(headers::text), 'null')
                        || ',"timeout_seconds":' || timeout_seconds || '}', NULL);
END
$$;
COMMENT ON FUNCTION df.http_multipart(text, text, jsonb, jsonb, integer) IS
    'An HTTP request with a multipart/form-data body. Pure; caller''s rights, EXECUTE is not given to PUBLIC.';
REVOKE EXECUTE ON FUNCTION df.http_multipart(text, text, jsonb, jsonb, integer) FROM PUBLIC;
