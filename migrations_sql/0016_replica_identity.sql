-- 0016 replica identity
-- What: changed_lines has a replica identity, all columns, since it has no key.
-- Why:  logical replication publishes no UPDATE or DELETE of a table without one: with a publication for all tables, the
--       next append after a change failed. On Citus, no shard could be moved while writes go on.
-- Lock: ACCESS EXCLUSIVE on changed_lines for a moment.

ALTER TABLE {schema}.{prefix}_changed_lines REPLICA IDENTITY FULL;
