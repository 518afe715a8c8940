-- Body of the DO block that a CREATE EXTENSION pg_durable becomes in another database than the control database.
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'XX000',
        MESSAGE = 'pg_durable extension must be created in database "' OPERATOR(pg_catalog.||) {{database}}
                  OPERATOR(pg_catalog.||) '" (currently in "' OPERATOR(pg_catalog.||) pg_catalog.current_database()::pg_catalog.text
                  OPERATOR(pg_catalog.||) '"). The background worker only processes functions in the database specified by the pg_durable.database GUC (defaults to "postgres").',
        HINT = 'Connect to the correct database and run: CREATE EXTENSION pg_durable;';
END
