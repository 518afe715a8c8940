-- 007: workflow variables. Each role has its own; df.start captures those of the starter.

CREATE FUNCTION _df.refuse_in_workflow(p_helper text, p_advice text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('df.in_workflow', true) = 'true' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'XX000',
            MESSAGE = p_helper || '() cannot be called inside a workflow - ' || p_advice;
    END IF;
END
$$;
COMMENT ON FUNCTION _df.refuse_in_workflow(text, text) IS 'Raises in a session that runs a workflow step. Anybody.';

CREATE FUNCTION _df.mark_helper(p_helper text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('df.non_future_helper', p_helper || E'\n' || statement_timestamp(), true);
END
$$;
COMMENT ON FUNCTION _df.mark_helper(text) IS
    'Notes that a function that is no step ran in this statement, so that builders can refuse its answer as a step. Anybody.';

CREATE FUNCTION df.setvar(name text, value text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_name  text := name;
    v_value text := value;
BEGIN
    PERFORM _df.refuse_in_workflow('df.setvar', 'set variables before starting the workflow');
    PERFORM _df.mark_helper('df.setvar');
    INSERT INTO df.vars (owner, name, value)
    VALUES (quote_ident(current_user)::regrole, v_name, v_value)
    ON CONFLICT (owner, name) DO UPDATE SET value = excluded.value;
    RETURN 'OK';
END
$$;
COMMENT ON FUNCTION df.setvar(text, text) IS 'Sets a variable of the calling role. Caller''s rights; not in a workflow.';

CREATE FUNCTION df.getvar(name text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT v.value
            FROM df.vars AS v
            WHERE v.owner = quote_ident(current_user)::regrole AND v.name = getvar.name);
END
$$;
COMMENT ON FUNCTION df.getvar(text) IS 'A variable of the calling role, NULL when it is not set. Caller''s rights.';

CREATE FUNCTION df.unsetvar(name text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM _df.refuse_in_workflow('df.unsetvar', 'manage variables before starting the workflow');
    PERFORM _df.mark_helper('df.unsetvar');
    DELETE FROM df.vars AS v
    WHERE v.owner = quote_ident(current_user)::regrole AND v.name = unsetvar.name;
    RETURN 'OK';
END
$$;
COMMENT ON FUNCTION df.unsetvar(text) IS
    'Removes a variable of the calling role. Caller''s rights; not in a workflow.';

CREATE FUNCTION df.clearvars() RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM _df.refuse_in_workflow('df.clearvars', 'manage variables before starting the workflow');
    PERFORM _df.mark_helper('df.clearvars');
    DELETE FROM df.vars AS v WHERE v.owner = quote_ident(current_user)::regrole;
    RETURN 'OK';
END
$$;
COMMENT ON FUNCTION df.clearvars() IS
    'Removes all variables of the calling role. Caller''s rights; not in a workflow.';
