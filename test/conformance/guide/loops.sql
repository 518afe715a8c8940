-- Examples of the user guide, "Loops & Cron Jobs", as printed; those that wait for a schedule are left out.
-- The last one is printed in a note, without the df.start around it: added here.

-- example heartbeat-30s
SELECT df.start(
@> ('INSERT INTO playground.heartbeats (ts) VALUES (now())' ~> df.sleep(30)),
'heartbeat-30s'
);

-- example heartbeat-30s-func
SELECT df.start(
df.loop(
'INSERT INTO playground.heartbeats (ts) VALUES (now())' ~> df.sleep(30)
),
'heartbeat-30s-func'
);

-- example queue-processor
SELECT df.start(
df.loop(
'SELECT process_next_item()' ~> df.sleep(1),
'SELECT count(*) > 0 FROM task_queue WHERE status = ''pending'''
),
'queue-processor'
);

-- example batch-processor
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

-- example break-with-result
SELECT df.start(
df.loop( 'SELECT summary FROM report' |=> 'r' ~> df.break('$r.summary') )
);
