-- df-api, 1.3 and 4.11 with decisions 3 and 4: signals.
SELECT df.signal('', 'go');
--> fails XX000 Instance ID cannot be empty
SELECT df.signal('00000000', '');
--> fails XX000 Signal name cannot be empty
SELECT df.signal('00000000', 'go');
--> fails XX000 Instance not found or access denied: 00000000
SELECT df.signal(NULL, 'go');
--> prints (null)
-- payloads
SELECT df.start(df.wait_for_signal('go'));
--> starts json
SELECT df.signal(:'json', 'go', ' {"a" : [1, 2]} ');
--> prints OK
--> ends completed {"data": {"a": [1, 2]}, "timed_out": false, "signal_name": "go"}
SELECT df.start(df.wait_for_signal('go'));
--> starts text
SELECT df.signal(:'text', 'go', 'not JSON');
--> ends completed {"data": "not JSON", "timed_out": false, "signal_name": "go"}
SELECT df.start(df.wait_for_signal('go'));
--> starts none
SELECT df.signal(:'none', 'go');
--> ends completed {"data": {}, "timed_out": false, "signal_name": "go"}
-- to a finished instance
SELECT df.signal(:'none', 'go');
--> prints OK
-- rolled back, it was never sent
SELECT df.start(df.wait_for_signal('go') |=> 's' ~> 'SELECT $s.data AS data');
--> starts undone
--> waits
BEGIN;
SELECT df.signal(:'undone', 'go', 'rolled back');
ROLLBACK;
SELECT df.signal(:'undone', 'go', 'committed');
--> ends completed {"rows": [{"data": "committed"}], "row_count": 1}
-- early signals, in their order; two waits need two
SELECT df.start(df.sleep(1) ~> df.wait_for_signal('go') |=> 'a' ~> df.wait_for_signal('go') |=> 'b' ~> 'SELECT $a.data AS a, $b.data AS b');
--> starts early
SELECT df.signal(:'early', 'go', '1'), df.signal(:'early', 'other', '9'), df.signal(:'early', 'go', '2');
--> prints OK | OK | OK
--> early ends completed {"rows": [{"a": 1, "b": 2}], "row_count": 1}
-- one signal wakes every branch that waits for its name
SELECT df.start(df.wait_for_signal('go') & df.wait_for_signal('go'));
--> starts branches
--> waits
SELECT df.signal(:'branches', 'go', '1');
--> ends completed [{"data": 1, "timed_out": false, "signal_name": "go"}, {"data": 1, "timed_out": false, "signal_name": "go"}]
-- each iteration takes one
CREATE TABLE taken (n int);
SELECT df.start(df.loop(df.wait_for_signal('go') |=> 's' ~> 'INSERT INTO taken VALUES ($s.data)', 'SELECT count(*) < 3 FROM taken'));
--> starts iterations
SELECT df.signal(:'iterations', 'go', '1'), df.signal(:'iterations', 'go', '2'), df.signal(:'iterations', 'go', '3');
--> iterations ends completed
SELECT n FROM taken ORDER BY 1;
--> prints 1
--> prints 2
--> prints 3
-- a race against a time-out
SELECT df.start(df.wait_for_signal('never') | df.sleep(1));
--> starts race
--> ends completed {"slept": true, "seconds": 1}
