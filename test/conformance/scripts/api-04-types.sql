-- df-api, 4.2 with decision 5: what each type becomes in a result.
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN small AS int CHECK (VALUE < 100);
SELECT df.start($$SELECT true AS b, 1::int2 AS i2, 2 AS i4, 9007199254740993 AS i8, 1.5::float8 AS f8, 't' AS t, 'v'::varchar AS v, 'n'::name AS n$$);
--> starts plain
--> ends completed
SELECT df.result(:'plain')::jsonb #> '{rows,0}';
--> prints {"b": true, "n": "n", "t": "t", "v": "v", "f8": 1.5, "i2": 1, "i4": 2, "i8": 9007199254740993}
SELECT df.start($$SELECT 'ab'::char(5) AS c, 1.50::numeric AS d, 'NaN'::numeric AS nan, 'NaN'::float8 AS fnan, '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid AS u$$);
--> starts numbers
--> ends completed
SELECT df.result(:'numbers')::jsonb #> '{rows,0}';
--> prints {"c": "ab   ", "d": "1.50", "u": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "nan": "NaN", "fnan": null}
SELECT df.start($$SELECT '2024-06-15 12:30+00'::timestamptz AS tz, '2024-06-15 12:30'::timestamp AS ts, '2024-06-15'::date AS d, '12:30'::time AS t, '1 day 2 hours'::interval AS i$$);
--> starts times
--> ends completed
SELECT df.result(:'times')::jsonb #> '{rows,0}';
--> prints {"d": "2024-06-15", "i": "1 day 02:00:00", "t": "12:30:00", "ts": "2024-06-15T12:30:00", "tz": "2024-06-15T12:30:00+00:00"}
SELECT df.start($$SELECT ARRAY[1, NULL, 3] AS a, ARRAY[]::text[] AS e, 'happy'::mood AS m, (1, 'x')::pair AS p, 7::small AS s, '\x00ff'::bytea AS y, '10.0.0.1'::inet AS ip, '[1,3)'::int4range AS r$$);
--> starts others
--> ends completed
SELECT df.result(:'others')::jsonb #> '{rows,0}';
--> prints {"a": [1, null, 3], "e": [], "m": "happy", "p": {"a": 1, "b": "x"}, "r": "[1,3)", "s": 7, "y": "\\x00ff", "ip": "10.0.0.1"}
SELECT df.start($$SELECT '{"b": [1, 2]}'::jsonb AS j, pg_sleep(0), NULL::int AS n, 1 AS twice, 2 AS twice$$);
--> starts json
--> ends completed {"rows": [{"j": {"b": [1, 2]}, "n": null, "twice": 2, "pg_sleep": null}], "row_count": 1}
