-- Examples of the user guide, "Multi-Database Support", as printed.

-- example daily-report
SELECT df.start(
'INSERT INTO reports (date, total) SELECT now(), count(*) FROM events',
'daily-report',
'analytics'
);

-- example named-parameter
SELECT df.start(
'SELECT 1',
database => 'analytics'
);

-- example tenants
SELECT df.start(
'CALL refresh_materialized_views()',
'tenant-alpha-refresh',
'tenant_alpha'
);
SELECT df.start(
'CALL refresh_materialized_views()',
'tenant-beta-refresh',
'tenant_beta'
);
