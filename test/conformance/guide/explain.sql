-- Dry runs of the user guide, "Visualizing Functions", as printed.

-- example dry-run
SELECT df.explain(
'SELECT 1' |=> 'a'
~> 'SELECT 2' |=> 'b'
~> df.if(
'SELECT $a > 0',
'SELECT ''yes''',
'SELECT ''no'''
)
);

-- example etl-with-validation
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

-- example cleanup-loop
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

-- example midnight-archive
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
