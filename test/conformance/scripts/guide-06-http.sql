-- The user guide, "HTTP Requests". Alone: the last examples wait for a schedule.
--> alone
--> http
--> name playground
--> include playground
CREATE TABLE users_cache (data jsonb);
-- columns that the examples mention and the guide's sample data has not
ALTER TABLE playground.users ADD notified boolean DEFAULT false;
ALTER TABLE playground.orders ADD order_id int DEFAULT 77, ADD total numeric DEFAULT 99.99;

--> block SELECT df.start(
SELECT df.start(
df.http('https://api.example.com/users/123', 'GET') |=> 'user'
~> 'INSERT INTO users_cache (data) VALUES (($user::jsonb->>''body'')::jsonb)',
'fetch-user'
);
--> starts fetch
--> ends completed
--> requested GET https://api.example.com/users/123
SELECT data ->> 'path' FROM users_cache;
--> prints /users/123

--> block SELECT df.start(
SELECT df.start(
df.http(
'https://api.example.com/orders',
'POST',
'{"product_id": 42, "quantity": 2}'
) |=> 'response'
~> df.if(
'SELECT ($response::jsonb->>''ok'')::boolean',
'INSERT INTO playground.logs (msg) VALUES (''Order created'')',
'INSERT INTO playground.logs (msg, level) VALUES (''Order failed'', ''error'')'
),
'create-order'
);
--> starts create
--> ends completed
--> requested POST https://api.example.com/orders {"product_id": 42, "quantity": 2}
SELECT msg FROM playground.logs;
--> prints Order created

--> block SELECT df.start(
SELECT df.start(
df.http(
'https://api.example.com/secure/data',
'GET',
NULL,
'{"Authorization": "Bearer token123", "X-Custom-Header": "value"}'::jsonb
) |=> 'response'
~> 'SELECT ($response::jsonb->>''body'')::jsonb',
'authenticated-request'
);
--> starts secure
--> ends completed
--> requested GET https://api.example.com/secure/data authorization: Bearer token123
--> requested GET https://api.example.com/secure/data x-custom-header: value

--> block SELECT df.start(
SELECT df.start(
df.join(
df.http('https://api.example.com/users', 'GET'),
df.http('https://api.example.com/products', 'GET')
) |=> 'results'
~> 'INSERT INTO playground.logs (msg) VALUES (''Fetched users and products'')',
'parallel-fetch'
);
--> starts parallel
--> ends completed
--> requested GET https://api.example.com/users
--> requested GET https://api.example.com/products

--> block SELECT df.start(
SELECT df.start(
'SELECT id, email FROM playground.users WHERE id = 1' |=> 'user'
~> df.http(
'https://api.example.com/notifications',
'POST',
'{"user_id": "$user.id", "message": "Welcome!"}'
) |=> 'notification'
~> 'UPDATE playground.users SET notified = true WHERE id = ($user::jsonb->>''id'')::int',
'send-notification'
);
--> starts notification
--> ends failed <any>
--> requested POST https://api.example.com/notifications {"user_id": "1", "message": "Welcome!"}
-- the guide's last step takes $user for an object, but it is the first column, the number 1: it should say $user.id
SELECT df.start(
'SELECT id, email FROM playground.users WHERE id = 1' |=> 'user'
~> 'UPDATE playground.users SET notified = true WHERE id = $user.id'
);
--> starts notified
--> ends completed
SELECT id FROM playground.users WHERE notified;
--> prints 1

--> block SELECT df.start(
SELECT df.start(
df.http('https://api.example.com/users/999', 'GET') |=> 'response'
~> df.if(
'SELECT ($response::jsonb->>''status'')::int = 404',
'INSERT INTO playground.logs (msg) VALUES (''User not found - creating new'')'
~> df.http('https://api.example.com/users', 'POST', '{"name": "New User"}'),
'SELECT ($response::jsonb->>''body'')::jsonb'
),
'fetch-or-create-user'
);
--> starts fetch_or_create
--> ends completed
--> requested POST https://api.example.com/users {"name": "New User"}
SELECT count(*) FROM playground.logs WHERE msg = 'User not found - creating new';
--> prints 1

--> block SELECT df.start(
SELECT df.start(
'SELECT order_id, status, total FROM playground.orders WHERE id = 1' |=> 'order'
~> df.http(
'https://partner.example.com/webhook/order-update',
'POST',
'{"order_id": "$order.order_id", "status": "$order.status", "total": "$order.total"}',
'{"X-Webhook-Secret": "shared-secret-123"}'::jsonb
) |=> 'webhook_response'
~> 'INSERT INTO playground.logs (msg) VALUES (''Webhook sent: '' || ($webhook_response::jsonb->>''status''))',
'send-order-webhook'
);
--> starts webhook
--> ends completed
--> requested POST https://partner.example.com/webhook/order-update {"order_id": "77", "status": "pending", "total": "99.99"}
--> requested POST https://partner.example.com/webhook/order-update x-webhook-secret: shared-secret-123
SELECT count(*) FROM playground.logs WHERE msg = 'Webhook sent: 200';
--> prints 1

--> block SELECT df.start(
SELECT df.start(
@> (
df.wait_for_schedule('*/5 * * * *') -- Every 5 minutes
~> df.http('https://api.example.com/status', 'GET') |=> 'status'
~> df.if(
'SELECT (($status::jsonb->>''body'')::jsonb->>''healthy'')::boolean = false',
'INSERT INTO playground.logs (msg, level) VALUES (''Service unhealthy!'', ''error'')',
'SELECT ''healthy'''
)
),
'api-health-monitor'
);
--> starts health
--> waits
--> time passes 5 minutes
SELECT count(*) > 0 FROM playground.logs WHERE msg = 'Service unhealthy!';
--> comes to t

--> block -- Create table to store commit data (sha, author, message, time)
-- Create table to store commit data (sha, author, message, time)
CREATE TABLE IF NOT EXISTS github_commits (
id SERIAL PRIMARY KEY,
sha TEXT UNIQUE,
author TEXT,
message TEXT,
committed_at TIMESTAMPTZ,
fetched_at TIMESTAMPTZ DEFAULT now()
);
-- Configure the sync URL using durable function variable
SELECT df.setvar('github_url', 'https://api.github.com/repos/microsoft/duroxide/commits?per_page=5');
-- Start scheduled commit sync (runs every 30 minutes)
SELECT df.start(
@> (
(df.http(
'{github_url}',
'GET',
NULL,
'{"Accept": "application/vnd.github.v3+json", "User-Agent": "pg_durable"}'::jsonb
) |=> 'response')
~> 'INSERT INTO github_commits (sha, author, message, committed_at)
SELECT
c->>''sha'',
c->''commit''->''author''->>''name'',
c->''commit''->>''message'',
(c->''commit''->''author''->>''date'')::timestamptz
FROM jsonb_array_elements(($response::jsonb->>''body'')::jsonb) AS c
ON CONFLICT (sha) DO UPDATE SET
fetched_at = now()
RETURNING sha'
~> df.wait_for_schedule('*/30 * * * *') -- Every 30 minutes
),
'github-commit-sync'
);
--> starts commits
--> waits
-- Check the results
SELECT sha, author, committed_at, LEFT(message, 50) AS message FROM github_commits;
--> prints c0ffee | Ada | 2026-01-02 03:04:05+00 | First commit
--> requested GET https://api.github.com/repos/microsoft/duroxide/commits?per_page=5 user-agent: pg_durable
-- To stop the sync:
SELECT df.cancel(:'commits', 'Stopping commit sync');
--> prints Instance <commits> cancelled: Stopping commit sync
--> session superuser
SELECT df.cancel(:'health');
