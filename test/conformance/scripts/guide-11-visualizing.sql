-- The user guide, "Visualizing Functions". The guide draws without conditions and connectors; the layout is that of the
-- function.
--> include setup
--> name playground
--> include playground
CREATE TABLE results (n int);

SELECT df.start('SELECT 1' |=> 'step1' ~> 'SELECT 2' |=> 'step2' ~> 'INSERT INTO results VALUES ($step2)', 'my-job');
--> starts job
--> ends completed
--> a1b2c3d4 stands for job
--> block SELECT df.explain('a1b2c3d4');
SELECT df.explain('a1b2c3d4');
--> prints Instance: <job> (my-job)
--> | Status:   ✓ Completed
--> | Output:   {"rows":[],"row_count":0}
--> | 
--> | SQL |=> 'step1': SELECT 1 ✓ Completed
--> | → SQL |=> 'step2': SELECT 2 ✓ Completed
--> | → SQL: INSERT INTO results VALUES ($step2) ✓ Completed

--> block SELECT df.explain(
SELECT df.explain(
'SELECT 1' |=> 'a'
~> 'SELECT 2' |=> 'b'
~> df.if(
'SELECT $a > 0',
'SELECT ''yes''',
'SELECT ''no'''
)
);
--> prints SQL |=> 'a': SELECT 1
--> | → SQL |=> 'b': SELECT 2
--> | → IF
--> |     ? condition:
--> |       └─SQL: SELECT $a > 0
--> |     ✓ then:
--> |       └─SQL: SELECT 'yes'
--> |     ✗ else:
--> |       └─SQL: SELECT 'no'

--> block SELECT df.explain(
SELECT df.explain(
'SELECT * FROM staging WHERE status = ''pending'' LIMIT 1' |=> 'record'
~> df.if(
'SELECT $record IS NOT NULL',
'UPDATE staging SET status = ''validating'' WHERE id = $record.id'
~> df.join(
'SELECT validate_schema($record.data)' |=> 'schema_ok',
'SELECT validate_rules($record.data)' |=> 'rules_ok'
)
~> df.if(
'SELECT $schema_ok AND $rules_ok',
'INSERT INTO target SELECT * FROM staging WHERE id = $record.id'
~> 'UPDATE staging SET status = ''loaded'' WHERE id = $record.id',
'UPDATE staging SET status = ''failed'' WHERE id = $record.id'
),
'SELECT ''no pending records'''
)
);
--> prints SQL |=> 'record': SELECT * FROM staging WHERE status = 'pending' LIMIT 1
--> | → IF
--> |     ? condition:
--> |       └─SQL: SELECT $record IS NOT NULL
--> |     ✓ then:
--> |       └─SQL: UPDATE staging SET status = 'validating' WHERE id = $record.id
--> |       → JOIN (2)
--> |           ║ branch 1:
--> |             ├─SQL |=> 'schema_ok': SELECT validate_schema($record.data)
--> |           ║ branch 2:
--> |             └─SQL |=> 'rules_ok': SELECT validate_rules($record.data)
--> |       → IF
--> |           ? condition:
--> |             └─SQL: SELECT $schema_ok AND $rules_ok
--> |           ✓ then:
--> |             └─SQL: INSERT INTO target SELECT * FROM staging WHERE id = $record.id
--> |             → SQL: UPDATE staging SET status = 'loaded' WHERE id = $record.id
--> |           ✗ else:
--> |             └─SQL: UPDATE staging SET status = 'failed' WHERE id = $record.id
--> |     ✗ else:
--> |       └─SQL: SELECT 'no pending records'

--> block SELECT df.explain(
SELECT df.explain(
df.loop(
df.wait_for_schedule('0 * * * *')
~> 'DELETE FROM logs WHERE created_at < now() - interval ''7 days''' |=> 'deleted'
~> df.if(
'SELECT $deleted > 0',
'INSERT INTO audit (action, count) VALUES (''cleanup'', $deleted)',
'SELECT ''nothing to clean'''
)
)
);
--> prints LOOP (infinite)
--> |     ↻ body:
--> |       └─WAIT_SCHEDULE '0 * * * *'
--> |       → SQL |=> 'deleted': DELETE FROM logs WHERE created_at < now() - interval '7 days'
--> |       → IF
--> |           ? condition:
--> |             └─SQL: SELECT $deleted > 0
--> |           ✓ then:
--> |             └─SQL: INSERT INTO audit (action, count) VALUES ('cleanup', $deleted)
--> |           ✗ else:
--> |             └─SQL: SELECT 'nothing to clean'

--> block -- Visualize the daily-order-archive function before starting it
-- Visualize the daily-order-archive function before starting it
SELECT df.explain(
df.loop(
df.wait_for_schedule('0 0 * * *')
~> 'SELECT COUNT(*) as cnt FROM playground.orders
WHERE status = ''completed''
AND processed_at < now() - interval ''7 days''' |=> 'to_archive'
~> df.if(
'SELECT $to_archive > 0',
'UPDATE playground.orders SET status = ''archived''
WHERE status = ''completed''
AND processed_at < now() - interval ''7 days''' |=> 'archived'
~> 'INSERT INTO playground.logs (msg, level)
VALUES (''Archived '' || $archived || '' orders'', ''info'')',
'INSERT INTO playground.logs (msg)
VALUES (''No orders to archive'')'
)
)
);
--> prints LOOP (infinite)
--> |     ↻ body:
--> |       └─WAIT_SCHEDULE '0 0 * * *'
--> |       → SQL |=> 'to_archive': SELECT COUNT(*) as cnt FROM playground.orders WHERE status = 'completed' AND processed_at < now() - interval '7 days'
--> |       → IF
--> |           ? condition:
--> |             └─SQL: SELECT $to_archive > 0
--> |           ✓ then:
--> |             └─SQL |=> 'archived': UPDATE playground.orders SET status = 'archived' WHERE status = 'completed' AND processed_at < now() - interval '7 days'
--> |             → SQL: INSERT INTO playground.logs (msg, level) VALUES ('Archived ' || $archived || ' orders', 'info')
--> |           ✗ else:
--> |             └─SQL: INSERT INTO playground.logs (msg) VALUES ('No orders to archive')
