-- 011: credentials that were captured at logins, sealed with a key that is not in the database.
--
-- One row per role and upstream (the servers as the proxy's configuration names them). A row opens only under the key
-- named in it and only for its own role and upstream (associated data of AES-256-GCM). Rows are written by proxies when
-- a login has brought something new, and by `pg-durable-proxy rekey`.

CREATE TABLE _df.credentials (
    role        text        NOT NULL,  -- the name: what a login gives
    upstream    text        NOT NULL,
    key_id      text        NOT NULL,  -- follows from the key and says nothing about it
    nonce       bytea       NOT NULL,  -- new at each write: another nonce is another credential
    ciphertext  bytea       NOT NULL,  -- with the authentication tag
    captured_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    CONSTRAINT credentials_pkey PRIMARY KEY (role, upstream)
);
COMMENT ON TABLE _df.credentials IS
    'What proxies log in with as the roles that submit work; sealed. Owner only.';

SELECT _df.close_tables();
