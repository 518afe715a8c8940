-- Examples of the user guide, "Durable Function Variables", as printed; those that make HTTP requests are left out.

-- example etl-pipeline
SELECT df.setvar('source_table', 'raw_orders');
SELECT df.setvar('target_table', 'processed_orders');
SELECT df.setvar('batch_size', '100');
SELECT df.start(
'SELECT * FROM {source_table} LIMIT {batch_size}::int' |=> 'batch'
~> 'INSERT INTO {target_table} SELECT * FROM $batch.*',
'etl-pipeline'
);

-- example audit-example
SELECT df.start(
'INSERT INTO audit_log (instance_id, label, action, ts)
VALUES (''{sys_instance_id}'', ''{sys_label}'', ''started'', now())'
~> 'SELECT process_data()'
~> 'INSERT INTO audit_log (instance_id, label, action, ts)
VALUES (''{sys_instance_id}'', ''{sys_label}'', ''completed'', now())',
'audit-example'
);
