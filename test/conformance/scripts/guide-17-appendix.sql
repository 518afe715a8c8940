-- The user guide, "Appendix: Test Data Setup". The block itself is docs/playground.sql; its summary is here.
--> name playground
--> include playground
--> fragment -- ============================================================================
-- Summary
SELECT 'Test data setup complete!' as status;
--> prints Test data setup complete!
SELECT 'Users: ' || COUNT(*) FROM playground.users;
--> prints Users: 5
SELECT 'Orders: ' || COUNT(*) FROM playground.orders;
--> prints Orders: 6
SELECT 'Tasks: ' || COUNT(*) FROM playground.task_queue;
--> prints Tasks: 5
SELECT count(*) FROM playground.metrics;
--> prints 5
SELECT playground.generate_report('x');
--> prints Report generated: x at <any>
