-- df-api, 2: operators, the composition rules by their numbers.
SELECT 'a' |=> 'x' ~> 'b' |=> 'y';
--> prints {"node_type":"THEN","left_node":{"node_type":"SQL","query":"a","result_name":"x"},"right_node":{"node_type":"SQL","query":"b"},"result_name":"y"}
SELECT 'a' |=> 'x' |=> 'y';
--> prints {"node_type":"SQL","query":"a","result_name":"y"}
SELECT ('a' |=> 'x') ~> ('b' |=> 'y');
--> prints {"node_type":"THEN","left_node":{"node_type":"SQL","query":"a","result_name":"x"},"right_node":{"node_type":"SQL","query":"b","result_name":"y"}}
SELECT 'c' ?> 'a' !> 'b' ~> 'd';
--> prints {"node_type":"THEN","left_node":{"node_type":"IF","left_node":{"node_type":"SQL","query":"a"},"right_node":{"node_type":"SQL","query":"b"},"condition_node":{"node_type":"SQL","query":"c"}},"right_node":{"node_type":"SQL","query":"d"}}
SELECT 'z' ~> 'c' ?> 'a' !> 'b';
--> prints {"node_type":"IF","left_node":{"node_type":"SQL","query":"a"},"right_node":{"node_type":"SQL","query":"b"},"condition_node":{"node_type":"THEN","left_node":{"node_type":"SQL","query":"z"},"right_node":{"node_type":"SQL","query":"c"}}}
SELECT 'c' ?> 'a' ~> 'x' !> 'b';
--> fails P0001 Invalid if-then-else: left side of !> must be a ?> expression
SELECT 'c1' ?> 'a1' !> 'c2' ?> 'a2' !> 'b2' = df.if(df.if('c1', 'a1', 'c2'), 'a2', 'b2');
--> prints t
SELECT 'a' & 'b' ~> 'c' = df.seq(df.join('a', 'b'), 'c'), 'a' ~> 'b' & 'c' = df.join(df.seq('a', 'b'), 'c'), 'a' | 'b' & 'c' = df.join(df.race('a', 'b'), 'c');
--> prints t | t | t
SELECT 'a' & 'b' & 'c' = df.join(df.join('a', 'b'), 'c');
--> prints t
SELECT 'a' & 'b' |=> 'j' = df.as(df.join('a', 'b'), 'j');
--> prints t
SELECT @> 'a' ~> 'b' = df.seq(df.loop('a'), 'b'), @> ('a' ~> 'b') = df.loop(df.seq('a', 'b')), 'a' ~> @> 'b' ~> 'c' = df.seq(df.seq('a', df.loop('b')), 'c');
--> prints t | t | t
SELECT 'a' ~> 'x'::text = df.seq('a', 'x');
--> prints t
SELECT 'c' ?> 'a';
--> prints {"condition": "c", "_partial_if": true, "then_branch": "a"}
SELECT df.start('c' ?> 'a');
--> starts partial
--> ends failed SQL execution failed: error returned from database: syntax error at or near "{"
SELECT 'not a partial' !> 'b';
--> fails 22P02 invalid input syntax for type json
-- they work with any search_path, and other operators of these names stay what they are
SET search_path = pg_catalog;
SELECT 'a' ~> 'b' = df.seq('a', 'b');
--> prints t
SELECT 5 & 3, 5 | 3, ARRAY[1, 2] @> ARRAY[1], '{"a":1}'::jsonb @> '{"a":1}';
--> prints 1 | 7 | t | t
