-- Examples of the user guide, "Condition Evaluation", as printed.

-- example condition
SELECT df.start(
'SELECT count(*) > 10 FROM orders' -- Returns: true or false
?> 'SELECT ''high volume'''
!> 'SELECT ''low volume'''
);

-- example loop-condition
SELECT df.start(
df.loop(
'SELECT process_next_item()',
'SELECT count(*) > 0 FROM queue WHERE status = ''pending''' -- condition
)
);
