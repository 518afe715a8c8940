-- The SQL examples of the user guide, one a paragraph.

SELECT df.grant_usage('app_role');

SELECT df.start('SELECT ''Hello, durable world!''');

SELECT * FROM df.list_instances();

SELECT df.result('a1b2c3d4');

SELECT df.start('SELECT 1' ~> 'SELECT 2');

SELECT df.start('SELECT 1' & 'SELECT 2');

SELECT df.start(
'SELECT quick_result()' | df.sleep(30) -- timeout after 30s
);

SELECT df.start(
'SELECT count(*) > 10 FROM orders'
?> 'SELECT ''high volume'''
!> 'SELECT ''low volume'''
);

SELECT df.start(
@> ('INSERT INTO heartbeats (ts) VALUES (now())' ~> df.sleep(60)),
'heartbeat-job'
);

SELECT df.start(
'SELECT 100 as amount' |=> 'total' -- save result as $total
~> 'SELECT $total * 2 as doubled' -- use $total in next step
);

SELECT df.start(
$$SELECT 42 AS id, 'Alice' AS name$$ |=> 'user'
~> $$SELECT $user.id AS id, $user.name AS name$$ -- access specific columns
);

SELECT df.start(
$$SELECT NULL::text AS val$$ |=> 'x'
~> $$SELECT COALESCE($x.val?, 'fallback')$$ -- NULL: 'fallback'
);

SELECT df.start(
$$SELECT id, name FROM users WHERE active$$ |=> 'batch'
~> $$SELECT count(*) FROM $batch.*$$ -- FROM expansion
);

SELECT df.result('a1b2c3d4')::jsonb->'rows'->0->>'answer';

SELECT df.start(
'SELECT count(*) > 10 FROM orders' -- Returns: true or false
?> 'SELECT ''high volume'''
!> 'SELECT ''low volume'''
);

SELECT df.start(
df.loop(
'SELECT process_next_item()',
'SELECT count(*) > 0 FROM queue WHERE status = ''pending''' -- condition
)
);

SELECT df.start(
'SELECT COUNT(*) FROM playground.users WHERE active = true',
'count-active-users'
);

SELECT df.start(
'INSERT INTO playground.logs (msg) VALUES (''Step 1: Starting'')'
~> 'INSERT INTO playground.logs (msg) VALUES (''Step 2: Processing'')'
~> 'INSERT INTO playground.logs (msg) VALUES (''Step 3: Complete'')',
'three-step-function'
);

SELECT df.start(
'DELETE FROM playground.target
WHERE loaded_at < now() - interval ''1 day''' -- cleanup
~> 'UPDATE playground.staging
SET processed_at = now() WHERE processed_at IS NULL' -- mark
~> 'INSERT INTO playground.target (data, source_id, processed_at)
SELECT data, source_id, processed_at FROM playground.staging
WHERE processed_at IS NOT NULL', -- load
'daily-etl'
);

SELECT df.start(
'SELECT id FROM playground.orders
WHERE status = ''pending'' LIMIT 1' |=> 'order_id' -- get order
~> 'UPDATE playground.orders
SET status = ''processing'' WHERE id = $order_id' -- mark processing
~> df.sleep(2) -- simulate work
~> 'UPDATE playground.orders
SET status = ''completed'', processed_at = now()
WHERE id = $order_id', -- complete
'process-order'
);

SELECT df.start(
'SELECT COUNT(*) as user_count FROM playground.users' -- branch 1
& 'SELECT COUNT(*) as order_count FROM playground.orders' -- branch 2
~> 'INSERT INTO playground.logs (msg)
VALUES (''Parallel counts complete'')',
'parallel-counts'
);

SELECT df.start(
df.join(
'SELECT COUNT(*) as user_count FROM playground.users',
'SELECT COUNT(*) as order_count FROM playground.orders'
)
~> 'INSERT INTO playground.logs (msg) VALUES (''Done'')',
'parallel-counts-func'
);

SELECT df.start(
'SELECT COUNT(*) > 3 FROM playground.task_queue WHERE status = ''pending'''
?> 'INSERT INTO playground.logs (msg, level) VALUES (''High load!'', ''warning'')'
!> 'INSERT INTO playground.logs (msg) VALUES (''Queue normal'')',
'check-task-load'
);

SELECT df.start(
df.if(
'SELECT COUNT(*) > 3 FROM playground.task_queue WHERE status = ''pending''',
'INSERT INTO playground.logs (msg, level) VALUES (''High load!'', ''warning'')',
'INSERT INTO playground.logs (msg) VALUES (''Queue normal'')'
),
'check-task-load-func'
);

SELECT df.start(
$$SELECT id FROM playground.orders WHERE status = 'pending'$$ |=> 'pending'
~> df.if_rows(
'pending', -- result name
$$UPDATE playground.orders SET status = 'processing' WHERE id = $pending.id$$, -- then
$$INSERT INTO playground.logs (msg) VALUES ('No pending orders')$$ -- else
),
'check-pending'
);

SELECT df.start(
'UPDATE playground.task_queue
SET status = ''processing'', started_at = now()
WHERE id = (
SELECT id FROM playground.task_queue
WHERE status = ''pending''
ORDER BY priority DESC, created_at
LIMIT 1
FOR UPDATE SKIP LOCKED
)
RETURNING id, payload' |=> 'task' -- claim task
~> df.sleep(1) -- process
~> 'UPDATE playground.task_queue
SET status = ''completed'', completed_at = now()
WHERE status = ''processing''', -- complete
'process-next-task'
);

SELECT df.start(
df.http('https://api.example.com/users/123', 'GET') |=> 'user'
~> 'INSERT INTO users_cache (data) VALUES (($user::jsonb->>''body'')::jsonb)',
'fetch-user'
);

SELECT df.start(
df.http(
'https://api.example.com/orders',
'POST',
'{"product_id": 42, "quantity": 2}'
) |=> 'response'
~> df.if(
'SELECT ($response::jsonb->>''ok'')::boolean',
'INSERT INTO playground.logs (msg) VALUES (''Order created'')',
'INSERT INTO playground.logs (msg, level) VALUES (''Order failed'', ''error'')'
),
'create-order'
);

SELECT df.start(
df.http(
'https://api.example.com/secure/data',
'GET',
NULL,
'{"Authorization": "Bearer token123", "X-Custom-Header": "value"}'::jsonb
) |=> 'response'
~> 'SELECT ($response::jsonb->>''body'')::jsonb',
'authenticated-request'
);

SELECT df.start(
df.join(
df.http('https://api.example.com/users', 'GET'),
df.http('https://api.example.com/products', 'GET')
) |=> 'results'
~> 'INSERT INTO playground.logs (msg) VALUES (''Fetched users and products'')',
'parallel-fetch'
);

SELECT df.start(
'SELECT id, email FROM playground.users WHERE id = 1' |=> 'user'
~> df.http(
'https://api.example.com/notifications',
'POST',
'{"user_id": "$user.id", "message": "Welcome!"}'
) |=> 'notification'
~> 'UPDATE playground.users SET notified = true WHERE id = ($user::jsonb->>''id'')::int',
'send-notification'
);

SELECT df.start(
df.http('https://api.example.com/users/999', 'GET') |=> 'response'
~> df.if(
'SELECT ($response::jsonb->>''status'')::int = 404',
'INSERT INTO playground.logs (msg) VALUES (''User not found - creating new'')'
~> df.http('https://api.example.com/users', 'POST', '{"name": "New User"}'),
'SELECT ($response::jsonb->>''body'')::jsonb'
),
'fetch-or-create-user'
);

SELECT df.start(
'SELECT order_id, status, total FROM playground.orders WHERE id = 1' |=> 'order'
~> df.http(
'https://partner.example.com/webhook/order-update',
'POST',
'{"order_id": "$order.order_id", "status": "$order.status", "total": "$order.total"}',
'{"X-Webhook-Secret": "shared-secret-123"}'::jsonb
) |=> 'webhook_response'
~> 'INSERT INTO playground.logs (msg) VALUES (''Webhook sent: '' || ($webhook_response::jsonb->>''status''))',
'send-order-webhook'
);

SELECT df.start(
@> (
df.wait_for_schedule('*/5 * * * *') -- Every 5 minutes
~> df.http('https://api.example.com/status', 'GET') |=> 'status'
~> df.if(
'SELECT (($status::jsonb->>''body'')::jsonb->>''healthy'')::boolean = false',
'INSERT INTO playground.logs (msg, level) VALUES (''Service unhealthy!'', ''error'')',
'SELECT ''healthy'''
)
),
'api-health-monitor'
);

SELECT df.setvar('github_url', 'https://api.github.com/repos/microsoft/duroxide/commits?per_page=5');

SELECT df.start(
@> (
(df.http(
'{github_url}',
'GET',
NULL,
'{"Accept": "application/vnd.github.v3+json", "User-Agent": "pg_durable"}'::jsonb
) |=> 'response')
~> 'INSERT INTO github_commits (sha, author, message, committed_at)
SELECT
c->>''sha'',
c->''commit''->''author''->>''name'',
c->''commit''->>''message'',
(c->''commit''->''author''->>''date'')::timestamptz
FROM jsonb_array_elements(($response::jsonb->>''body'')::jsonb) AS c
ON CONFLICT (sha) DO UPDATE SET
fetched_at = now()
RETURNING sha'
~> df.wait_for_schedule('*/30 * * * *') -- Every 30 minutes
),
'github-commit-sync'
);

SELECT df.setvar('api_base', 'https://api.example.com');

SELECT df.setvar('api_key', 'secret123');

SELECT df.start(
df.http('{api_base}/users', 'GET', NULL, '{"Authorization": "Bearer {api_key}"}'::jsonb)
~> 'INSERT INTO playground.logs (msg) VALUES (''Fetched users'')',
'fetch-users'
);

SELECT df.setvar('source_table', 'raw_orders');

SELECT df.setvar('target_table', 'processed_orders');

SELECT df.setvar('batch_size', '100');

SELECT df.start(
'SELECT * FROM {source_table} LIMIT {batch_size}::int' |=> 'batch'
~> 'INSERT INTO {target_table} SELECT * FROM $batch.*',
'etl-pipeline'
);

SELECT df.start(
'INSERT INTO audit_log (instance_id, label, action, ts)
VALUES (''{sys_instance_id}'', ''{sys_label}'', ''started'', now())'
~> 'SELECT process_data()'
~> 'INSERT INTO audit_log (instance_id, label, action, ts)
VALUES (''{sys_instance_id}'', ''{sys_label}'', ''completed'', now())',
'audit-example'
);

SELECT df.setvar('webhook_url', 'https://hooks.example.com/notify');

SELECT df.start(
'SELECT id, status FROM orders WHERE id = 1' |=> 'order'
~> df.http('{webhook_url}', 'POST', '{"order_id": "$order"}'),
'order-webhook'
);

SELECT df.start(
@> ('INSERT INTO playground.heartbeats (ts) VALUES (now())' ~> df.sleep(30)),
'heartbeat-30s'
);

SELECT df.start(
df.loop(
'INSERT INTO playground.heartbeats (ts) VALUES (now())' ~> df.sleep(30)
),
'heartbeat-30s-func'
);

SELECT df.start(
@> (
df.wait_for_schedule('* * * * *')
~> 'INSERT INTO playground.logs (msg) VALUES (''Minute tick: '' || now()::text)'
),
'every-minute-tick'
);

SELECT df.start(
@> (
df.wait_for_schedule('*/5 * * * *')
~> 'SELECT COUNT(*) as pending FROM playground.task_queue
WHERE status = ''pending''' |=> 'count'
~> 'INSERT INTO playground.logs (msg) VALUES (''Pending tasks: '' || $count)'
),
'task-monitor-5min'
);

SELECT df.start(
@> (
df.wait_for_schedule('0 * * * *')
~> 'DELETE FROM playground.logs
WHERE created_at < now() - interval ''24 hours'''
),
'hourly-log-cleanup'
);

SELECT df.start(
@> (
df.wait_for_schedule('0 0 * * *')
~> 'UPDATE playground.orders SET status = ''archived''
WHERE status = ''completed''
AND processed_at < now() - interval ''7 days'''
),
'daily-order-archive'
);

SELECT df.start(
@> (
df.wait_for_schedule('0 9 * * 1-5')
~> 'SELECT playground.generate_report(''daily_summary'')'
),
'weekday-morning-report'
);

SELECT df.start(
df.loop(
'SELECT process_next_item()' ~> df.sleep(1),
'SELECT count(*) > 0 FROM task_queue WHERE status = ''pending'''
),
'queue-processor'
);

SELECT df.start(
df.loop(
'SELECT process_batch()' |=> 'batch'
~> (
'$batch.done'
?> df.break('{"status": "complete", "total": $batch.count}')
!> df.sleep(5)
)
),
'batch-processor'
);

SELECT df.cancel('a1b2c3d4', 'Manual stop');

SELECT instance_id FROM df.list_instances() WHERE label = 'every-minute-tick';

SELECT df.cancel('found_id', 'Stopping cron job');

SELECT df.signal('instance_id', 'signal_name', '{"data": "value"}');

SELECT df.start(
'SELECT id, total FROM orders WHERE id = 1' |=> 'order'
~> df.wait_for_signal('approval', 86400) |=> 'sig' -- 24h timeout
~> df.if(
'SELECT NOT ($sig::jsonb->>''timed_out'')::boolean
AND ($sig::jsonb->''data''->>''approved'')::boolean',
'UPDATE orders SET status = ''approved'' WHERE id = $order.id',
'UPDATE orders SET status = ''rejected'' WHERE id = $order.id'
),
'order-approval'
);

SELECT df.signal('a1b2c3d4', 'approval', '{"approved": true, "approver": "jane@acme.com"}');

SELECT df.start(
'SELECT id FROM documents WHERE id = 1' |=> 'doc'
~> df.join3(
df.wait_for_signal('legal_approval'),
df.wait_for_signal('tech_approval'),
df.wait_for_signal('mgmt_approval')
) |=> 'approvals'
~> 'UPDATE documents SET status = ''approved'' WHERE id = $doc.id',
'multi-approval'
);

SELECT df.signal('abc123', 'legal_approval', '{"approved": true}');

SELECT df.signal('abc123', 'tech_approval', '{"approved": true}');

SELECT df.signal('abc123', 'mgmt_approval', '{"approved": true}');

SELECT df.start(
df.http('{job_api}/start', 'POST', '{"type": "render"}') |=> 'job'
~> df.wait_for_signal('job_complete', 3600) |=> 'result'
~> df.if(
'SELECT NOT ($result::jsonb->>''timed_out'')::boolean',
'INSERT INTO completed_jobs VALUES ($job, $result)',
'INSERT INTO failed_jobs VALUES ($job, ''timeout'')'
),
'webhook-job'
);

SELECT df.start(
'INSERT INTO reports (date, total) SELECT now(), count(*) FROM events',
'daily-report',
'analytics'
);

SELECT df.start(
'SELECT 1',
database => 'analytics'
);

SELECT df.start(
'CALL refresh_materialized_views()',
'tenant-alpha-refresh',
'tenant_alpha'
);

SELECT df.start(
'CALL refresh_materialized_views()',
'tenant-beta-refresh',
'tenant_beta'
);

SELECT df.explain('a1b2c3d4');

SELECT df.explain(
'SELECT 1' |=> 'a'
~> 'SELECT 2' |=> 'b'
~> df.if(
'SELECT $a > 0',
'SELECT ''yes''',
'SELECT ''no'''
)
);

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

SELECT * FROM df.list_instances('running');

SELECT * FROM df.list_instances('completed');

SELECT * FROM df.list_instances('failed');

SELECT * FROM df.list_instances(NULL, 10);

SELECT * FROM df.instance_info('a1b2c3d4');

SELECT * FROM df.instance_executions('a1b2c3d4');

SELECT * FROM df.instance_executions('a1b2c3d4', 20);

SELECT * FROM df.instance_nodes('a1b2c3d4');

SELECT * FROM df.instance_nodes('a1b2c3d4', 10);

SELECT * FROM df.metrics();

SELECT df.status('a1b2c3d4');

SELECT started_at, last_seen_at,
now() - last_seen_at AS time_since_last_heartbeat
FROM df._worker_epoch;

SELECT df.start('SELECT * FROM alice_data');

SELECT df.start('SELECT * FROM bob_data');

SELECT df.start('SELECT * FROM analyst_reports');

SELECT df.grant_usage('app_role', include_http => true);

SELECT df.grant_usage('admin_role', include_http => true, with_grant => true);

GRANT SELECT ON df.instances TO app_role;

GRANT UPDATE (status, updated_at) ON df.instances TO app_role;

GRANT SELECT ON df.nodes TO app_role;

GRANT INSERT (id, label, root_node, submitted_by, database) ON df.instances TO app_role;

GRANT INSERT (id, instance_id, node_type, query, result_name, left_node, right_node, submitted_by, database) ON df.nodes TO app_role;

GRANT SELECT, INSERT, UPDATE, DELETE ON df.vars TO app_role;

SELECT df.grant_usage('customer_admin', include_http => true, with_grant => true);

SELECT df.grant_usage('app_backend'); -- standard access

SELECT df.revoke_usage('app_backend'); -- revoke when needed

SELECT df.grant_usage('pg_durable_user');

SELECT df.revoke_usage('PUBLIC');

SELECT df.start( 'INSERT INTO logs (msg) VALUES (''done'')' ~> 'SELECT ''success'' as status' );

SELECT node_id, node_type, result_name, status,
left(query, 80) AS query,
left(result, 120) AS result
FROM df.instance_nodes('a1b2c3d4');

SELECT result_name, status, result
FROM df.instance_nodes('a1b2c3d4')
WHERE result_name IS NOT NULL
ORDER BY node_id;

SELECT result_name, result FROM df.instance_nodes('a1b2c3d4')
WHERE result_name = 'total';

SELECT df.start('SELECT 1', 'optional-label');

SELECT df.start('SELECT 1', 'label', 'analytics');

SELECT df.start('SELECT 1', database => 'analytics');

SELECT df.start('SELECT 1' ~> 'SELECT 2' ~> 'SELECT 3');

SELECT df.start('SELECT 1' |=> 'myvar' ~> 'SELECT $myvar * 2');

SELECT df.start('SELECT 1' & 'SELECT 2'); -- operator

SELECT df.start(df.join('SELECT 1', 'SELECT 2')); -- function

SELECT df.start('fast_query' | df.sleep(30)); -- operator

SELECT df.start(df.race(fast, slow)); -- function

SELECT df.start('SELECT true' ?> 'yes' !> 'no'); -- operator

SELECT df.start(df.if('SELECT true', 'yes', 'no')); -- function

SELECT df.start(@> (body ~> df.sleep(60))); -- operator

SELECT df.start(df.loop(body ~> df.sleep(60))); -- function

SELECT df.start(df.loop(body, 'SELECT count(*) > 0 FROM queue'));

SELECT df.setvar('api_url', 'https://api.example.com'); -- set variable

SELECT df.getvar('api_url'); -- get variable

SELECT df.unsetvar('api_url'); -- remove variable

SELECT df.clearvars(); -- clear all

SELECT df.start(df.http('{api_url}/data', 'GET')); -- variable substitution

SELECT df.signal('inst_id', 'approval', '{}'); -- send signal

SELECT df.explain('instance_id'); -- live instance

SELECT df.explain('a' ~> 'b'); -- dry-run preview

SELECT * FROM df.instance_info('id');

SELECT df.status('id');

SELECT df.result('id');

SELECT df.cancel('id', 'reason');

CREATE FUNCTION run_report(q TEXT) RETURNS TEXT
LANGUAGE SQL SECURITY DEFINER AS $$
SELECT df.start(df.sql(q), 'report');
$$;

SELECT 'SELECT 1' ~> 'SELECT 2';

SELECT df.sql('SELECT 1') ~> df.sql('SELECT 2');

SELECT df.start('SELECT id FROM users LIMIT 1' |=> 'user_id');

SELECT df.start(
'INSERT INTO logs (msg) VALUES (''done'')'
~> 'SELECT ''success'' as status'
);

SELECT df.loop(
'SELECT summary FROM report' |=> 'r'
~> df.break('$r.summary')
);

SELECT df.revoke_usage('app_role');

SELECT df.break('{"done": true}');

SELECT df.wait_for_signal('signal_name', 3600);
