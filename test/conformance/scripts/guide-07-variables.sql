-- The user guide, "Durable Function Variables".
--> include setup
--> http
--> name playground
--> include playground

--> block -- Set up configuration
-- Set up configuration
SELECT df.setvar('api_base', 'https://api.example.com');
--> prints OK
SELECT df.setvar('api_key', 'secret123');
--> prints OK
-- Start durable function using variables
SELECT df.start(
df.http('{api_base}/users', 'GET', NULL, '{"Authorization": "Bearer {api_key}"}'::jsonb)
~> 'INSERT INTO playground.logs (msg) VALUES (''Fetched users'')',
'fetch-users'
);
--> starts users
--> ends completed
--> requested GET https://api.example.com/users authorization: Bearer secret123
SELECT msg FROM playground.logs;
--> prints Fetched users

--> block -- Configure the pipeline
-- Configure the pipeline
SELECT df.setvar('source_table', 'raw_orders');
SELECT df.setvar('target_table', 'processed_orders');
SELECT df.setvar('batch_size', '100');
-- Start the pipeline
SELECT df.start(
'SELECT * FROM {source_table} LIMIT {batch_size}::int' |=> 'batch'
~> 'INSERT INTO {target_table} SELECT * FROM $batch.*',
'etl-pipeline'
);
--> starts etl
--> ends completed
SELECT count(*) FROM processed_orders;
--> prints 100

--> block SELECT df.start(
SELECT df.start(
'INSERT INTO audit_log (instance_id, label, action, ts)
VALUES (''{sys_instance_id}'', ''{sys_label}'', ''started'', now())'
~> 'SELECT process_data()'
~> 'INSERT INTO audit_log (instance_id, label, action, ts)
VALUES (''{sys_instance_id}'', ''{sys_label}'', ''completed'', now())',
'audit-example'
);
--> starts audit
--> ends completed
SELECT instance_id, label, action FROM audit_log ORDER BY ts;
--> prints <audit> | audit-example | started
--> prints <audit> | audit-example | completed

--> block -- Configure API endpoint
-- Configure API endpoint
SELECT df.setvar('webhook_url', 'https://hooks.example.com/notify');
-- Durable function that calls the configured webhook
SELECT df.start(
'SELECT id, status FROM orders WHERE id = 1' |=> 'order'
~> df.http('{webhook_url}', 'POST', '{"order_id": "$order"}'),
'order-webhook'
);
--> starts webhook
--> ends completed
--> requested POST https://hooks.example.com/notify {"order_id": "1"}

-- "Variables are immutable during durable function execution"
SELECT df.start('SELECT df.setvar(''x'', ''y'')');
--> starts immutable
--> ends failed SQL execution failed: error returned from database: df.setvar() cannot be called inside a workflow - set variables before starting the workflow
SELECT df.setvar('late', 'at the start');
SELECT df.start(df.sleep(1) ~> 'SELECT ''{late}'' AS v');
--> starts snapshot
SELECT df.setvar('late', 'changed');
--> snapshot ends completed {"rows": [{"v": "at the start"}], "row_count": 1}
SELECT df.getvar('late'), df.unsetvar('late'), df.getvar('late');
--> prints changed | OK | (null)
SELECT df.clearvars();
--> prints OK
SELECT count(*) FROM df.vars;
--> prints 0
