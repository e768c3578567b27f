-- 0025 inserted messages
-- What: a trigger that deletes the summaries which end after a message that another program inserts.
-- Why:  a window has a summary and the messages after its end. A message with an earlier time, as from a program whose clock
--       lags, would be in neither. add_messages does it itself.
-- Lock: SHARE ROW EXCLUSIVE on the messages for a moment: writers wait.

DO $trigger$
BEGIN
    IF to_regclass('pg_catalog.pg_dist_partition') IS NULL AND NOT EXISTS (
        SELECT 1 FROM pg_trigger
        WHERE tgrelid = '{schema}.{prefix}_messages'::regclass AND tgname = '{prefix}_summary_insert'
    ) THEN
        CREATE TRIGGER {prefix}_summary_insert AFTER INSERT ON {schema}.{prefix}_messages
            FOR EACH ROW WHEN (
                NOT NEW.aside AND current_setting('voltmem.is_adding', true) IS DISTINCT FROM 'yes'
            )
            EXECUTE FUNCTION {schema}.{prefix}_note_changed_summary();
    END IF;
END
$trigger$;
