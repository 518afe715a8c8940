-- Examples of the user guide, "Function Examples", as printed.

-- example count-active-users
SELECT df.start(
'SELECT COUNT(*) FROM playground.users WHERE active = true',
'count-active-users'
);

-- example three-step-function
SELECT df.start(
'INSERT INTO playground.logs (msg) VALUES (''Step 1: Starting'')'
~> 'INSERT INTO playground.logs (msg) VALUES (''Step 2: Processing'')'
~> 'INSERT INTO playground.logs (msg) VALUES (''Step 3: Complete'')',
'three-step-function'
);

-- example daily-etl
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

-- example process-order
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

-- example parallel-counts
SELECT df.start(
'SELECT COUNT(*) as user_count FROM playground.users' -- branch 1
& 'SELECT COUNT(*) as order_count FROM playground.orders' -- branch 2
~> 'INSERT INTO playground.logs (msg)
VALUES (''Parallel counts complete'')',
'parallel-counts'
);

-- example parallel-counts-func
SELECT df.start(
df.join(
'SELECT COUNT(*) as user_count FROM playground.users',
'SELECT COUNT(*) as order_count FROM playground.orders'
)
~> 'INSERT INTO playground.logs (msg) VALUES (''Done'')',
'parallel-counts-func'
);

-- example check-task-load
SELECT df.start(
'SELECT COUNT(*) > 3 FROM playground.task_queue WHERE status = ''pending'''
?> 'INSERT INTO playground.logs (msg, level) VALUES (''High load!'', ''warning'')'
!> 'INSERT INTO playground.logs (msg) VALUES (''Queue normal'')',
'check-task-load'
);

-- example check-task-load-func
SELECT df.start(
df.if(
'SELECT COUNT(*) > 3 FROM playground.task_queue WHERE status = ''pending''',
'INSERT INTO playground.logs (msg, level) VALUES (''High load!'', ''warning'')',
'INSERT INTO playground.logs (msg) VALUES (''Queue normal'')'
),
'check-task-load-func'
);

-- example check-pending
SELECT df.start(
$$SELECT id FROM playground.orders WHERE status = 'pending'$$ |=> 'pending'
~> df.if_rows(
'pending', -- result name
$$UPDATE playground.orders SET status = 'processing' WHERE id = $pending.id$$, -- then
$$INSERT INTO playground.logs (msg) VALUES ('No pending orders')$$ -- else
),
'check-pending'
);

-- example process-next-task
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
