-- What the examples of the guide mention and the guide does not create.
CREATE TABLE orders (id int, status text, total numeric);
INSERT INTO orders SELECT g, 'pending', g FROM generate_series(1, 11) g;
CREATE TABLE users (id int, name text, active boolean);
INSERT INTO users VALUES (1, 'Alice', true), (2, 'Bob', true), (3, 'Carol', false);
CREATE TABLE logs (msg text);
CREATE TABLE heartbeats (ts timestamp);
CREATE TABLE queue (id int, status text);
INSERT INTO queue VALUES (1, 'pending'), (2, 'pending'), (3, 'pending');
CREATE TABLE task_queue (id int, status text);
INSERT INTO task_queue VALUES (1, 'pending'), (2, 'pending');
-- takes one item of whichever of the two queues has any
CREATE FUNCTION process_next_item() RETURNS int LANGUAGE sql AS $$
    WITH a AS (UPDATE queue SET status = 'done'
               WHERE id = (SELECT min(id) FROM queue WHERE status = 'pending') RETURNING id),
         b AS (UPDATE task_queue SET status = 'done'
               WHERE id = (SELECT min(id) FROM task_queue WHERE status = 'pending') RETURNING id)
    SELECT id FROM a UNION ALL SELECT id FROM b LIMIT 1
$$;
CREATE FUNCTION quick_result() RETURNS text LANGUAGE sql AS $$ SELECT 'quick' $$;
CREATE TABLE batches (done boolean, count int);
CREATE FUNCTION process_batch() RETURNS batches LANGUAGE sql AS $$
    INSERT INTO batches SELECT b.n >= 1, 10 * (b.n + 1) FROM (SELECT count(*)::int AS n FROM batches) b
    RETURNING done, count
$$;
CREATE TABLE report (summary text);
INSERT INTO report VALUES ('all is well');
CREATE TABLE raw_orders (id int, item text, at timestamptz);
INSERT INTO raw_orders SELECT g, 'item ' || g, '2026-01-01' FROM generate_series(1, 150) g;
CREATE TABLE processed_orders (id int, item text, at text);
CREATE TABLE audit_log (instance_id text, label text, action text, ts timestamptz);
CREATE FUNCTION process_data() RETURNS void LANGUAGE sql AS $$ SELECT pg_catalog.pg_sleep(0) $$;
