-- Examples of the user guide, "Quick Reference Card", as printed; those with placeholders that are no SQL
-- (fast, slow, body) cannot be evaluated and are left out. 'yes', 'no' and 'fast_query' are no statements: they fail.

-- example labelled
SELECT df.start('SELECT 1', 'optional-label');

-- example in-database
SELECT df.start('SELECT 1', 'label', 'analytics');

-- example database-only
SELECT df.start('SELECT 1', database => 'analytics');

-- example chain
SELECT df.start('SELECT 1' ~> 'SELECT 2' ~> 'SELECT 3');

-- example named
SELECT df.start('SELECT 1' |=> 'myvar' ~> 'SELECT $myvar * 2');

-- example join-operator
SELECT df.start('SELECT 1' & 'SELECT 2'); -- operator

-- example join-function
SELECT df.start(df.join('SELECT 1', 'SELECT 2')); -- function

-- example race-placeholder
SELECT df.start('fast_query' | df.sleep(30)); -- operator

-- example if-operator
SELECT df.start('SELECT true' ?> 'yes' !> 'no'); -- operator

-- example if-function
SELECT df.start(df.if('SELECT true', 'yes', 'no')); -- function
