-- Examples of the user guide, "Troubleshooting", as printed there in running text: broken into lines here.

-- example result-not-captured
SELECT df.start('SELECT id FROM users LIMIT 1');

-- example result-captured
SELECT df.start('SELECT id FROM users LIMIT 1' |=> 'user_id');

-- example final-query
SELECT df.start(
'INSERT INTO logs (msg) VALUES (''done'')'
~> 'SELECT ''success'' as status'
);
