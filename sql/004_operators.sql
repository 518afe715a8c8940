-- 004: the operators of the DSL, on text.
--
-- They live in schema df: an ordinary role may not create operators in pg_catalog, where the reference has them. The
-- proxy writes OPERATOR(df.~>) for ~> in the statements that pass; the tree of a statement is the same either way,
-- because an operator's precedence depends on neither its name nor its schema.
--
--   a ~> b             df.seq             one after the other
--   a |=> 'name'       df.as              names the result of a
--   a & b              df.join            in parallel, wait for both
--   a | b              df.race            in parallel, the first decides
--   c ?> a !> b        df.if              in two halves: ?> makes a partial, !> completes it
--   @> a               df.loop            for ever

CREATE FUNCTION df.as_op(fut text, name text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, df, pg_temp
AS $$
    SELECT df."as"(fut, name)
$$;
COMMENT ON FUNCTION df.as_op(text, text) IS 'Operator |=>: df.as. Pure; caller''s rights.';

CREATE FUNCTION df.if_then_op(condition text, then_branch text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN jsonb_build_object('_partial_if', true, 'condition', condition, 'then_branch', then_branch)::text;
END
$$;
COMMENT ON FUNCTION df.if_then_op(text, text) IS
    'Operator ?>: half of a condition, to be completed by !>. Pure; caller''s rights.';

CREATE FUNCTION df.if_else_op(partial_if text, else_branch text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_partial json := partial_if::json;
BEGIN
    IF json_typeof(v_partial) IS DISTINCT FROM 'object' OR (v_partial ->> '_partial_if') IS NULL THEN
        RAISE EXCEPTION USING
            MESSAGE = 'Invalid if-then-else: left side of !> must be a ?> expression',
            HINT = 'A branch of several steps needs parentheses: condition ?> (step ~> step) !> step.';
    END IF;
    RETURN df."if"(v_partial ->> 'condition', v_partial ->> 'then_branch', else_branch);
END
$$;
COMMENT ON FUNCTION df.if_else_op(text, text) IS
    'Operator !>: completes what ?> began, into df.if. Pure; caller''s rights.';

CREATE FUNCTION df.loop_prefix_op(body text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, df, pg_temp
AS $$
    SELECT df."loop"(body)
$$;
COMMENT ON FUNCTION df.loop_prefix_op(text) IS 'Prefix operator @>: df.loop without a condition. Pure; caller''s rights.';

CREATE OPERATOR df.~>  (LEFTARG = text, RIGHTARG = text, FUNCTION = df.seq);
CREATE OPERATOR df.|=> (LEFTARG = text, RIGHTARG = text, FUNCTION = df.as_op);
CREATE OPERATOR df.&   (LEFTARG = text, RIGHTARG = text, FUNCTION = df."join");
CREATE OPERATOR df.|   (LEFTARG = text, RIGHTARG = text, FUNCTION = df.race);
CREATE OPERATOR df.?>  (LEFTARG = text, RIGHTARG = text, FUNCTION = df.if_then_op);
CREATE OPERATOR df.!>  (LEFTARG = text, RIGHTARG = text, FUNCTION = df.if_else_op);
CREATE OPERATOR df.@>  (RIGHTARG = text, FUNCTION = df.loop_prefix_op);

COMMENT ON OPERATOR df.~>  (text, text) IS 'then';
COMMENT ON OPERATOR df.|=> (text, text) IS 'name the result';
COMMENT ON OPERATOR df.&   (text, text) IS 'in parallel, all';
COMMENT ON OPERATOR df.|   (text, text) IS 'in parallel, first';
COMMENT ON OPERATOR df.?>  (text, text) IS 'if … then';
COMMENT ON OPERATOR df.!>  (text, text) IS 'else';
COMMENT ON OPERATOR df.@>  (NONE, text) IS 'loop';
