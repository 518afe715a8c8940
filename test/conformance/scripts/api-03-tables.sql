-- df-api, 1.2 and 3: starts, and the tables that they write.
--> name nologin_role
-- 1.2
SELECT df.start('SELECT 1', transaction_mode => 'sometimes');
--> fails XX000 invalid transaction_mode "sometimes" for df.start(): expected 'caller' or 'new'
SELECT df.start('SELECT 1', database => 'nowhere');
--> fails XX000 database "nowhere" does not exist
SELECT df.start('{"node_type":"SQL","query":"1","condition_node":{"node_type":"SQL","query":"1"}}');
--> fails XX000 Invalid durable function graph: root: condition_node is not valid for SQL nodes
SELECT df.start('{"node_type":"RACE","left_node":{"node_type":"SQL","query":"1"},"right_node":{"node_type":"SQL","query":"2"},"extra_nodes":[]}');
--> fails XX000 Invalid durable function graph: root: extra_nodes is not valid for RACE nodes
SELECT df.start(df.seq('a', '{"node_type":"IF","left_node":{"node_type":"SQL","query":"1"},"right_node":{"node_type":"SQL","query":"2"},"query":"{\"condition_node\":1}"}'));
--> fails XX000 Invalid durable function graph: root.right: condition_node in IF must be a first-class Durofut field, not embedded in query
SELECT df.start('{"node_type":"THEN"}');
--> fails 23514 new row for relation "nodes" violates check constraint "nodes_structure_chk"
SELECT df.start('{"node_type":"SQL","query":"SELECT 1","result_name":"no-name"}');
--> fails 23514 new row for relation "nodes" violates check constraint "nodes_result_name_chk"

-- part of the caller's transaction
BEGIN;
SELECT df.start('SELECT 1', 'rolled back');
ROLLBACK;
SELECT count(*) FROM df.instances;
--> prints 0
BEGIN;
SELECT df.start('SELECT 7 AS n', 'committed');
--> starts committed
SELECT status, submitted_by = current_user::regrole, created_at = now(), completed_at IS NULL FROM df.instances;
--> prints pending | t | t | t
COMMIT;
--> ends completed {"rows": [{"n": 7}], "row_count": 1}
SELECT status, completed_at >= created_at FROM df.instances;
--> prints completed | t

-- per row, in a function, in a DO block
SELECT count(df.start('SELECT ' || n, 'many')) FROM generate_series(1, 5) AS n;
--> prints 5
DO $$ BEGIN PERFORM df.start('SELECT 1' ~> 'SELECT 2', 'many'); END $$;
SELECT count(*) FROM df.instances WHERE label = 'many' AND status = 'completed';
--> comes to 6

-- 3.1, 3.2: how an envelope is stored
SELECT df.start(df.loop('SELECT 1' ~> df.if('SELECT true', df.break('"out"'), df.sleep(1)) , 'SELECT false') & 'SELECT 2' , 'stored');
--> starts stored
--> ends completed ["out", {"rows": [{"?column?": 2}], "row_count": 1}]
SELECT node_type, query ~ '^\{"condition_node":"[0-9a-f]{8}"\}$' FROM df.nodes WHERE instance_id = :'stored' AND node_type IN ('JOIN', 'LOOP', 'IF') ORDER BY 1;
--> prints IF | t
--> prints JOIN | (null)
--> prints LOOP | t
SELECT column_name FROM information_schema.columns WHERE table_schema = 'df' AND table_name = 'instances' ORDER BY ordinal_position;
--> prints id
--> prints label
--> prints root_node
--> prints status
--> prints submitted_by
--> prints database
--> prints created_at
--> prints updated_at
--> prints completed_at
SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'df.nodes'::regclass AND attnum > 0;
--> prints id,instance_id,node_type,query,result_name,left_node,right_node,status,result,error,submitted_by,database,created_at,updated_at,status_details
SELECT string_agg(conname, ',' ORDER BY conname COLLATE "C") FROM pg_constraint WHERE conrelid IN ('df.instances'::regclass, 'df.nodes'::regclass, 'df.vars'::regclass) AND contype <> 'n';
--> prints instances_id_format_chk,instances_identity_key,instances_pkey,instances_root_node_format_chk,instances_root_node_same_instance_fkey,instances_status_chk,nodes_id_format_chk,nodes_instance_id_format_chk,nodes_instance_id_present_chk,nodes_instance_identity_fkey,nodes_left_node_format_chk,nodes_left_node_same_instance_fkey,nodes_node_type_chk,nodes_pkey,nodes_result_name_chk,nodes_result_status_chk,nodes_right_node_format_chk,nodes_right_node_same_instance_fkey,nodes_status_chk,nodes_structure_chk,nodes_submitted_by_present_chk,vars_pkey
SELECT relname, relrowsecurity, relforcerowsecurity, polname FROM pg_class JOIN pg_policy ON polrelid = pg_class.oid WHERE relnamespace = 'df'::regnamespace ORDER BY 1;
--> prints instances | t | f | instances_user_isolation
--> prints nodes | t | f | nodes_user_isolation
--> prints vars | t | f | vars_user_isolation

-- 3.5
DELETE FROM df.instances;
--> fails 42501 permission denied for table instances
UPDATE df.instances SET submitted_by = 0;
--> fails 42501 permission denied for table instances
INSERT INTO df.instances (id, root_node, submitted_by, status) VALUES ('00000001', '00000002', current_user::regrole, 'running');
--> fails 42501 permission denied for table instances
INSERT INTO df.instances (id, root_node, submitted_by) VALUES ('NOT HEX', '00000002', current_user::regrole);
--> fails 23514 new row for relation "instances" violates check constraint "instances_id_format_chk"
SELECT * FROM df._worker_epoch;
--> fails 42501 permission denied for table _worker_epoch
-- 3.6
SELECT df.duroxide_schema();
--> prints _df
SELECT sentinel, schema_version FROM _df._worker_ready;
--> prints t | 1

-- 1.2, 9: LOGIN
--> session superuser
CREATE ROLE nologin_role NOLOGIN;
SELECT df.grant_usage('nologin_role');
SET ROLE nologin_role;
SELECT df.start('SELECT 1');
--> fails XX000 current_user "nologin_role" does not have LOGIN privilege. The background worker must connect as this role to execute SQL. Grant LOGIN to this role or call df.start() as a role with LOGIN.
RESET ROLE;
-- 1.8
SELECT to_regprocedure('df.debug_connection()'), to_regprocedure('df.ensure_durofut(text)'), to_regprocedure('df.start(text,text,text)');
--> prints (null) | (null) | (null)
