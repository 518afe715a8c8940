-- df-api, 7 with decision 17: df.explain.
SELECT df.explain($$ 'SELECT 1' ~> df.sleep(60) ~> 'SELECT 2' $$);
--> prints SQL: SELECT 1
--> | → SLEEP 60s
--> | → SQL: SELECT 2
SELECT df.explain($$ df.loop('SELECT 1' ~> df.sleep(5), 'SELECT count(*) > 0 FROM q') $$);
--> prints LOOP (while)
--> |     ↻ body:
--> |       └─SQL: SELECT 1
--> |       → SLEEP 5s
--> |     ? while:
--> |       └─SQL: SELECT count(*) > 0 FROM q
SELECT df.explain('SELECT 0' ~> (df.join3('SELECT 1' ~> 'SELECT 11', df.race('SELECT 2', df.sleep(30)), 'SELECT 3') |=> 'j') ~> 'SELECT 4');
--> prints SQL: SELECT 0
--> | → JOIN (3) |=> 'j'
--> |     ║ branch 1:
--> |       ├─SQL: SELECT 1
--> |       → SQL: SELECT 11
--> |     ║ branch 2:
--> |       ├─RACE
--> |       │   ║ branch 1:
--> |       │     ├─SQL: SELECT 2
--> |       │   ║ branch 2:
--> |       │     └─SLEEP 30s
--> |     ║ branch 3:
--> |       └─SQL: SELECT 3
--> | → SQL: SELECT 4
SELECT df.explain(@> ('SELECT 1' ~> ('SELECT done FROM s' ?> df.break('{"reason":"finished ok"}') !> df.wait_for_signal('go', 5))));
--> prints LOOP (infinite)
--> |     ↻ body:
--> |       └─SQL: SELECT 1
--> |       → IF
--> |           ? condition:
--> |             └─SQL: SELECT done FROM s
--> |           ✓ then:
--> |             └─BREAK '{"reason":"finish...'
--> |           ✗ else:
--> |             └─SIGNAL 'go' (5s)
SELECT df.explain('SELECT 1');
--> prints SQL: SELECT 1
SELECT df.explain('hello');
--> prints Cannot explain input: not a valid Durofut JSON, instance ID, SQL statement, or DSL expression.
--> | Hint: DSL expressions use df.*() functions and operators like ~>, |=>, &, |.
SELECT df.explain('00000000');
--> prints Instance '00000000' not found
SELECT df.explain('{"node_type":"NOT_A_NODE"}');
--> prints Invalid durable function graph: root: Unknown node_type 'NOT_A_NODE'. Valid types: SQL, THEN, IF, JOIN, LOOP, BREAK, RACE, SLEEP, WAIT_SCHEDULE, HTTP, HTTP_MULTIPART, SIGNAL

SELECT df.start(df.race('SELECT ''winner''', df.sleep(10)), 'test-race-explain');
--> starts race
--> ends completed
SELECT df.explain(:'race');
--> prints Instance: <race> (test-race-explain)
--> | Status:   ✓ Completed
--> | Output:   {"rows":[{"?column?":"winner"}],"row_count":1}
--> | 
--> | RACE ✓ Completed
--> |     ║ branch 1:
--> |       ├─SQL: SELECT 'winner' ✓ Completed
--> |     ║ branch 2:
--> |       └─SLEEP 10s ⊘ Skipped
SELECT df.start(df.sleep(600) ~> 'SELECT 2');
--> starts asleep
--> waits
SELECT df.explain(:'asleep');
--> comes to Instance: <asleep>
--> | Status:   ⏳ Running
--> | 
--> | SLEEP 600s ⏳ Running
--> | → SQL: SELECT 2 ○ Pending
SELECT df.cancel(:'asleep', 'seen');
SELECT df.explain(:'asleep');
--> comes to Instance: <asleep>
--> | Status:   ⊘ Cancelled
--> | Output:   canceled: seen
--> | 
--> | SLEEP 600s ⏳ Running
--> | → SQL: SELECT 2 ○ Pending
