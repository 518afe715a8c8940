-- Examples of the user guide, "Getting Started" and "Core Concepts", as printed.

-- example first
SELECT df.start('SELECT ''Hello, durable world!''');

-- example graph
SELECT 'SELECT 1' ~> 'SELECT 2';

-- example two-steps
SELECT df.start('SELECT 1' ~> 'SELECT 2');
