-- df-api, 1.1: step builders; and the examples in the guide's table "Functions".
SELECT df.sql('SELECT 1');
--> prints {"node_type":"SQL","query":"SELECT 1"}
SELECT df.sql('');
--> prints {"node_type":"SQL","query":""}
SELECT df.sleep(60);
--> prints {"node_type":"SLEEP","query":"60"}
SELECT df.sleep(-1);
--> fails XX000 Sleep duration must be non-negative
SELECT df.as('SELECT 1', 'x');
--> prints {"node_type":"SQL","query":"SELECT 1","result_name":"x"}
SELECT df.as('SELECT 1', '');
--> fails XX000 df.as: result name cannot be empty
SELECT df.as('SELECT 1', '1x');
--> fails XX000 df.as: result name '1x' is not a valid identifier — must match [a-zA-Z_][a-zA-Z0-9_]*
SELECT df.join('SELECT 1', 'SELECT 2');
--> prints {"node_type":"JOIN","left_node":{"node_type":"SQL","query":"SELECT 1"},"right_node":{"node_type":"SQL","query":"SELECT 2"}}
SELECT df.join3('a', 'b', 'c');
--> prints {"node_type":"JOIN","left_node":{"node_type":"SQL","query":"a"},"right_node":{"node_type":"SQL","query":"b"},"extra_nodes":[{"node_type":"SQL","query":"c"}]}
SELECT df.race('fast_query', 'slow_query');
--> prints {"node_type":"RACE","left_node":{"node_type":"SQL","query":"fast_query"},"right_node":{"node_type":"SQL","query":"slow_query"}}
SELECT df.if('SELECT true', 'a', 'b');
--> prints {"node_type":"IF","left_node":{"node_type":"SQL","query":"a"},"right_node":{"node_type":"SQL","query":"b"},"condition_node":{"node_type":"SQL","query":"SELECT true"}}
SELECT df.if_rows('found', 'a', 'b');
--> prints {"node_type":"IF","left_node":{"node_type":"SQL","query":"a"},"right_node":{"node_type":"SQL","query":"b"},"query":"{\"condition_type\":\"result_has_rows\",\"result_name\":\"found\"}"}
SELECT df.loop('body');
--> prints {"node_type":"LOOP","left_node":{"node_type":"SQL","query":"body"}}
SELECT df.loop('body', 'SELECT count(*) > 0 FROM q');
--> prints {"node_type":"LOOP","left_node":{"node_type":"SQL","query":"body"},"condition_node":{"node_type":"SQL","query":"SELECT count(*) > 0 FROM q"}}
SELECT df.break();
--> prints {"node_type":"BREAK","query":"{\"break_value\":null}"}
SELECT df.break('{"done": true}');
--> prints {"node_type":"BREAK","query":"{\"break_value\":\"{\\\"done\\\": true}\"}"}
SELECT df.wait_for_schedule('0 * * * *');
--> prints {"node_type":"WAIT_SCHEDULE","query":"{\"cron_expr\":\"0 * * * *\"}"}
SELECT df.wait_for_schedule('61 * * * *');
--> fails XX000 Invalid cron expression '61 * * * *': Invalid expression: Invalid cron expression.
SELECT df.wait_for_schedule('0 0 31 2 *');
--> fails XX000 Invalid cron expression '0 0 31 2 *': Invalid expression: Invalid cron expression.
SELECT df.wait_for_signal('approval');
--> prints {"node_type":"SIGNAL","query":"{\"signal_name\":\"approval\",\"timeout_seconds\":null}"}
SELECT df.wait_for_signal('approval', 3600);
--> prints {"node_type":"SIGNAL","query":"{\"signal_name\":\"approval\",\"timeout_seconds\":3600}"}
SELECT df.wait_for_signal('');
--> fails XX000 Signal name cannot be empty
SELECT df.wait_for_signal('approval', 0);
--> fails XX000 Timeout must be positive

SELECT df.http('https://api.example.com');
--> fails 42501 permission denied for function http
--> session superuser
SELECT df.http('https://h/x');
--> prints {"node_type":"HTTP","query":"{\"url\":\"https://h/x\",\"method\":\"POST\",\"body\":null,\"headers\":null,\"timeout_seconds\":30}"}
SELECT df.http('https://api.example.com', 'post', '{"key": "value"}');
--> prints {"node_type":"HTTP","query":"{\"url\":\"https://api.example.com\",\"method\":\"POST\",\"body\":\"{\\\"key\\\": \\\"value\\\"}\",\"headers\":null,\"timeout_seconds\":30}"}
SELECT df.http('ftp://h/x');
--> fails XX000 Blocked: unsupported URL scheme 'ftp'. Only http and https are allowed.
SELECT df.http('https://h/x', 'HEAD');
--> fails XX000 Invalid HTTP method: HEAD. Must be GET, POST, PUT, DELETE, or PATCH
SELECT df.http('https://h/x', 'GET', NULL, NULL, 0);
--> fails XX000 Timeout must be positive
SELECT df.http_multipart('https://h/x', 'GET', '[{"name":"a","data_b64":"YQ=="}]');
--> fails XX000 Invalid HTTP method for multipart: GET. Must be POST, PUT, or PATCH
SELECT df.http_multipart('https://h/x');
--> fails XX000 parts is required and cannot be NULL
SELECT df.http_multipart('https://h/x', 'POST', '{}');
--> fails XX000 parts must be a JSON array of part objects
SELECT df.http_multipart('https://h/x', 'POST', '[]');
--> fails XX000 parts must contain at least one part
