-- The user guide, "Loops & Cron Jobs". Alone: it moves the engine's clock.
--> alone
--> name playground
--> include playground
--> include setup

--> block -- Simple heartbeat every 30 seconds (using @> operator)
-- Simple heartbeat every 30 seconds (using @> operator)
SELECT df.start(
@> ('INSERT INTO playground.heartbeats (ts) VALUES (now())' ~> df.sleep(30)),
'heartbeat-30s'
);
--> starts beat
--> waits
-- Same using df.loop() function
SELECT df.start(
df.loop(
'INSERT INTO playground.heartbeats (ts) VALUES (now())' ~> df.sleep(30)
),
'heartbeat-30s-func'
);
--> starts beat_func
--> waits
SELECT count(*) FROM playground.heartbeats;
--> prints 2
--> time passes 30 seconds
SELECT count(*) FROM playground.heartbeats;
--> comes to 4
SELECT df.cancel(id) FROM df.instances;

--> block -- Every minute: log a tick
-- Every minute: log a tick
SELECT df.start(
@> (
df.wait_for_schedule('* * * * *')
~> 'INSERT INTO playground.logs (msg) VALUES (''Minute tick: '' || now()::text)'
),
'every-minute-tick'
);
--> starts tick
--> waits
-- Every 5 minutes: check for pending tasks
SELECT df.start(
@> (
df.wait_for_schedule('*/5 * * * *')
~> 'SELECT COUNT(*) as pending FROM playground.task_queue
WHERE status = ''pending''' |=> 'count'
~> 'INSERT INTO playground.logs (msg) VALUES (''Pending tasks: '' || $count)'
),
'task-monitor-5min'
);
--> starts monitor
--> waits
-- Hourly: clean up old logs
SELECT df.start(
@> (
df.wait_for_schedule('0 * * * *')
~> 'DELETE FROM playground.logs
WHERE created_at < now() - interval ''24 hours'''
),
'hourly-log-cleanup'
);
--> starts cleanup
--> waits
-- Daily at midnight: archive completed orders
SELECT df.start(
@> (
df.wait_for_schedule('0 0 * * *')
~> 'UPDATE playground.orders SET status = ''archived''
WHERE status = ''completed''
AND processed_at < now() - interval ''7 days'''
),
'daily-order-archive'
);
--> starts archive
--> waits
-- Weekdays at 9am: generate report
SELECT df.start(
@> (
df.wait_for_schedule('0 9 * * 1-5')
~> 'SELECT playground.generate_report(''daily_summary'')'
),
'weekday-morning-report'
);
--> starts report
--> waits
INSERT INTO playground.logs (msg, created_at) VALUES ('old', now() - interval '2 days');
UPDATE playground.orders SET processed_at = now() - interval '8 days' WHERE status = 'completed';

SELECT msg LIKE 'Minute tick: 20%' FROM playground.logs WHERE msg LIKE 'Minute tick%' LIMIT 1;
--> prints nothing
--> time passes 1 minute
SELECT msg LIKE 'Minute tick: 20%' FROM playground.logs WHERE msg LIKE 'Minute tick%' LIMIT 1;
--> comes to t
--> time passes 5 minutes
SELECT msg FROM playground.logs WHERE msg LIKE 'Pending%' ORDER BY id LIMIT 1;
--> comes to Pending tasks: 4
--> time passes 1 hour
SELECT count(*) FROM playground.logs WHERE msg = 'old';
--> comes to 0
--> time passes 1 day
SELECT count(*) FROM playground.orders WHERE status = 'archived';
--> comes to 2
--> time passes 3 days
SELECT msg FROM playground.logs WHERE msg LIKE 'Generated%' LIMIT 1;
--> comes to Generated report: daily_summary

--> block -- Process items while queue has entries
-- Process items while queue has entries
SELECT df.start(
df.loop(
'SELECT process_next_item()' ~> df.sleep(1),
'SELECT count(*) > 0 FROM task_queue WHERE status = ''pending'''
),
'queue-processor'
);
--> starts queue
--> ends completed
SELECT count(*) FROM task_queue WHERE status = 'pending';
--> prints 0

--> block -- Process batches until done flag is set
-- Process batches until done flag is set
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
--> starts batches
--> waits
--> time passes 5 seconds
--> ends completed {"total": 20, "status": "complete"}

--> fragment df.loop(
SELECT df.start(
df.loop(
'SELECT summary FROM report' |=> 'r'
~> df.break('$r.summary')
)
);
--> starts summary
--> ends completed "all is well"

--> a1b2c3d4 stands for tick
--> found_id stands for tick
--> block -- Cancel by instance ID
-- Cancel by instance ID
SELECT df.cancel('a1b2c3d4', 'Manual stop');
--> prints Instance <tick> cancelled: Manual stop
-- Find by label first, then cancel
SELECT instance_id FROM df.list_instances() WHERE label = 'every-minute-tick';
--> prints <tick>
-- Then cancel with the found ID
SELECT df.cancel('found_id', 'Stopping cron job');
--> prints Instance <tick> cancelled: Stopping cron job
SELECT df.status(:'tick');
--> prints cancelled
