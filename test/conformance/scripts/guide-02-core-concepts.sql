-- The user guide, "Core Concepts".
--> include setup

-- Instance IDs: the list of uses
SELECT df.start('SELECT 1 AS n');
--> starts one
--> ends completed
--> a1b2c3d4 stands for one
SELECT df.status('a1b2c3d4');
--> prints completed
SELECT df.result('a1b2c3d4');
--> prints {"rows": [{"n": 1}], "row_count": 1}
SELECT df.cancel('a1b2c3d4');
--> prints Instance <one> cancelled: Cancelled by user
SELECT df.status('a1b2c3d4');
--> prints completed

--> block -- This creates a JSON string representing the graph.
-- This creates a JSON string representing the graph.
SELECT 'SELECT 1' ~> 'SELECT 2';
--> prints {"node_type":"THEN","left_node":{"node_type":"SQL","query":"SELECT 1"},"right_node":{"node_type":"SQL","query":"SELECT 2"}}
-- Only df.start() writes to the database
SELECT df.start('SELECT 1' ~> 'SELECT 2');
--> starts two_steps
--> ends completed {"rows": [{"?column?": 2}], "row_count": 1}
SELECT count(*) FROM df.instances;
--> prints 2
