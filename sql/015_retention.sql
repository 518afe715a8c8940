-- 015: retention. Finished instances do not stay for ever: what is older than retention_days, and what is beyond the
-- newest 10 000 of them, goes with its nodes and the engine's half.
--
--   _df.begin_pass   one executor at a time makes a pass, and once in reconcile_interval, however many there are
--   _df.outdated     the ids of what is to go, found in one scan: passes are rare, and an index would be paid for by
--                    the end of every instance
--   _df.remove       some of them, in a transaction of its own
--
-- The age is that of completed_at, else of created_at: users can write neither.

CREATE TABLE _df.retention (
    one      boolean     PRIMARY KEY DEFAULT true CHECK (one),
    begun_at timestamptz NOT NULL  -- of the last pass
);

CREATE FUNCTION _df.begin_pass(p_interval float8) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now timestamptz := _df.now();
BEGIN
    INSERT INTO _df.retention AS r (begun_at) VALUES (v_now)
    ON CONFLICT (one) DO UPDATE SET begun_at = excluded.begun_at
    -- or the clock was put back
    WHERE r.begun_at <= v_now - p_interval * interval '1 second' OR r.begun_at > v_now;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION _df.begin_pass(float8) IS
    'Whether the last pass began p_interval seconds ago or earlier; then one begins now. Owner only.';

CREATE FUNCTION _df.outdated(p_days int, p_keep int, p_limit int) RETURNS text[]
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    v_before timestamptz := _df.now() - p_days * interval '1 day';
    v_at     timestamptz;
    v_id     text;
BEGIN
    -- the first beyond those that are kept
    SELECT coalesce(u.completed_at, u.created_at, '-infinity'), u.id INTO v_at, v_id
    FROM df.instances AS u
    WHERE u.status IN ('completed', 'failed', 'cancelled')
    ORDER BY coalesce(u.completed_at, u.created_at, '-infinity') DESC, u.id
    OFFSET p_keep LIMIT 1;

    RETURN ARRAY(
        SELECT u.id::text
        FROM df.instances AS u
        WHERE u.status IN ('completed', 'failed', 'cancelled')
          AND (coalesce(u.completed_at, u.created_at) < v_before
               OR coalesce(u.completed_at, u.created_at, '-infinity') < v_at
               OR coalesce(u.completed_at, u.created_at, '-infinity') = v_at AND u.id >= v_id)
          -- a status can be written by hand: what the engine has not ended stays
          AND NOT EXISTS (SELECT FROM _df.instances AS i WHERE i.id = u.id AND i.finished_at IS NULL)
        LIMIT p_limit);
END
$$;
COMMENT ON FUNCTION _df.outdated(int, int, int) IS
    'Finished instances that are older than so many days, or beyond the newest p_keep; at most p_limit of them. Owner only.';

CREATE FUNCTION _df.remove(p_ids text[], p_rows int, OUT done int, OUT removed int)
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off  -- plans are made while the tables are small, and kept
    SET jit = off
    SET plan_cache_mode = force_generic_plan
    SET lock_timeout = '50ms'
AS $$
DECLARE
    v_id    text;
    v_rows  bigint := 0;
    v_count bigint;
BEGIN
    done := 0;
    removed := 0;
    FOREACH v_id IN ARRAY p_ids LOOP
        EXIT WHEN v_rows >= p_rows;
        done := done + 1;
        -- what somebody has locked comes with a later pass
        PERFORM FROM df.instances AS u
        WHERE u.id = v_id AND u.status IN ('completed', 'failed', 'cancelled')
        FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        BEGIN
            DELETE FROM df.nodes AS n WHERE n.instance_id = v_id;
            GET DIAGNOSTICS v_count = ROW_COUNT;
            v_rows := v_rows + v_count + 1;
            DELETE FROM df.instances AS u WHERE u.id = v_id;
            removed := removed + 1;
        EXCEPTION
            WHEN lock_not_available THEN
                NULL;  -- a node that somebody refers to in a transaction that is open
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION _df.remove(text[], int) IS
    'Removes finished instances with all that belongs to them, in their order, until about p_rows rows of instances and nodes are gone; done: ids it has dealt with. Owner only.';

REVOKE EXECUTE ON FUNCTION _df.begin_pass(float8), _df.outdated(int, int, int), _df.remove(text[], int) FROM PUBLIC;

SELECT _df.close_tables();
