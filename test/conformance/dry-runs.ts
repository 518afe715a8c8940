/**
 * The drawings of guide/explain.sql. The guide prints them without conditions and connectors (and its page lost most of
 * the drawing); the layout is that of the function.
 */
export const dryRuns: Readonly<Record<string, string>> = {
  'dry-run': `SQL |=> 'a': SELECT 1
→ SQL |=> 'b': SELECT 2
→ IF
    ? condition:
      └─SQL: SELECT $a > 0
    ✓ then:
      └─SQL: SELECT 'yes'
    ✗ else:
      └─SQL: SELECT 'no'`,
  'etl-with-validation': `SQL |=> 'record': SELECT * FROM staging WHERE status = 'pending' LIMIT 1
→ IF
    ? condition:
      └─SQL: SELECT $record IS NOT NULL
    ✓ then:
      └─SQL: UPDATE staging SET status = 'validating' WHERE id = $record.id
      → JOIN (2)
          ║ branch 1:
            ├─SQL |=> 'schema_ok': SELECT validate_schema($record.data)
          ║ branch 2:
            └─SQL |=> 'rules_ok': SELECT validate_rules($record.data)
      → IF
          ? condition:
            └─SQL: SELECT $schema_ok AND $rules_ok
          ✓ then:
            └─SQL: INSERT INTO target SELECT * FROM staging WHERE id = $record.id
            → SQL: UPDATE staging SET status = 'loaded' WHERE id = $record.id
          ✗ else:
            └─SQL: UPDATE staging SET status = 'failed' WHERE id = $record.id
    ✗ else:
      └─SQL: SELECT 'no pending records'`,
  'cleanup-loop': `LOOP (infinite)
    ↻ body:
      └─WAIT_SCHEDULE '0 * * * *'
      → SQL |=> 'deleted': DELETE FROM logs WHERE created_at < now() - interval '7 days'
      → IF
          ? condition:
            └─SQL: SELECT $deleted > 0
          ✓ then:
            └─SQL: INSERT INTO audit (action, count) VALUES ('cleanup', $deleted)
          ✗ else:
            └─SQL: SELECT 'nothing to clean'`,
  'midnight-archive': `LOOP (infinite)
    ↻ body:
      └─WAIT_SCHEDULE '0 0 * * *'
      → SQL |=> 'to_archive': SELECT COUNT(*) as cnt FROM playground.orders WHERE status = 'completed' AND processed_at < now() - interval '7 days'
      → IF
          ? condition:
            └─SQL: SELECT $to_archive > 0
          ✓ then:
            └─SQL |=> 'archived': UPDATE playground.orders SET status = 'archived' WHERE status = 'completed' AND processed_at < now() - interval '7 days'
            → SQL: INSERT INTO playground.logs (msg, level) VALUES ('Archived ' || $archived || ' orders', 'info')
          ✗ else:
            └─SQL: INSERT INTO playground.logs (msg) VALUES ('No orders to archive')`,
};
