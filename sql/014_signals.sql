-- 014: signals: the inbox of an instance, and df.signal.
--
-- A signal is a row in the inbox of its instance, written in the sender's transaction. Senders lock no other row: a
-- transaction that stays open after df.signal holds up neither the steps nor the timers of the instance.
--
--   sent      pos NULL: the executor has not seen it. That there is such a row is what wakes the instance, whoever has
--             sent it and whichever way; _df.claim looks for it, _df.hear and _df.rouse find whom it concerns.
--   numbered  pos set, by the executor that holds the lease, increasing: the order in which waits take signals. Not the
--             order of seq, because a signal with a lower seq may commit later.
--   gone      when no scope can take it any more, and with the end of the instance.
--
-- Numbers are written by _df.number (of an instance that is being claimed) and _df.keep_inbox (of one that is held,
-- under its token), always by the owner's role and under READ COMMITTED, never in a step's transaction: that one may
-- have an old snapshot.

CREATE TABLE _df.signals (
    seq         bigint     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_id varchar(8) NOT NULL,  -- no foreign key: it would lock the instance
    name        text       NOT NULL CHECK (name <> '' AND octet_length(name) <= 1024),  -- many come with one claim
    data        text       NOT NULL CHECK (data::jsonb IS NOT NULL AND octet_length(data) <= 16777216),  -- compact JSON; numbers keep their digits
    pos         bigint
);

CREATE INDEX signals_instance ON _df.signals (instance_id, pos);
CREATE INDEX signals_sent     ON _df.signals (instance_id, seq) WHERE pos IS NULL;

CREATE SEQUENCE _df.positions;

-- Who may write here is decided by row-level security on df.instances, as with the views of 006.
CREATE VIEW _df.inbox WITH (security_barrier) AS
SELECT s.instance_id, s.name, s.data
FROM _df.signals AS s
WHERE EXISTS (
    SELECT FROM df.instances AS u
    WHERE u.id OPERATOR(pg_catalog.=) s.instance_id
      AND (u.submitted_by OPERATOR(pg_catalog.=) (SELECT pg_catalog.quote_ident(current_user)::regrole)
           OR NOT (SELECT pg_catalog.row_security_active('df.instances'::regclass))))
  AND pg_catalog.has_schema_privilege('df', 'USAGE')
  AND pg_catalog.has_table_privilege('df.instances', 'SELECT')
WITH CASCADED CHECK OPTION;
COMMENT ON VIEW _df.inbox IS
    'Where df.signal puts signals: for instances that the caller may see, and no others. Anybody who may use df may insert, nobody may read.';
GRANT INSERT ON _df.inbox TO PUBLIC;

CREATE FUNCTION _df.payload(p_data text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    BEGIN
        PERFORM p_data::json;
    EXCEPTION
        WHEN invalid_text_representation THEN
            RETURN to_json(p_data)::text;
    END;
    PERFORM p_data::jsonb;  -- JSON, but with what the server's jsonb cannot hold: the sender hears of it, not the workflow
    RETURN _df.compact(p_data);
EXCEPTION
    WHEN data_exception OR program_limit_exceeded THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'Failed to send signal: ' || SQLERRM;
END
$$;
COMMENT ON FUNCTION _df.payload(text) IS 'Payload of a signal: JSON as it is, but compact; other text as a JSON string. Anybody.';

CREATE FUNCTION df.signal(instance_id text, signal_name text, signal_data text DEFAULT '{}') RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_data text;
BEGIN
    IF instance_id = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'Instance ID cannot be empty';
    ELSIF signal_name = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'Signal name cannot be empty';
    ELSIF octet_length(signal_name) > 1024 THEN
        RAISE EXCEPTION USING ERRCODE = '54000', MESSAGE = 'Signal name is longer than 1024 bytes';
    ELSIF octet_length(signal_data) > 16777216 THEN
        RAISE EXCEPTION USING ERRCODE = '54000', MESSAGE = 'Signal data is larger than 16 MiB';
    ELSIF _df.control_leaves() THEN
        RETURN _df.launch('df.signal()', 'signal', ARRAY[instance_id, signal_name, signal_data]);
    END IF;
    PERFORM FROM df.instances AS u WHERE u.id = signal.instance_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = 'Instance not found or access denied: ' || signal.instance_id;
    END IF;
    v_data := _df.payload(signal_data);
    IF octet_length(v_data) > 16777216 THEN
        RAISE EXCEPTION USING ERRCODE = '54000', MESSAGE = 'Signal data is larger than 16 MiB';  -- as a JSON string
    END IF;

    -- of one that has ended nothing is kept
    INSERT INTO _df.inbox (instance_id, name, data)
    SELECT v.id, signal_name, v_data
    FROM _df.visible_instances AS v
    WHERE v.id = signal.instance_id AND v.finished_at IS NULL;
    RETURN 'OK';
END
$$;
COMMENT ON FUNCTION df.signal(text, text, text) IS
    'Sends a signal to an instance as part of the caller''s transaction; it is kept until a wait takes it. Caller''s rights.';

-- ---------------------------------------------------------------------------------------------------------------
-- The executor's side
-- ---------------------------------------------------------------------------------------------------------------
-- What a claim (002) brings along is bounded, whatever users send: at most 100 signals of an instance, payloads of at
-- most 2 kB. The rest is read when a wait comes to it (_df.read_signal).

CREATE FUNCTION _df.hear(p_owner uuid) RETURNS json
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp  -- planner settings are the caller's
AS $$
BEGIN
    RETURN (
        SELECT json_agg(json_build_object('id', i.id, 'token', i.token, 'signals', n.signals))
        FROM _df.instances AS i
        CROSS JOIN LATERAL (
            SELECT json_agg(json_build_array(
                       x.seq, nextval('_df.positions'), x.name, CASE WHEN length(x.data) <= 2048 THEN x.data END)) AS signals
            FROM (SELECT s.seq, s.name, s.data
                  FROM _df.signals AS s
                  WHERE s.pos IS NULL AND s.instance_id = i.id
                  ORDER BY s.seq
                  LIMIT 100) AS x
        ) AS n
        WHERE i.owner = p_owner AND i.finished_at IS NULL AND n.signals IS NOT NULL);
END
$$;
COMMENT ON FUNCTION _df.hear(uuid) IS
    'New signals for the instances that p_owner holds, with the positions to give them. Owner only.';

CREATE FUNCTION _df.rouse(p_now timestamptz) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp  -- planner settings are the caller's
AS $$
DECLARE
    v_from text := right(gen_random_uuid()::text, 8);
    v_ids  text[];
BEGIN
    -- One probe of the index for each instance, however many signals it has got. Of very many another part each time:
    -- those that cannot be roused now (others hold them, somebody has locked them) must not hide the rest.
    WITH RECURSIVE sent (id, wrapped) AS (
        SELECT v_from, false
        UNION ALL
        SELECT coalesce(n.id, CASE WHEN NOT t.wrapped THEN '' END), t.wrapped OR n.id IS NULL
        FROM sent AS t
        CROSS JOIN LATERAL (
            SELECT (SELECT s.instance_id::text
                    FROM _df.signals AS s
                    WHERE s.pos IS NULL AND s.instance_id > t.id
                    ORDER BY s.instance_id
                    LIMIT 1) AS id
        ) AS n
        WHERE t.id IS NOT NULL AND NOT (t.wrapped AND t.id > v_from)
    )
    SELECT array_agg(DISTINCT t.id) INTO v_ids
    FROM (SELECT s.id FROM sent AS s LIMIT 1000) AS t
    WHERE t.id <> '';

    -- sent while the instance came to its end
    DELETE FROM _df.signals AS s
    WHERE s.seq IN (SELECT x.seq
                    FROM _df.signals AS x
                    WHERE x.pos IS NULL
                      AND x.instance_id IN (SELECT g.id
                                            FROM unnest(v_ids) AS g (id)
                                            WHERE NOT EXISTS (SELECT FROM _df.instances AS i
                                                              WHERE i.id = g.id AND i.finished_at IS NULL))
                    LIMIT 1000
                    FOR UPDATE SKIP LOCKED);

    UPDATE _df.instances AS i
    SET wake_at = p_now
    WHERE i.id IN (SELECT x.id
                   FROM _df.instances AS x
                   WHERE x.id = ANY (v_ids)
                     AND x.owner IS NULL
                     AND x.finished_at IS NULL
                     AND (x.wake_at IS NULL OR x.wake_at > p_now)
                   FOR UPDATE SKIP LOCKED);
END
$$;
COMMENT ON FUNCTION _df.rouse(timestamptz) IS
    'Makes parked instances due that have signals which no executor has seen. Owner only.';

CREATE FUNCTION _df.number(p_owner uuid, p_tokens uuid[]) RETURNS json
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp  -- planner settings are the caller's
AS $$
DECLARE
    v_news json;
BEGIN
    WITH ordered AS MATERIALIZED (
        SELECT x.seq, nextval('_df.positions') AS pos
        FROM (SELECT s.seq
              FROM _df.instances AS i
              CROSS JOIN LATERAL (SELECT y.seq
                                  FROM _df.signals AS y
                                  WHERE y.pos IS NULL AND y.instance_id = i.id
                                  ORDER BY y.seq
                                  LIMIT 100) AS s
              WHERE i.owner = p_owner AND i.token = ANY (p_tokens)
              ORDER BY s.seq
              OFFSET 0) AS x
    ), numbered AS (
        UPDATE _df.signals AS s
        SET pos = o.pos
        FROM ordered AS o
        WHERE s.seq = o.seq
        RETURNING s.*
    )
    SELECT json_agg(json_build_object('id', i.id, 'token', i.token, 'signals', n.signals))
    INTO v_news
    FROM _df.instances AS i
    JOIN (SELECT s.instance_id,
                 json_agg(json_build_array(
                     s.seq, s.pos, s.name, CASE WHEN length(s.data) <= 2048 THEN s.data END) ORDER BY s.pos) AS signals
          FROM numbered AS s
          GROUP BY s.instance_id) AS n ON n.instance_id = i.id;
    RETURN v_news;
END
$$;
COMMENT ON FUNCTION _df.number(uuid, uuid[]) IS
    'Numbers the new signals of the instances that p_owner has just claimed under these tokens, and returns them. Owner only.';

CREATE FUNCTION _df.read_signal(p_instance text, p_name text, p_after bigint) RETURNS json
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT json_build_array(s.seq, s.pos, s.name, s.data)
            FROM _df.signals AS s
            WHERE s.instance_id = p_instance AND s.name = p_name AND s.pos > p_after
            ORDER BY s.pos
            LIMIT 1);
END
$$;
COMMENT ON FUNCTION _df.read_signal(text, text, bigint) IS
    'The oldest signal of a name beyond a position, with its payload; NULL when there is none. Owner only.';

CREATE FUNCTION _df.keep_inbox(p_instance text, p_change json) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp  -- planner settings are the caller's
AS $$
BEGIN
    IF p_change -> 'numbered' IS NOT NULL THEN
        UPDATE _df.signals AS s
        SET pos = (n.pair ->> 1)::bigint
        FROM json_array_elements(p_change -> 'numbered') AS n (pair)
        WHERE s.seq = (n.pair ->> 0)::bigint AND s.instance_id = p_instance AND s.pos IS NULL;
    END IF;
    IF (p_change ->> 'all')::boolean THEN
        DELETE FROM _df.signals AS s WHERE s.instance_id = p_instance;
    ELSIF p_change -> 'gone' IS NOT NULL THEN
        DELETE FROM _df.signals AS s
        USING json_array_elements_text(p_change -> 'gone') AS g (seq)
        WHERE s.seq = g.seq::bigint AND s.instance_id = p_instance;
    END IF;
END
$$;
COMMENT ON FUNCTION _df.keep_inbox(text, json) IS
    'What a checkpoint changes in the inbox, once the token has been checked: numbered [[seq, pos], ...], gone [seq, ...], all: true. Owner only.';

REVOKE EXECUTE ON FUNCTION _df.hear(uuid), _df.rouse(timestamptz), _df.number(uuid, uuid[]),
    _df.read_signal(text, text, bigint), _df.keep_inbox(text, json) FROM PUBLIC;

SELECT _df.close_tables();
