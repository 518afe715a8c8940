-- df-api, 1.2: df.start(..., transaction_mode => 'new').
CREATE TABLE log (what text);
BEGIN;
SELECT df.start('INSERT INTO log VALUES (''survives'')', 'mine', NULL, 'NEW');
--> starts survives
-- visible to the caller at once under READ COMMITTED
SELECT label FROM df.instances WHERE id = :'survives';
--> prints mine
ROLLBACK;
--> ends completed
SELECT what FROM log;
--> prints survives
-- in a block that catches what it raises, in any isolation level
BEGIN ISOLATION LEVEL SERIALIZABLE;
DO $$ BEGIN
    PERFORM df.start('INSERT INTO log VALUES (''from a block'')', transaction_mode => 'new');
    PERFORM df.start('{"node_type":"NOPE"}', transaction_mode => 'new');
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE '%', SQLERRM;
END $$;
--> says NOTICE df.start() on new transaction failed: error returned from database: Invalid durable function: Unknown node_type 'NOPE'. Valid types: <any>
ROLLBACK;
SELECT count(*) FROM log WHERE what = 'from a block';
--> comes to 1
-- only what is committed is captured
SELECT df.setvar('v', 'committed');
BEGIN;
SELECT df.setvar('v', 'uncommitted');
SELECT df.start('SELECT ''{v}'' AS v', transaction_mode => 'new');
--> starts variables
ROLLBACK;
--> ends completed {"rows": [{"v": "committed"}], "row_count": 1}
-- not inside a workflow
SELECT df.start('SELECT df.start(''SELECT 1'', transaction_mode => ''new'')');
--> starts inside
--> ends failed SQL execution failed: error returned from database: df.start() with transaction_mode => 'new' cannot be called inside a workflow - a df.sql() node already runs as a single autocommitted statement, so a plain df.start() there is already independent of any caller transaction
SELECT df.start('SELECT 1', NULL, 'nowhere', 'new');
--> fails XX000 df.start() on new transaction failed: error returned from database: database "nowhere" does not exist
