-- 012: waiting for the end of an instance in the caller's session.
--
-- It is seen in df.instances, by one snapshot after the other. Two ends can never be seen, and waiting for them would be
-- in vain: in a transaction whose snapshot stays the same, and of an instance that this very transaction has started.

CREATE FUNCTION df.await_instance(instance_id text, timeout_seconds integer DEFAULT 30) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_id     text := await_instance.instance_id;
    v_since  timestamptz := clock_timestamp();
    v_status text;
    v_xmin   bigint;
    v_next   bigint;
    v_waited interval;
    v_text   text;
BEGIN
    PERFORM _df.refuse_in_workflow(
        'df.await_instance',
        'it would block a worker thread (and self-deadlock if waiting on the current instance). Use df.signal() and df.wait_for_signal() for cross-workflow coordination.');
    PERFORM _df.mark_helper('df.await_instance');
    IF timeout_seconds <= 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'Timeout must be positive';
    END IF;

    LOOP
        SELECT u.status, u.xmin::text::bigint INTO v_status, v_xmin FROM df.instances AS u WHERE u.id = v_id;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = '22000', MESSAGE = 'Instance not found: ' || v_id;
        ELSIF v_status NOT IN ('pending', 'running') THEN
            RETURN v_status;
        END IF;

        IF v_waited IS NULL THEN
            -- a row that is seen although the transaction that wrote it goes on: it is this one's
            v_next := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
            v_xmin := v_next + (v_xmin - v_next % 4294967296 + 6442450944) % 4294967296 - 2147483648;
            IF pg_xact_status(v_xmin::text::xid8) = 'in progress' THEN
                EXIT;  -- and v_waited stays NULL
            ELSIF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
                RAISE EXCEPTION USING
                    ERRCODE = '0A000',
                    MESSAGE = 'df.await_instance() cannot see the end of an instance in a '
                              || upper(current_setting('transaction_isolation')) || ' transaction',
                    DETAIL = 'Instance ' || v_id || ' is ' || v_status || ' in the snapshot of this transaction, which stays as it is.',
                    HINT = 'Wait in a READ COMMITTED transaction.';
            END IF;
        END IF;

        v_waited := clock_timestamp() - v_since;
        EXIT WHEN v_waited >= timeout_seconds * interval '1 second';
        -- a tenth of the time that it has taken so far
        PERFORM pg_sleep(least(greatest(extract(epoch FROM v_waited) / 10, 0.002), 0.1,
                               extract(epoch FROM timeout_seconds * interval '1 second' - v_waited)));
    END LOOP;

    v_text := 'Timeout after ' || timeout_seconds || 's waiting for instance ' || v_id || ' (status: ' || v_status
              || '). Check if background worker is running.';
    IF v_waited IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = '22000',
            MESSAGE = v_text,
            DETAIL = 'The instance was started or changed by this transaction, and cannot go on before that is committed.',
            HINT = 'Commit first, then wait.';
    END IF;
    RAISE EXCEPTION USING ERRCODE = '22000', MESSAGE = v_text;
END
$$;
COMMENT ON FUNCTION df.await_instance(text, integer) IS
    'Waits for the end of an instance, at most for a number of seconds, 1 and more: completed, failed or cancelled. Caller''s rights; not in a workflow, nor under REPEATABLE READ and SERIALIZABLE.';

CREATE FUNCTION df.wait_for_completion(instance_id text, timeout_seconds integer DEFAULT 30) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE WARNING 'df.wait_for_completion() is deprecated; use df.await_instance() instead';
    RETURN df.await_instance(instance_id, timeout_seconds);
END
$$;
COMMENT ON FUNCTION df.wait_for_completion(text, integer) IS
    'Deprecated: df.await_instance under its old name. Caller''s rights.';
