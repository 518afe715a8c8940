-- df-api, 0: how an argument that is a step is read; limits; the guard against misuse.

-- 0: NULL in, NULL out, where all parameters must be there
SELECT df.seq(NULL, 'x'), df.sleep(NULL), df.status(NULL);
--> prints (null) | (null) | (null)
SELECT df.start(NULL);
--> fails XX000 unboxing fut argument failed

-- 0.1
SELECT df.seq('SELECT 1', df.sleep(5));
--> prints {"node_type":"THEN","left_node":{"node_type":"SQL","query":"SELECT 1"},"right_node":{"node_type":"SLEEP","query":"5"}}
SELECT df.seq(' { "query" : "a" , "node_type" : "SQL", "colour": "red" } ', 'x');
--> prints {"node_type":"THEN","left_node":{"node_type":"SQL","query":"a"},"right_node":{"node_type":"SQL","query":"x"}}
SELECT df.seq('{"node_type":"THEN","left_node":"a"}', 'x');
--> fails XX000 Invalid Durofut JSON: failed to deserialize workflow step: Durofut children must be JSON objects at line <any> column <any>
SELECT df.seq('{"node_type":"IF","condition_node":[1]}', 'x');
--> fails XX000 Invalid Durofut JSON: failed to deserialize workflow step: condition_node must be a Durofut JSON object at line <any> column <any>
SELECT df.seq('{"node_type":"JOIN","extra_nodes":["a"]}', 'x');
--> fails XX000 Invalid Durofut JSON: failed to deserialize workflow step: extra_nodes entries must be Durofut JSON objects at line <any> column <any>
SELECT df.seq('{"node_type":"NOPE"}', 'x');
--> prints {"node_type":"THEN","left_node":{"node_type":"SQL","query":"{\"node_type\":\"NOPE\"}"},"right_node":{"node_type":"SQL","query":"x"}}
SELECT df.seq('{"a":1}', 'x');
--> prints {"node_type":"THEN","left_node":{"node_type":"SQL","query":"{\"a\":1}"},"right_node":{"node_type":"SQL","query":"x"}}
SELECT df.start('{"node_type":"NOPE"}');
--> fails XX000 Invalid durable function: Unknown node_type 'NOPE'. Valid types: SQL, THEN, IF, JOIN, LOOP, BREAK, RACE, SLEEP, WAIT_SCHEDULE, HTTP, HTTP_MULTIPART, SIGNAL
SELECT df.start('{"node_type":"THEN","left_node":1}');
--> fails XX000 Invalid durable function: Malformed Durofut JSON with node_type 'THEN': Durofut children must be JSON objects at line <any> column <any>

-- 0.2: 257 steps in a chain pass, 258 do not
CREATE FUNCTION chain(steps int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE v text := 'SELECT 1';
BEGIN
    FOR n IN 2 .. steps LOOP v := df.seq(v, 'SELECT ' || n); END LOOP;
    RETURN v;
END $$;
SELECT df.start(chain(257));
--> starts longest
SELECT df.start(chain(258));
--> fails XX000 Invalid durable function graph: root<any>.left: Graph exceeds maximum nesting depth of 256. Simplify the workflow or break it into multiple instances.
SELECT df.start('{"node_type":"JOIN","left_node":{"node_type":"SQL","query":"1"},"right_node":{"node_type":"SQL","query":"2"},"extra_nodes":['
    || (SELECT string_agg('{"node_type":"SQL","query":"3"}', ',') FROM generate_series(1, 10000)) || ']}');
--> fails XX000 Invalid durable function graph: root<any>: Workflow exceeds maximum node count of 10000. Simplify the workflow or break it into multiple instances.
--> longest ends completed {"rows": [{"?column?": 257}], "row_count": 1}
SELECT count(*) FROM df.nodes WHERE instance_id = :'longest';
--> prints 513

-- 0.3
SELECT df.setvar('a', 'b') ~> df.sql('SELECT 1');
--> fails XX000 df.setvar cannot be used as a workflow step. Call df.setvar before df.start().
SELECT df.start(df.unsetvar('a'));
--> fails XX000 Invalid durable function: df.unsetvar cannot be used as a workflow step. Call df.unsetvar before df.start().
SELECT df.seq('SELECT 1', df.clearvars());
--> fails XX000 df.clearvars cannot be used as a workflow step. Call df.clearvars before df.start().
SELECT df.setvar('a', 'b');
SELECT df.seq('SELECT 1', df.getvar('a'));
--> prints {"node_type":"THEN","left_node":{"node_type":"SQL","query":"SELECT 1"},"right_node":{"node_type":"SQL","query":"b"}}
