-- df-api, 1.4: df.await_instance and df.wait_for_completion.
SELECT df.start('SELECT 1');
--> starts quick
SELECT df.await_instance(:'quick');
--> prints completed
SELECT df.start(df.sleep(1) ~> 'SELECT 1/0');
--> starts fails
SELECT df.await_instance(:'fails', 60);
--> prints failed
SELECT df.start(df.sleep(600));
--> starts asleep
SELECT df.await_instance(:'asleep', 1);
--> fails 22000 Timeout after 1s waiting for instance <asleep> (status: <any>). Check if background worker is running.
SELECT df.cancel(:'asleep');
SELECT df.await_instance(:'asleep', 1);
--> prints cancelled
SELECT df.await_instance('00000000');
--> fails 22000 Instance not found: 00000000
SELECT df.await_instance(:'quick', 0);
--> fails XX000 Timeout must be positive
SELECT df.wait_for_completion(:'quick');
--> prints completed
--> says WARNING df.wait_for_completion() is deprecated; use df.await_instance() instead
SELECT df.start('SELECT df.await_instance(''00000000'')');
--> starts inside
--> ends failed SQL execution failed: error returned from database: df.await_instance() cannot be called inside a workflow - it would block a worker thread (and self-deadlock if waiting on the current instance). Use df.signal() and df.wait_for_signal() for cross-workflow coordination.
SELECT df.await_instance(NULL);
--> prints (null)
