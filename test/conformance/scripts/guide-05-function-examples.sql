-- The user guide, "Function Examples".
--> name playground
--> include playground

--> block SELECT df.start(
SELECT df.start(
'SELECT COUNT(*) FROM playground.users WHERE active = true',
'count-active-users'
);
--> starts count
--> ends completed {"rows": [{"count": 4}], "row_count": 1}

--> block SELECT df.start(
SELECT df.start(
'INSERT INTO playground.logs (msg) VALUES (''Step 1: Starting'')'
~> 'INSERT INTO playground.logs (msg) VALUES (''Step 2: Processing'')'
~> 'INSERT INTO playground.logs (msg) VALUES (''Step 3: Complete'')',
'three-step-function'
);
--> starts three
--> ends completed {"rows": [], "row_count": 0}
SELECT msg FROM playground.logs ORDER BY id;
--> prints Step 1: Starting
--> prints Step 2: Processing
--> prints Step 3: Complete

--> block SELECT df.start(
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
--> starts etl
--> ends completed
SELECT array_agg(source_id ORDER BY source_id) FROM playground.target;
--> prints {1001,1002,1003}

--> block SELECT df.start(
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
--> starts order
--> ends completed
SELECT count(*) FROM playground.orders WHERE status = 'completed' AND processed_at IS NOT NULL;
--> prints 1

--> block -- Using & operator (preferred)
-- Using & operator (preferred)
SELECT df.start(
'SELECT COUNT(*) as user_count FROM playground.users' -- branch 1
& 'SELECT COUNT(*) as order_count FROM playground.orders' -- branch 2
~> 'INSERT INTO playground.logs (msg)
VALUES (''Parallel counts complete'')',
'parallel-counts'
);
--> starts counts
--> ends completed
-- Or using df.join() function
SELECT df.start(
df.join(
'SELECT COUNT(*) as user_count FROM playground.users',
'SELECT COUNT(*) as order_count FROM playground.orders'
)
~> 'INSERT INTO playground.logs (msg) VALUES (''Done'')',
'parallel-counts-func'
);
--> starts counts_func
--> ends completed
SELECT result FROM df.nodes WHERE node_type = 'JOIN';
--> prints [{"rows": [{"user_count": 5}], "row_count": 1}, {"rows": [{"order_count": 6}], "row_count": 1}]
--> prints [{"rows": [{"user_count": 5}], "row_count": 1}, {"rows": [{"order_count": 6}], "row_count": 1}]

--> block -- Using ?> !> operators (preferred)
-- Using ?> !> operators (preferred)
SELECT df.start(
'SELECT COUNT(*) > 3 FROM playground.task_queue WHERE status = ''pending'''
?> 'INSERT INTO playground.logs (msg, level) VALUES (''High load!'', ''warning'')'
!> 'INSERT INTO playground.logs (msg) VALUES (''Queue normal'')',
'check-task-load'
);
--> starts load
--> ends completed
-- Or using df.if() function
SELECT df.start(
df.if(
'SELECT COUNT(*) > 3 FROM playground.task_queue WHERE status = ''pending''',
'INSERT INTO playground.logs (msg, level) VALUES (''High load!'', ''warning'')',
'INSERT INTO playground.logs (msg) VALUES (''Queue normal'')'
),
'check-task-load-func'
);
--> starts load_func
--> ends completed
SELECT msg, level, count(*) FROM playground.logs WHERE msg IN ('High load!', 'Queue normal') GROUP BY 1, 2;
--> prints High load! | warning | 2

--> block SELECT df.start(
SELECT df.start(
$$SELECT id FROM playground.orders WHERE status = 'pending'$$ |=> 'pending'
~> df.if_rows(
'pending', -- result name
$$UPDATE playground.orders SET status = 'processing' WHERE id = $pending.id$$, -- then
$$INSERT INTO playground.logs (msg) VALUES ('No pending orders')$$ -- else
),
'check-pending'
);
--> starts check_pending
--> ends completed
SELECT count(*) FROM playground.logs WHERE msg = 'No pending orders';
--> prints 0

--> block SELECT df.start(
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
--> starts task
--> ends completed
SELECT payload ->> 'type', status FROM playground.task_queue WHERE started_at IS NOT NULL;
--> prints sync | completed
SELECT label, status FROM df.instances ORDER BY label;
--> prints check-pending | completed
--> prints check-task-load | completed
--> prints check-task-load-func | completed
--> prints count-active-users | completed
--> prints daily-etl | completed
--> prints parallel-counts | completed
--> prints parallel-counts-func | completed
--> prints process-next-task | completed
--> prints process-order | completed
--> prints three-step-function | completed
