-- The user guide, "Signals".
--> include setup
--> http
CREATE TABLE documents (id int, status text);
INSERT INTO documents VALUES (1, 'draft');
CREATE TABLE completed_jobs (job jsonb, result jsonb);
CREATE TABLE failed_jobs (job jsonb, reason text);

--> fragment -- Wait forever for a signal
-- Wait forever for a signal
SELECT df.wait_for_signal('signal_name');
--> prints {"node_type":"SIGNAL","query":"{\"signal_name\":\"signal_name\",\"timeout_seconds\":null}"}
-- Wait with timeout (seconds) - returns after timeout if no signal
SELECT df.wait_for_signal('signal_name', 3600); -- 1 hour timeout
--> prints {"node_type":"SIGNAL","query":"{\"signal_name\":\"signal_name\",\"timeout_seconds\":3600}"}

SELECT df.start(df.wait_for_signal('signal_name'));
--> starts waiting
--> waits
--> instance_id stands for waiting
--> block SELECT df.signal('instance_id', 'signal_name', '{"data": "value"}');
SELECT df.signal('instance_id', 'signal_name', '{"data": "value"}');
--> prints OK
--> waiting ends completed {"data": {"data": "value"}, "timed_out": false, "signal_name": "signal_name"}

--> fragment {
SELECT df.start(df.wait_for_signal('approval'));
--> starts approval
SELECT df.signal(:'approval', 'approval', '{"approved": true, "approver": "jane@acme.com"}');
--> approval ends completed {"data": {"approved": true, "approver": "jane@acme.com"}, "timed_out": false, "signal_name": "approval"}
--> fragment {
SELECT df.start(df.wait_for_signal('approval', 1));
--> starts timeout
--> timeout ends completed {"data": null, "timed_out": true, "signal_name": "approval"}

--> block SELECT df.start(
SELECT df.start(
'SELECT id, total FROM orders WHERE id = 1' |=> 'order'
~> df.wait_for_signal('approval', 86400) |=> 'sig' -- 24h timeout
~> df.if(
'SELECT NOT ($sig::jsonb->>''timed_out'')::boolean
AND ($sig::jsonb->''data''->>''approved'')::boolean',
'UPDATE orders SET status = ''approved'' WHERE id = $order.id',
'UPDATE orders SET status = ''rejected'' WHERE id = $order.id'
),
'order-approval'
);
--> starts order
--> waits
--> a1b2c3d4 stands for order
-- Later, approve the order (using the instance ID returned by df.start)
SELECT df.signal('a1b2c3d4', 'approval', '{"approved": true, "approver": "jane@acme.com"}');
--> prints OK
--> order ends completed
SELECT status FROM orders WHERE id = 1;
--> prints approved

--> block SELECT df.start(
SELECT df.start(
'SELECT id FROM documents WHERE id = 1' |=> 'doc'
~> df.join3(
df.wait_for_signal('legal_approval'),
df.wait_for_signal('tech_approval'),
df.wait_for_signal('mgmt_approval')
) |=> 'approvals'
~> 'UPDATE documents SET status = ''approved'' WHERE id = $doc.id',
'multi-approval'
);
--> starts multi
--> waits
--> abc123 stands for multi
-- Each approver sends their signal independently
SELECT df.signal('abc123', 'legal_approval', '{"approved": true}');
SELECT df.signal('abc123', 'tech_approval', '{"approved": true}');
SELECT df.status(:'multi');
--> comes to running
SELECT df.signal('abc123', 'mgmt_approval', '{"approved": true}');
--> multi ends completed
SELECT status FROM documents;
--> prints approved

SELECT df.setvar('job_api', 'https://jobs.example.com');
--> block SELECT df.start(
SELECT df.start(
df.http('{job_api}/start', 'POST', '{"type": "render"}') |=> 'job'
~> df.wait_for_signal('job_complete', 3600) |=> 'result'
~> df.if(
'SELECT NOT ($result::jsonb->>''timed_out'')::boolean',
'INSERT INTO completed_jobs VALUES ($job, $result)',
'INSERT INTO failed_jobs VALUES ($job, ''timeout'')'
),
'webhook-job'
);
--> starts job
--> waits
-- External system calls back via df.signal when job completes
-- (e.g., via a webhook endpoint that calls df.signal)
SELECT df.signal(:'job', 'job_complete', 'rendered');
--> job ends completed
SELECT job ->> 'status', result ->> 'data' FROM completed_jobs;
--> prints 200 | rendered
