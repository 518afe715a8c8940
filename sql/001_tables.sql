-- 001: schemas and tables.
--
-- The way of a durable function through these tables
--
--   df.instances     one row per started function; written by df.start with the caller's rights. What users see.
--   df.nodes         one row per node of its graph, with status and result. What users see.
--   df.vars          workflow variables, per role.
--   _df.instances    the engine's half of an instance: who may run it and when, the lease, the graph as it was when
--                    first picked up, the captured variables, the exact output. Created by a trigger in the caller's
--                    transaction, so a rolled-back start never was.
--   _df.journal      what has been done: one row per leaf node, timer, loop and decided race, valid while its stamp
--                    is the current one of its scope. To continue an instance is to walk its graph past these rows.
--   _df.signals      the inbox of signals; one that no executor has seen wakes its instance.
--   _df.executions   finished generations of root loops.
--   _df.executors    the proxies that are alive. A lease is the executor's: extending it is one row for everything
--                    it holds. An executor whose row has expired loses its instances to the others.
--   _df.settings     settings of the proxy that SQL functions need to know.
--   _df.clock        the offset of the engine's clock; zero but in tests.
--
-- States of an _df.instances row
--
--   runnable   wake_at set, owner NULL            any executor may claim it once wake_at has come
--   held       wake_at NULL, owner and token set  that executor runs it; only the token can write checkpoints
--   parked     wake_at NULL, owner NULL           waits for a signal and for no time; the signal makes it runnable
--   waiting    wake_at NULL or set, waiting set   something outside is missing (a credential); visible in df.explain
--   finished   wake_at NULL, finished_at set      completed, failed or cancelled; never claimed again
--
-- Everything belongs to the role that installs it, which needs CREATE on the database and nothing more.

CREATE SCHEMA df;
CREATE SCHEMA IF NOT EXISTS _df;  -- the migration runner has made it for its own table

COMMENT ON SCHEMA df  IS 'Durable functions: what users call and see. Rights are given with df.grant_usage.';
COMMENT ON SCHEMA _df IS 'Durable functions: the state of the engine. Not for use by hand.';

GRANT USAGE ON SCHEMA _df TO PUBLIC;  -- functions in it are guarded one by one; its tables are not readable

-- Functions can be called by everybody but where this is taken back, also where the owner's default privileges say
-- otherwise: USAGE on df is the gate.
ALTER DEFAULT PRIVILEGES IN SCHEMA df, _df GRANT EXECUTE ON FUNCTIONS TO PUBLIC;

-- ---------------------------------------------------------------------------------------------------------------
-- df.instances
-- ---------------------------------------------------------------------------------------------------------------
CREATE TABLE df.instances (
    id           varchar(8)  NOT NULL,
    label        text,
    root_node    varchar(8)  NOT NULL,
    status       text        DEFAULT 'pending',
    submitted_by regrole     NOT NULL,
    database     text,
    created_at   timestamptz DEFAULT pg_catalog.now(),
    updated_at   timestamptz DEFAULT pg_catalog.now(),
    completed_at timestamptz,
    CONSTRAINT instances_pkey PRIMARY KEY (id),
    CONSTRAINT instances_identity_key UNIQUE (id, submitted_by)
) WITH (fillfactor = 80);

COMMENT ON TABLE df.instances IS
    'Durable functions that were started, one row each. A role sees its own; df.start makes them, df.cancel ends them.';

CREATE INDEX idx_instances_status     ON df.instances (status, created_at DESC, id);
CREATE INDEX idx_instances_created_at ON df.instances (created_at DESC, id);
CREATE INDEX idx_instances_submitted_by ON df.instances (submitted_by, created_at DESC, id);  -- a role's own lists
CREATE INDEX idx_instances_label      ON df.instances (label, created_at DESC, id) WHERE label IS NOT NULL;

ALTER TABLE df.instances
    ADD CONSTRAINT instances_id_format_chk
        CHECK (id OPERATOR(pg_catalog.~) '^[0-9a-f]{8}$') NOT VALID,
    ADD CONSTRAINT instances_root_node_format_chk
        CHECK (root_node OPERATOR(pg_catalog.~) '^[0-9a-f]{8}$') NOT VALID,
    ADD CONSTRAINT instances_status_chk
        CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')) NOT VALID;

-- ---------------------------------------------------------------------------------------------------------------
-- df.nodes
-- ---------------------------------------------------------------------------------------------------------------
CREATE TABLE df.nodes (
    id             varchar(8)  NOT NULL,
    instance_id    varchar(8)  NOT NULL,
    node_type      text        NOT NULL,
    query          text,
    result_name    text,
    left_node      varchar(8),
    right_node     varchar(8),
    status         text        DEFAULT 'pending',
    result         jsonb,
    error          text,
    submitted_by   regrole,
    database       text,
    created_at     timestamptz DEFAULT pg_catalog.now(),
    updated_at     timestamptz DEFAULT pg_catalog.now(),
    status_details jsonb,
    CONSTRAINT nodes_pkey PRIMARY KEY (instance_id, id)
) WITH (fillfactor = 60);  -- every row is updated once or more: leave room for it in the page

COMMENT ON TABLE df.nodes IS
    'Steps of the instances, with status, result and error. A role sees its own; better read with df.instance_nodes.';

CREATE INDEX idx_nodes_instance ON df.nodes (instance_id);

-- Every statement that writes here reads these expressions anew from their stored form: they are kept short, a pattern
-- instead of a list of values.
ALTER TABLE df.nodes
    ADD CONSTRAINT nodes_instance_id_present_chk  CHECK (instance_id IS NOT NULL) NOT VALID,
    ADD CONSTRAINT nodes_submitted_by_present_chk CHECK (submitted_by IS NOT NULL) NOT VALID,
    ADD CONSTRAINT nodes_id_format_chk
        CHECK (id OPERATOR(pg_catalog.~) '^[0-9a-f]{8}$') NOT VALID,
    ADD CONSTRAINT nodes_instance_id_format_chk
        CHECK (instance_id OPERATOR(pg_catalog.~) '^[0-9a-f]{8}$') NOT VALID,
    ADD CONSTRAINT nodes_left_node_format_chk
        CHECK (left_node IS NULL OR left_node OPERATOR(pg_catalog.~) '^[0-9a-f]{8}$') NOT VALID,
    ADD CONSTRAINT nodes_right_node_format_chk
        CHECK (right_node IS NULL OR right_node OPERATOR(pg_catalog.~) '^[0-9a-f]{8}$') NOT VALID,
    ADD CONSTRAINT nodes_node_type_chk
        CHECK (node_type OPERATOR(pg_catalog.~)
               '^(SQL|THEN|IF|JOIN|LOOP|BREAK|RACE|SLEEP|WAIT_SCHEDULE|HTTP|HTTP_MULTIPART|SIGNAL)$') NOT VALID,
    ADD CONSTRAINT nodes_result_name_chk
        CHECK (result_name IS NULL OR result_name OPERATOR(pg_catalog.~) '^[A-Za-z_][A-Za-z0-9_]*$') NOT VALID,
    ADD CONSTRAINT nodes_status_chk
        CHECK (status OPERATOR(pg_catalog.~) '^(pending|running|completed|failed)$') NOT VALID,
    ADD CONSTRAINT nodes_result_status_chk
        CHECK (result IS NULL OR status OPERATOR(pg_catalog.~) '^(completed|failed)$') NOT VALID,
    ADD CONSTRAINT nodes_structure_chk
        CHECK (CASE
                   WHEN left_node IS NULL AND right_node IS NOT NULL THEN false
                   WHEN left_node IS NULL  THEN query IS NOT NULL AND node_type OPERATOR(pg_catalog.~)
                                                '^(SQL|SLEEP|WAIT_SCHEDULE|BREAK|HTTP|HTTP_MULTIPART|SIGNAL)$'
                   WHEN right_node IS NULL THEN node_type OPERATOR(pg_catalog.=) 'LOOP'
                   WHEN query IS NULL      THEN node_type OPERATOR(pg_catalog.~) '^(THEN|RACE|JOIN)$'
                   ELSE                         node_type OPERATOR(pg_catalog.~) '^(IF|JOIN)$'
               END) NOT VALID,
    ADD CONSTRAINT nodes_instance_identity_fkey
        FOREIGN KEY (instance_id, submitted_by) REFERENCES df.instances (id, submitted_by)
        DEFERRABLE INITIALLY DEFERRED NOT VALID,
    ADD CONSTRAINT nodes_left_node_same_instance_fkey
        FOREIGN KEY (instance_id, left_node) REFERENCES df.nodes (instance_id, id)
        DEFERRABLE INITIALLY DEFERRED NOT VALID,
    ADD CONSTRAINT nodes_right_node_same_instance_fkey
        FOREIGN KEY (instance_id, right_node) REFERENCES df.nodes (instance_id, id)
        DEFERRABLE INITIALLY DEFERRED NOT VALID;

ALTER TABLE df.instances
    ADD CONSTRAINT instances_root_node_same_instance_fkey
        FOREIGN KEY (id, root_node) REFERENCES df.nodes (instance_id, id)
        DEFERRABLE INITIALLY DEFERRED NOT VALID;

-- ---------------------------------------------------------------------------------------------------------------
-- df.vars, df._worker_epoch
-- ---------------------------------------------------------------------------------------------------------------
CREATE TABLE df.vars (
    name  text    NOT NULL,
    value text,
    owner regrole NOT NULL DEFAULT pg_catalog.quote_ident(current_user)::regrole,
    CONSTRAINT vars_pkey PRIMARY KEY (owner, name)
);

COMMENT ON TABLE df.vars IS
    'Workflow variables, per role: df.setvar, df.getvar, df.unsetvar. A start captures those of its role.';

CREATE TABLE df._worker_epoch (
    epoch_id     uuid        PRIMARY KEY,
    started_at   timestamptz DEFAULT pg_catalog.now(),
    last_seen_at timestamptz DEFAULT pg_catalog.now()
);

COMMENT ON TABLE df._worker_epoch IS
    'One row. last_seen_at advances every few seconds as long as a proxy lives.';

-- ---------------------------------------------------------------------------------------------------------------
-- Row-level security: a role sees its own; the owner of the tables, superusers and BYPASSRLS see everything
-- ---------------------------------------------------------------------------------------------------------------
ALTER TABLE df.instances ENABLE ROW LEVEL SECURITY;
ALTER TABLE df.nodes     ENABLE ROW LEVEL SECURITY;
ALTER TABLE df.vars      ENABLE ROW LEVEL SECURITY;

CREATE POLICY instances_user_isolation ON df.instances FOR ALL
    USING      (submitted_by OPERATOR(pg_catalog.=) pg_catalog.quote_ident(current_user)::regrole)
    WITH CHECK (submitted_by OPERATOR(pg_catalog.=) pg_catalog.quote_ident(current_user)::regrole);

CREATE POLICY nodes_user_isolation ON df.nodes FOR ALL
    USING      (submitted_by OPERATOR(pg_catalog.=) pg_catalog.quote_ident(current_user)::regrole)
    WITH CHECK (submitted_by OPERATOR(pg_catalog.=) pg_catalog.quote_ident(current_user)::regrole);

CREATE POLICY vars_user_isolation ON df.vars FOR ALL
    USING      (owner OPERATOR(pg_catalog.=) pg_catalog.quote_ident(current_user)::regrole)
    WITH CHECK (owner OPERATOR(pg_catalog.=) pg_catalog.quote_ident(current_user)::regrole);

-- ---------------------------------------------------------------------------------------------------------------
-- _df: private to the owner
-- ---------------------------------------------------------------------------------------------------------------
CREATE TABLE _df._worker_ready (
    sentinel       boolean     PRIMARY KEY DEFAULT true CHECK (sentinel),
    schema_version int         NOT NULL,
    initialized_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
GRANT SELECT ON _df._worker_ready TO PUBLIC;

CREATE TABLE _df.executors (
    id          uuid        PRIMARY KEY,
    started_at  timestamptz NOT NULL,
    lease_until timestamptz NOT NULL
);

CREATE TABLE _df.instances (
    id          varchar(8)  PRIMARY KEY,
    role        oid         NOT NULL,  -- of the submitter; read again from df.instances at the first claim, then fixed
    database    text,                  -- NULL: the control database
    label       text,
    vars        json        NOT NULL,  -- captured at the start: {"name": "value"}
    graph       json,                  -- NULL until the first claim, immutable after it
    wake_at     timestamptz,           -- when it may be claimed
    owner       uuid,                  -- the executor that holds it
    token       uuid,                  -- fencing token of the lease: 128 random bits, new at each claim
    generation  int         NOT NULL DEFAULT 1,  -- execution number of a root loop
    attempts    int         NOT NULL DEFAULT 0,  -- times in a row that the connection was lost while a step ran
    waiting     text,                  -- what it waits for from outside
    cancel_xid  xid8,                  -- the transaction that cancelled it
    output      text,                  -- exact text: result, error, or 'canceled: reason'
    events      bigint      NOT NULL DEFAULT 0,
    started_at  timestamptz NOT NULL,  -- of the current generation
    finished_at timestamptz
) WITH (fillfactor = 70);

CREATE INDEX instances_wake_at ON _df.instances (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX instances_role_wake_at ON _df.instances (role, wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX instances_owner   ON _df.instances (owner)   WHERE owner IS NOT NULL;
CREATE INDEX instances_waiting ON _df.instances (role)    WHERE waiting IS NOT NULL;

CREATE TABLE _df.journal (
    instance_id varchar(8) NOT NULL,
    node_id     varchar(8) NOT NULL,
    stamp       text       NOT NULL,  -- <scope>::<generation>: the row counts only while this is its scope's current one
    kind        "char"     NOT NULL,  -- c completed, f failed, t timer, l loop, w race decided
    value       text,                 -- c: result; f: error; l: state of the loop so far; w: number of the branch that won
    columns     text,                 -- c: names and types of the columns of an empty result, where they are needed
    due         timestamptz,          -- t, l: nothing goes on before this; t of a SIGNAL: when it times out, NULL for never
    pos         bigint,               -- c of a SIGNAL: position of the signal that it has taken
    CONSTRAINT journal_pkey PRIMARY KEY (instance_id, node_id)
) WITH (fillfactor = 80);

CREATE TABLE _df.executions (
    instance_id  varchar(8)  NOT NULL,
    execution_id bigint      NOT NULL,
    started_at   timestamptz NOT NULL,
    ended_at     timestamptz NOT NULL,
    events       bigint      NOT NULL,
    output       text,
    CONSTRAINT executions_pkey PRIMARY KEY (instance_id, execution_id)
);

CREATE TABLE _df.settings (
    name  text PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE _df.clock (
    one   boolean  PRIMARY KEY DEFAULT true CHECK (one),
    shift interval NOT NULL DEFAULT '0'
);
INSERT INTO _df.clock DEFAULT VALUES;
