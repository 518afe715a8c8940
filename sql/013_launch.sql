-- 013: work that leaves the caller's transaction.
--
-- What is asked for here is done by a proxy, on a connection of its own, and committed whatever becomes of the caller's
-- transaction. The caller may be anywhere in server-side code (a DO block, a trigger), in any isolation level, also
-- read-only; he waits, and gets an answer or an error that he can catch.
--
--   _df.launch         asks, waits, and gives the answer                                     caller
--   _df.launch_seal    (view) who asks: the proof that the caller is who he says he is       caller
--   _df.launch_take    is the request genuine, and does its caller still wait?               proxy, admin role
--   _df.launch_slot    one of the slots for launches, if one is free                         proxy, admin role
--   _df.launch_wanted  in the launched transaction, before it commits: does he still wait?   proxy, as the caller's role
--   _df.launch_answer  gives the answer                                                      proxy, admin role
--   _df.launch_read    reads it                                                              caller
--   _df.launch_settle  takes answers back that have been read                                proxy, admin role
--
-- The way there is an INFO message with the private SQLSTATE DF100: it goes to the client at once and whatever
-- client_min_messages says. The proxy on the way takes it out of the stream; the client never sees it.
--
-- The way back are advisory locks: of all that two sessions share, they alone can be seen in every isolation level, by
-- everybody, at once, and are gone with the session that holds them. Of one request there are
--
--   waiting  held by the caller, exclusive, as long as he waits. Its key is random.
--   turn     held by the proxy, exclusive, while it works. The caller blocks on it: no polling, and no waiting for
--            a proxy that has died.
--   heard    held by the proxy, exclusive, from the taking of the request until its answer has been read.
--   answer   one shared lock for every two bytes of the answer, under a class of the request's own. pg_locks can be
--            read by everybody, so the bytes are covered, and sealed so that nobody else can answer.
--
-- The keys of all but the first follow from the seal of the request, which only the caller and the proxy have seen (the
-- locks show somewhat more than half of it; what covers and seals the answer depends on all).
--
-- Who asks. Anybody can RAISE an INFO with that SQLSTATE, so nothing in it counts but what is proven. The seal is a MAC
-- under a key that only the owner of the schema can read. It is computed by a view: within a view, tables are read with
-- the rights of its owner, while current_user is whoever asks: after SET ROLE the role, in a SECURITY DEFINER function
-- its definer. So a seal for a role can be had by exactly that code which runs as the role, and which could call
-- df.start anyhow. It covers the role's OID, the process id of the caller's session, the key of `waiting` (the
-- nonce), the time, the kind of the request and a digest of its content. The proxy takes a request only if the seal is
-- right, it is not older than a minute, and `waiting` is held by that very process: a copy of another session's request
-- is worth nothing, and neither is an old one of the same session. The work is then done in a session that is logged in
-- as the role, with its rights as they are then.
--
-- A key of seals counts for a day and is replaced every hour while a proxy lives: a dump holds those of its time, and must
-- not be worth more than what it shows. A snapshot that is older than a day has only keys that count no more: its requests
-- are not heard.
--
-- Either it happened or it did not: the launched transaction looks at `waiting` as its last act. A caller who has given
-- up, was cancelled or is gone has nothing started behind his back. Between that look and the end of COMMIT he may give
-- up nevertheless; then it has happened, as with any COMMIT whose answer is not waited for.
--
-- (1146504275, 3) is held, shared, by each proxy that can be asked: where nobody holds it, there is no use in waiting.

CREATE TABLE _df.launch_key (
    key     bytea       PRIMARY KEY,
    made_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE _df.launch_key IS 'The keys of the seals on requests: 256 bits each. The newest seals, all open. Owner only.';

CREATE FUNCTION _df.launch_renew() RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM _df.launch_key AS k WHERE k.made_at < clock_timestamp() - interval '25 hours';
    INSERT INTO _df.launch_key (key)
    SELECT sha256(convert_to(concat(gen_random_uuid(), gen_random_uuid(), gen_random_uuid()), 'UTF8'))
    WHERE NOT EXISTS (SELECT FROM _df.launch_key AS k WHERE k.made_at > clock_timestamp() - interval '1 hour');
END
$$;
COMMENT ON FUNCTION _df.launch_renew() IS 'A new key of seals if the newest is an hour old; those of the day before go. Owner only.';
REVOKE EXECUTE ON FUNCTION _df.launch_renew() FROM PUBLIC;
SELECT _df.launch_renew();

-- A MAC: SHA-256 over the key and the SHA-256 over the key and the text. The inner hash makes it safe to extend the text.
CREATE VIEW _df.launch_seal WITH (security_barrier) AS
SELECT a.role, a.pid,
       pg_catalog.encode(
           pg_catalog.sha256(k.key OPERATOR(pg_catalog.||) pg_catalog.sha256(k.key OPERATOR(pg_catalog.||)
               pg_catalog.convert_to(
                   pg_catalog.concat_ws(' ', 'request', a.role, a.pid, pg_catalog.current_setting('df.launch', true)),
                   'UTF8'))),
           'hex') AS seal
FROM (SELECT x.key FROM _df.launch_key AS x ORDER BY x.made_at DESC LIMIT 1) AS k
CROSS JOIN (SELECT pg_catalog.quote_ident(current_user)::pg_catalog.regrole::pg_catalog.oid AS role,
                   pg_catalog.pg_backend_pid() AS pid) AS a;
COMMENT ON VIEW _df.launch_seal IS
    'The seal on the request that stands in the setting df.launch, for current_user of who reads the view, in his session. Anybody: it is the proof of who he is, and of nobody else.';
GRANT SELECT ON _df.launch_seal TO PUBLIC;

-- The seal of a request is the key of its answer.
CREATE FUNCTION _df.launch_mac(p_seal text, p_bytes bytea) RETURNS bytea
    LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT sha256(convert_to(p_seal, 'UTF8') || sha256(convert_to(p_seal, 'UTF8') || p_bytes))
$$;
COMMENT ON FUNCTION _df.launch_mac(text, bytea) IS 'A MAC under the seal of a request. Owner only.';

CREATE FUNCTION _df.launch_keys(p_seal text, OUT heard bigint, OUT turn bigint, OUT answer int)
    LANGUAGE sql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ('x0' || substr(p_seal, 1, 15))::bit(64)::bigint,
           ('x0' || substr(p_seal, 17, 15))::bit(64)::bigint,
           ('x' || substr(p_seal, 33, 8))::bit(32)::int & 2147483647
$$;
COMMENT ON FUNCTION _df.launch_keys(text) IS
    'The keys of the advisory locks of a request: heard and turn, and the class of its answer. Anybody who knows the seal.';

-- What covers an answer: as many bytes as are wanted that nobody can foresee who does not have the seal.
CREATE FUNCTION _df.launch_cover(p_seal text, p_length int) RETURNS bytea
    LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(_df.launch_mac(p_seal, convert_to('cover ' || n, 'UTF8')), '' ORDER BY n)
    FROM generate_series(0, p_length / 32) AS n
$$;
COMMENT ON FUNCTION _df.launch_cover(text, int) IS 'At least p_length bytes that cover the answer to a request. Owner only.';

-- ---------------------------------------------------------------------------------------------------------------
-- The proxy's side: on one session of the admin role, which holds the locks
-- ---------------------------------------------------------------------------------------------------------------
CREATE FUNCTION _df.launch_slot(p_limit int, p_held int[], p_waiting bigint) RETURNS int
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_try_advisory_xact_lock_shared(p_waiting) THEN
        RETURN -2;
    END IF;
    FOR n IN 0 .. p_limit - 1 LOOP
        -- what this session holds it would get once more
        CONTINUE WHEN n = ANY (p_held);
        IF pg_try_advisory_lock(1346982470, n) THEN
            RETURN n;
        END IF;
    END LOOP;
    RETURN -1;
END
$$;
COMMENT ON FUNCTION _df.launch_slot(int, int[], bigint) IS
    'Takes one of the slots 0 to p_limit - 1 that this session does not hold (p_held) and returns it; -1 if none is free, -2 if the caller no longer waits. Owner only.';

CREATE FUNCTION _df.launch_take(
    p_role   oid,
    p_pid    int,
    p_about  text,
    p_seal   text,
    p_digest text,
    p_limit  int,
    p_held   int[]
) RETURNS json
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_about   text[] := string_to_array(p_about, ' ');  -- kind, waiting, time, digest
    v_waiting bigint;
    v_keys    record;
    v_role    text := (SELECT a.rolname FROM pg_roles AS a WHERE a.oid = p_role);
    v_sealed  bytea := convert_to(concat_ws(' ', 'request', p_role, p_pid, p_about), 'UTF8');
BEGIN
    PERFORM FROM _df.launch_key AS k WHERE encode(sha256(k.key || sha256(k.key || v_sealed)), 'hex') = p_seal;
    IF NOT FOUND OR v_about[4] IS DISTINCT FROM p_digest OR v_role IS NULL THEN
        RETURN json_build_object('state', 'forged');
    ELSIF abs(extract(epoch FROM clock_timestamp()) - v_about[3]::bigint) > 60 THEN
        RETURN json_build_object('state', 'stale');
    END IF;
    -- sealed, so the numbers are numbers
    v_waiting := v_about[2]::bigint;
    v_keys := _df.launch_keys(p_seal);

    -- the caller looks for `heard` now and then, and holds it for that time
    IF NOT pg_try_advisory_lock(v_keys.turn) THEN
        RETURN json_build_object('state', 'busy');
    ELSIF NOT pg_try_advisory_lock(v_keys.heard) THEN
        PERFORM pg_advisory_unlock(v_keys.turn);
        RETURN json_build_object('state', 'busy');
    END IF;
    -- after `heard`: the caller gives up behind it
    PERFORM FROM pg_locks AS l
    WHERE l.locktype = 'advisory'
      AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
      AND l.classid::bigint = v_waiting >> 32
      AND l.objid::bigint = v_waiting & 4294967295
      AND l.objsubid = 1
      AND l.mode = 'ExclusiveLock'
      AND l.granted
      AND l.pid = p_pid;
    IF NOT FOUND THEN
        PERFORM pg_advisory_unlock(v_keys.heard), pg_advisory_unlock(v_keys.turn);
        RETURN json_build_object('state', 'gone');
    END IF;
    RETURN json_build_object('state', 'taken', 'role', v_role, 'kind', v_about[1], 'waiting', v_waiting::text,
                             'slot', _df.launch_slot(p_limit, p_held, v_waiting));
END
$$;
COMMENT ON FUNCTION _df.launch_take(oid, int, text, text, text, int, int[]) IS
    'Takes a request: forged, stale, gone (its caller no longer waits), busy (to be tried again), or taken, with the name of the role and a slot as launch_slot returns it. Owner only.';

CREATE FUNCTION _df.launch_answer(p_seal text, p_text text, p_slot int) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_keys   record := _df.launch_keys(p_seal);
    v_bytes  bytea := convert_to(p_text, 'UTF8');
    v_cover  bytea;
    v_length int;
BEGIN
    v_bytes := substr(_df.launch_mac(p_seal, convert_to('answer ', 'UTF8') || v_bytes), 1, 8) || v_bytes;
    v_length := length(v_bytes);
    v_cover := _df.launch_cover(p_seal, v_length + 2);
    v_bytes := v_bytes || E'\\x00';
    PERFORM pg_try_advisory_lock_shared(v_keys.answer, v_length);
    FOR n IN 1 .. (v_length + 1) / 2 LOOP
        PERFORM pg_try_advisory_lock_shared(v_keys.answer,
            n * 65536
            + ((get_byte(v_bytes, 2 * n - 2) # get_byte(v_cover, 2 * n - 2)) * 256)
            + (get_byte(v_bytes, 2 * n - 1) # get_byte(v_cover, 2 * n - 1)));
    END LOOP;
    PERFORM pg_advisory_unlock(v_keys.turn);
    IF p_slot >= 0 THEN
        PERFORM pg_advisory_unlock(1346982470, p_slot);
    END IF;
END
$$;
COMMENT ON FUNCTION _df.launch_answer(text, text, int) IS
    'Lets the caller of a request have this answer and gives back the slot, if there is one (-1: none). p_text: at most 2000 bytes. Owner only.';

CREATE FUNCTION _df.launch_settle(p_seals text[], p_waiting bigint[], p_late boolean[]) RETURNS text[]
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_done text[] := '{}';
    v_keys record;
BEGIN
    FOR n IN 1 .. cardinality(p_seals) LOOP
        CONTINUE WHEN NOT p_late[n] AND NOT pg_try_advisory_xact_lock_shared(p_waiting[n]);
        v_keys := _df.launch_keys(p_seals[n]);
        PERFORM pg_advisory_unlock(v_keys.heard);
        PERFORM pg_advisory_unlock_shared(l.classid::bigint::int, l.objid::bigint::int)
        FROM pg_locks AS l
        WHERE l.locktype = 'advisory'
          AND l.pid = pg_backend_pid()
          AND l.classid::bigint = v_keys.answer
          AND l.objsubid = 2
          AND l.mode = 'ShareLock';
        v_done := v_done || p_seals[n];
    END LOOP;
    RETURN v_done;
END
$$;
COMMENT ON FUNCTION _df.launch_settle(text[], bigint[], boolean[]) IS
    'Takes back the answers whose callers have stopped waiting, and those that are late anyway; returns their seals. Owner only.';

REVOKE EXECUTE ON FUNCTION
    _df.launch_mac(text, bytea),
    _df.launch_cover(text, int),
    _df.launch_slot(int, int[], bigint),
    _df.launch_take(oid, int, text, text, text, int, int[]),
    _df.launch_answer(text, text, int),
    _df.launch_settle(text[], bigint[], boolean[])
FROM PUBLIC;

CREATE FUNCTION _df.launch_wanted(p_waiting bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_try_advisory_xact_lock_shared(p_waiting) THEN
        RAISE EXCEPTION 'nobody waits for this any more' USING ERRCODE = 'DF102';
    END IF;
END
$$;
COMMENT ON FUNCTION _df.launch_wanted(bigint) IS
    'Fails with DF102 unless the caller of a request still waits. Run as the last statement of the launched transaction. Anybody; it does nothing else.';

-- ---------------------------------------------------------------------------------------------------------------
-- The caller's side
-- ---------------------------------------------------------------------------------------------------------------
CREATE FUNCTION _df.launch_read(p_seal text) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_keys  record := _df.launch_keys(p_seal);
    v_locks bigint[];
    v_cover bytea;
    v_bytes bytea;
BEGIN
    FOR v_locks IN
        SELECT array_agg(l.objid::bigint ORDER BY l.objid::bigint)
        FROM pg_locks AS l
        WHERE l.locktype = 'advisory'
          AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
          AND l.classid::bigint = v_keys.answer
          AND l.objsubid = 2
          AND l.mode = 'ShareLock'
          AND l.granted
        GROUP BY l.pid
    LOOP
        -- the first lock says how many bytes there are
        CONTINUE WHEN v_locks[1] NOT BETWEEN 8 AND 4096 OR cardinality(v_locks) <> 1 + (v_locks[1] + 1) / 2;
        v_cover := _df.launch_cover(p_seal, v_locks[1]::int + 2);
        SELECT decode(string_agg(
                   lpad(to_hex((l.pair & 65535)::int
                               # (get_byte(v_cover, 2 * (l.n::int - 2)) * 256
                                  + get_byte(v_cover, 2 * (l.n::int - 2) + 1))), 4, '0'), '' ORDER BY l.n), 'hex')
        INTO v_bytes
        FROM unnest(v_locks) WITH ORDINALITY AS l (pair, n)
        WHERE l.n > 1;
        v_bytes := substr(v_bytes, 1, v_locks[1]::int);
        IF substr(_df.launch_mac(p_seal, convert_to('answer ', 'UTF8') || substr(v_bytes, 9)), 1, 8) = substr(v_bytes, 1, 8) THEN
            RETURN convert_from(substr(v_bytes, 9), 'UTF8');
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION _df.launch_read(text) IS
    'The answer to a request, NULL without one. Anybody who knows the seal of the request. With the owner''s rights, which it needs for functions that are nobody else''s.';

CREATE FUNCTION _df.launch(p_what text, p_kind text, p_arguments text[]) RETURNS text
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = 0
AS $$
DECLARE
    v_body    text := encode(convert_to(array_to_json(p_arguments)::text, 'UTF8'), 'base64');
    v_waiting bigint := ('x0' || right(replace(gen_random_uuid()::text, '-', ''), 15))::bit(64)::bigint;
    v_about   text;
    v_until   timestamptz;
    v_unheard boolean := false;
    v_answer  text;
    v_seal    record;
    v_keys    record;
BEGIN
    IF length(v_body) > 16000000 THEN
        RAISE EXCEPTION USING
            ERRCODE = '54000',
            MESSAGE = p_what || ' takes no more than 12 MB',
            HINT = 'Stay in the transaction of the caller, or keep large texts in a table.';
    END IF;
    IF pg_try_advisory_lock(1146504275, 3) THEN
        PERFORM pg_advisory_unlock(1146504275, 3);
        RAISE EXCEPTION USING
            ERRCODE = '55000',
            MESSAGE = p_what || ' needs pg-durable-proxy, and no proxy is connected to this database now',
            HINT = 'Start the proxy and connect through it, or stay in the transaction of the caller.';
    END IF;

    BEGIN
        PERFORM pg_advisory_xact_lock(v_waiting);
        v_about := concat_ws(' ', p_kind, v_waiting, extract(epoch FROM clock_timestamp())::bigint,
                             encode(sha256(convert_to(v_body, 'UTF8')), 'hex'));
        PERFORM set_config('df.launch', v_about, true);
        SELECT s.role, s.pid, s.seal INTO v_seal FROM _df.launch_seal AS s;
        v_keys := _df.launch_keys(v_seal.seal);
        RAISE INFO USING
            ERRCODE = 'DF100',
            MESSAGE = concat_ws(' ', 'pg_durable', v_seal.role, v_seal.pid, v_seal.seal, v_about),
            DETAIL = v_body;

        v_until := clock_timestamp() + interval '2 seconds';
        WHILE pg_try_advisory_lock_shared(v_keys.heard) LOOP
            PERFORM pg_advisory_unlock_shared(v_keys.heard);
            IF clock_timestamp() > v_until AND pg_try_advisory_lock(v_keys.heard) THEN
                v_unheard := true;  -- and it will not be heard any more: held until `waiting` is gone
                EXIT;
            END IF;
            PERFORM pg_sleep(0.001);
        END LOOP;

        IF NOT v_unheard THEN
            -- the proxy gives up in time; this is for one that is stopped, or for somebody else who holds the lock
            PERFORM set_config('lock_timeout',
                               (_df.setting('new_transaction_start_timeout', '5000')::bigint + 120000)::text, true);
            PERFORM pg_advisory_xact_lock_shared(v_keys.turn);
            v_answer := _df.launch_read(v_seal.seal);
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'DF101', MESSAGE = 'the locks of this block are given back';
    EXCEPTION
        WHEN SQLSTATE 'DF101' OR lock_not_available THEN
            NULL;
    END;

    IF v_unheard THEN
        PERFORM pg_advisory_unlock(v_keys.heard);
        RAISE EXCEPTION USING
            ERRCODE = '55000',
            MESSAGE = p_what || ' needs a connection through pg-durable-proxy: no proxy has heard of it on this connection',
            HINT = 'Connect through the proxy, or stay in the transaction of the caller. A client that leaves the rows of its statement unread keeps the proxy from hearing, too.';
    ELSIF v_answer IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = '08006',
            MESSAGE = p_what || ' was taken by pg-durable-proxy, which then was lost: it may have been done or not';
    ELSIF left(v_answer, 1) <> '+' THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = substr(v_answer, 2);
    END IF;
    RETURN substr(v_answer, 2);
END
$$;
COMMENT ON FUNCTION _df.launch(text, text, text[]) IS
    'Has the proxy do something of this kind in a transaction and a session of its own, as current_user, and returns its answer; p_what is the name for messages. Anybody: it can do for nobody what he could not do himself. Caller''s rights.';

CREATE FUNCTION _df.control_leaves() RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN _df.setting('signal_transaction_mode', 'caller') = 'new'
           -- a step is a transaction by itself, and its session has no proxy to ask; and there it is done that way already
           AND current_setting('df.in_workflow', true) IS DISTINCT FROM 'true'
           AND current_setting('df.launched', true) IS DISTINCT FROM 'on';
END
$$;
COMMENT ON FUNCTION _df.control_leaves() IS
    'Whether df.signal and df.cancel leave the caller''s transaction (setting signal_transaction_mode). Anybody.';

SELECT _df.close_tables();
