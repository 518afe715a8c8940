-- Examples of the user guide, "DSL Reference", as printed. The box drawings of the page were lost, no SQL was.

-- example join
SELECT df.start('SELECT 1' & 'SELECT 2');

-- example race
SELECT df.start(
'SELECT quick_result()' | df.sleep(30) -- timeout after 30s
);

-- example if-then-else
SELECT df.start(
'SELECT count(*) > 10 FROM orders'
?> 'SELECT ''high volume'''
!> 'SELECT ''low volume'''
);

-- example loop-operator
SELECT df.start(
@> ('INSERT INTO heartbeats (ts) VALUES (now())' ~> df.sleep(60)),
'heartbeat-job'
);

-- example named
SELECT df.start(
'SELECT 100 as amount' |=> 'total' -- save result as $total
~> 'SELECT $total * 2 as doubled' -- use $total in next step
);

-- example columns
SELECT df.start(
$$SELECT 42 AS id, 'Alice' AS name$$ |=> 'user'
~> $$SELECT $user.id AS id, $user.name AS name$$ -- access specific columns
);

-- example null-safe
SELECT df.start(
$$SELECT NULL::text AS val$$ |=> 'x'
~> $$SELECT COALESCE($x.val?, 'fallback')$$ -- NULL โ 'fallback'
);

-- example row-set
SELECT df.start(
$$SELECT id, name FROM users WHERE active$$ |=> 'batch'
~> $$SELECT count(*) FROM $batch.*$$ -- FROM expansion
);
