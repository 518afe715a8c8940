-- The user guide, "Condition Evaluation".
--> include setup
CREATE TABLE empty_table (n int);
CREATE VIEW pending_tasks AS SELECT 1 AS n;
-- whether a condition is taken for true
CREATE FUNCTION judged(condition text) RETURNS text LANGUAGE sql AS
$$ SELECT df.start(df.if(condition, 'SELECT true AS r', 'SELECT false AS r'), condition) $$;

--> block -- Example: condition evaluates the first column of first row
-- Example: condition evaluates the first column of first row
SELECT df.start(
'SELECT count(*) > 10 FROM orders' -- Returns: true or false
?> 'SELECT ''high volume'''
!> 'SELECT ''low volume'''
);
--> starts choice
--> ends completed {"rows": [{"?column?": "high volume"}], "row_count": 1}

--> fragment -- Boolean expressions (most common)
SELECT judged(c), c FROM unnest(ARRAY[
-- Boolean expressions (most common)
'SELECT true', -- → truthy
'SELECT false', -- → falsy
'SELECT count(*) > 0 FROM users', -- → truthy if count > 0
'SELECT EXISTS(SELECT 1 FROM orders)', -- → truthy if exists
-- Numeric comparisons
'SELECT 1', -- → truthy (non-zero)
'SELECT 0', -- → falsy (zero)
'SELECT count(*) FROM empty_table', -- → falsy (returns 0)
-- String conditions
'SELECT ''yes''', -- → truthy
'SELECT ''no''', -- → falsy
'SELECT status FROM orders WHERE id = 1', -- → truthy if non-empty string
-- NULL handling
'SELECT NULL', -- → falsy
'SELECT name FROM users WHERE id = 999' -- → falsy if no rows (NULL)
]) AS c;
--> fragment -- Good: explicit boolean
SELECT judged(c) FROM unnest(ARRAY[
-- Good: explicit boolean
'SELECT count(*) > 0 FROM pending_tasks',
-- Works but less clear: relies on numeric truthiness
'SELECT count(*) FROM pending_tasks'
]) AS c;
--> fragment -- Good: EXISTS always returns true/false
SELECT judged(c) FROM unnest(ARRAY[
-- Good: EXISTS always returns true/false
'SELECT EXISTS(SELECT 1 FROM orders WHERE status = ''pending'')',
-- Works but returns count instead of boolean
'SELECT count(*) > 0 FROM orders WHERE status = ''pending'''
]) AS c;
SELECT count(*) FROM df.instances WHERE status = 'completed';
--> comes to 17
SELECT i.label, df.result(i.id)::jsonb #>> '{rows,0,r}' FROM df.instances AS i WHERE label IS NOT NULL ORDER BY i.label COLLATE "C";
--> prints SELECT 'no' | false
--> prints SELECT 'yes' | true
--> prints SELECT 0 | false
--> prints SELECT 1 | true
--> prints SELECT EXISTS(SELECT 1 FROM orders WHERE status = 'pending') | true
--> prints SELECT EXISTS(SELECT 1 FROM orders) | true
--> prints SELECT NULL | false
--> prints SELECT count(*) > 0 FROM orders WHERE status = 'pending' | true
--> prints SELECT count(*) > 0 FROM pending_tasks | true
--> prints SELECT count(*) > 0 FROM users | true
--> prints SELECT count(*) FROM empty_table | false
--> prints SELECT count(*) FROM pending_tasks | true
--> prints SELECT false | false
--> prints SELECT name FROM users WHERE id = 999 | false
--> prints SELECT status FROM orders WHERE id = 1 | true
--> prints SELECT true | true

--> fragment -- Good: COALESCE ensures a boolean result
SELECT df.start(
'SELECT 1 AS id' |=> 'user_id'
~> (-- Good: COALESCE ensures a boolean result
'SELECT COALESCE(active, false) FROM users WHERE id = $user_id'
?> 'SELECT ''active''' !> 'SELECT ''not active''')
);
--> starts coalesced
--> ends completed {"rows": [{"?column?": "active"}], "row_count": 1}
SELECT df.start(
'SELECT 999 AS id' |=> 'user_id'
~> (-- Risky: NULL if user doesn't exist
'SELECT active FROM users WHERE id = $user_id'
?> 'SELECT ''active''' !> 'SELECT ''not active''')
);
--> starts risky
--> ends completed {"rows": [{"?column?": "not active"}], "row_count": 1}

--> block -- Loop while there are pending items
-- Loop while there are pending items
SELECT df.start(
df.loop(
'SELECT process_next_item()',
'SELECT count(*) > 0 FROM queue WHERE status = ''pending''' -- condition
)
);
--> starts items
--> ends completed
SELECT status, count(*) FROM queue GROUP BY 1;
--> prints done | 3
