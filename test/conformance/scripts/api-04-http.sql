-- df-api, 4.12 with decisions 19 and 20: HTTP and HTTP_MULTIPART.
--> http
-- an answer below 500 is a result
SELECT df.start(df.http('https://api.example.com/users/999', 'GET') |=> 'r' ~> 'SELECT $r.status AS status, $r.ok AS ok, $r.encoding AS encoding, $r.headers::jsonb ->> ''content-type'' AS type, ($r::jsonb -> ''duration_ms'') IS NOT NULL AS timed');
--> starts not_found
--> ends completed {"rows": [{"ok": false, "type": "application/json", "timed": true, "status": 404, "encoding": "text"}], "row_count": 1}
SELECT df.start(df.http('https://api.example.com/broken', 'get'));
--> starts broken
--> ends failed HTTP GET https://api.example.com/broken returned 500: {"error":"out of order"}
-- a body goes with every method; no Content-Type by itself; the key names instance, node and generation
SELECT df.start(df.http('https://api.example.com/echo', 'DELETE', 'the body', '{"X-A": "1", "X-B": 2}'));
--> starts echo
--> ends completed
--> requested DELETE https://api.example.com/echo the body
--> requested DELETE https://api.example.com/echo x-a: 1
--> requested DELETE https://api.example.com/echo x-b: undefined
--> requested DELETE https://api.example.com/echo content-type: undefined
--> requested DELETE https://api.example.com/echo idempotency-key: <echo>:<id>:1
SELECT df.start(df.http('https://api.example.com/keyed', 'POST', NULL, '{"idempotency-key": "mine"}'));
--> starts keyed
--> ends completed
--> requested POST https://api.example.com/keyed idempotency-key: mine
-- raw substitution, 5.1
SELECT df.setvar('host', 'api.example.com');
SELECT df.start($$SELECT 'it''s' AS t, NULL::text AS z, '{"a": 1}'::jsonb AS j$$ |=> 'r' ~> df.http('https://{host}/raw', 'POST', '$r.t $r.z? $r.j {host} {no}', '{"X-T": "$r.t"}'));
--> starts raw
--> ends completed
--> requested POST https://api.example.com/raw it's NULL {"a":1} api.example.com {no}
--> requested POST https://api.example.com/raw x-t: it's
SELECT df.start('SELECT 1 AS a' |=> 'r' ~> df.http('https://api.example.com/raw', 'POST', '$r.b'));
--> starts no_field
--> ends failed $r.b: result has no field 'b' (available: a)
-- policy
SELECT df.start(df.http('https://example.org/', 'GET'));
--> starts not_allowed
--> ends failed Blocked: 'example.org' is not in the allowed endpoint list.<any>
SELECT df.start(df.http('https://127.0.0.1/', 'GET'));
--> starts bare
--> ends failed Blocked: requests to bare IP addresses are not permitted.<any>
SELECT df.start(df.http('{scheme}://api.example.com/', 'GET'));
--> starts no_scheme
--> ends failed Blocked: unsupported URL scheme '{scheme}'. Only http and https are allowed.
-- multipart
SELECT df.start(df.http_multipart('https://api.example.com/form', 'POST', '[{"name": "a", "data_b64": "aGVsbG8="}, {"name": "f", "data_b64": "aGk=", "filename": "x.txt", "content_type": "text/plain"}]'));
--> starts form
--> ends completed
--> requested POST https://api.example.com/form <any>form-data; name="a"<any>hello<any>form-data; name="f"; filename="x.txt"<any>text/plain<any>hi<any>
SELECT df.start('SELECT ''aGk='' AS b' |=> 'r' ~> df.http_multipart('https://api.example.com/form', 'POST', '[{"name": "a", "data_b64": "x$r"}]'));
--> starts mixed
--> ends failed HTTP_MULTIPART node <id>: data_b64 for part 'a' mixes a variable reference with other text. Only a whole-value reference is supported (e.g. data_b64 => '$result' or '{myvar}'), because splicing into base64 would corrupt the payload.
SELECT df.start(df.http_multipart('https://api.example.com/form', 'POST', '[{"name": "a", "data_b64": "%%%"}]'));
--> starts no_base64
--> ends failed Invalid base64 in part 'a': <any>
