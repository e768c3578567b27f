"""Rows of every kind, written by the verbs, and SQL that damages them: for each rule, what breaks it."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Final

from voltmem import Message, NativeMessage, PostgresStorage
from voltmem._areas.checks.derived import MEANINGS
from voltmem._areas.checks.schema import MEANINGS as OF_THE_SCHEMA
from voltmem._areas.checks.tables import row_checks
from voltmem._tables import Tables
from voltmem._values import UNSET

if TYPE_CHECKING:
    from tests.conftest import Connection

LIMIT: Final = 10


def all_rules() -> set[str]:
    """Return the names of all rules."""
    tables = Tables("s", "p")
    limits = (UNSET, None, LIMIT)
    of_rows = {rule.name for limit in limits for checks in row_checks(tables, limit) for rule in checks.rules}
    return {*of_rows, *OF_THE_SCHEMA, *MEANINGS}


async def fill(storage: PostgresStorage) -> None:
    """Store something of every kind for the user ada; with base64 as files, the storage must extract it."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    for number in (1, 2, 3):
        await storage.add_message({"id": f"m{number}", "role": "user", "content": f"Où est {number}?"}, "ada", "c1")
    # m3 is set aside, with the parent m2; the line is m1, m2, m4, m5.
    for id, parent in (("m4", "m2"), ("m5", "m4")):
        message = NativeMessage(id=id, role="user", content=[{"type": "text", "text": id}], parent_id=parent)
        await storage.add_message(message, "ada", "c1")
    long = await storage.put_file("ada", os.urandom(600_000))
    await storage.put_file("ada", b"")
    await storage.add_message(Message(id="m6", role="user", content=long.url), "ada", "c1")
    picture = base64.b64encode(os.urandom(3_000)).decode()
    message = NativeMessage(id="m7", role="user", content="Look", format="f", payload={"picture": picture})
    await storage.add_message(message, "ada", "c1")
    await storage.share_conversation("c1", owner="ada")
    await storage.fork_conversation("c1", id="c2", owner="ada")
    await storage.create_conversation({"id": "b1", "user_id": "bob"})
    await storage.delete_user("carl")
    async with storage.record_run("a1", user_id="ada", conversation_id="c1") as run:
        await run.add_step("text", content="words")
        await run.add_event("tool:search", type="tool")


# The statements run without foreign keys and triggers, as a damaged disk or a careless restore leaves rows.
DAMAGE: Final[dict[str, str]] = {
    "index-invalid": """
        UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{shares}_by_conversation'::regclass""",
    "trigger-missing": "ALTER TABLE {conversations} DISABLE TRIGGER USER",
    "index-missing": "DROP INDEX {shares}_by_conversation",
    "key-missing": "ALTER TABLE {conversations} DROP CONSTRAINT {prefix}_conversations_pkey CASCADE",
    "foreign-key-missing": "ALTER TABLE {payloads} DROP CONSTRAINT {prefix}_payloads_conversation_id_fkey",
    "function-changed": """
        CREATE OR REPLACE FUNCTION {tell_watchers}() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RETURN NULL; END $$""",
    "row-doubled": """
        ALTER TABLE {shares} DROP CONSTRAINT {prefix}_shares_pkey;
        INSERT INTO {shares} SELECT * FROM {shares}""",
    "conversation-beyond-limit": """
        INSERT INTO {messages} (conversation_id, message_id, role, content, type)
        SELECT 'b1', 'x' || n, 'user', 'words', 'text' FROM generate_series(1, 11) AS n""",
    "conversation-length-wrong": "UPDATE {conversations} SET line_length = 99, line_end = now() WHERE id = 'c1'",
    "message-without-conversation": "DELETE FROM {conversations} WHERE id = 'c1'",
    "conversation-time-impossible": "UPDATE {conversations} SET updated_at = '20000-01-01' WHERE id = 'b1'",
    "message-time-impossible": "UPDATE {messages} SET created_at = '0044-03-15 BC' WHERE message_id = 'm1'",
    "message-order-tied": """
        UPDATE {messages} AS m SET created_at = o.created_at, seq = o.seq FROM {messages} AS o
        WHERE m.conversation_id = 'c1' AND m.message_id = 'm6'
            AND o.conversation_id = 'c1' AND o.message_id = 'm5'""",
    "message-beyond-sequence": "SELECT setval('{messages}_seq', 1)",
    "message-aside-without-parent": "UPDATE {messages} SET parent_id = NULL WHERE message_id = 'm3'",
    "line-broken": "UPDATE {messages} SET aside = true, parent_id = 'm2' WHERE message_id = 'm4'",
    "line-forked": "UPDATE {messages} SET aside = false WHERE message_id = 'm3'",
    "message-before-parent": "UPDATE {messages} SET parent_id = 'm5' WHERE message_id = 'm4'",
    "message-without-parent": "DELETE FROM {messages} WHERE message_id = 'm2'",
    "message-file-not-noted": "UPDATE {messages} SET file_ids = NULL WHERE message_id = 'm6'",
    "message-file-unreferenced": "DELETE FROM {file_references} WHERE message_id = 'm6'",
    "message-bytes-missing": """
        WITH m AS (UPDATE {messages} SET file_ids = NULL WHERE message_id = 'm7' RETURNING payload::text)
        DELETE FROM {files} AS f USING m WHERE position(f.id IN m.payload) > 0""",
    "message-text-stale": """UPDATE {messages} SET content = 'other' WHERE message_id = 'm4'""",
    "message-words-stale": "UPDATE {messages} SET words = '''0other'':1' WHERE message_id = 'm1'",
    "payload-without-conversation": """
        INSERT INTO {payloads} (conversation_id, format, payload) VALUES ('gone', 'f', '1')""",
    "memory-without-conversation": "INSERT INTO {conversation_memory} VALUES ('gone', 1, 'words', 'set')",
    "lease-without-conversation": "INSERT INTO {leases} VALUES ('gone', 'n', 'h', 1, now(), '1 s')",
    "answer-without-conversation": "INSERT INTO {answers} VALUES ('gone', 'q', 'a', 1, 'failed', now(), now())",
    "answer-piece-without-conversation": "INSERT INTO {answer_pieces} VALUES ('gone', 'a', 1, '[]')",
    "summary-without-conversation": "INSERT INTO {summaries} VALUES ('gone', 's', 'words', now(), now(), '')",
    "share-without-conversation": "UPDATE {shares} SET conversation_id = 'gone'",
    "share-without-place": "UPDATE {shares} SET up_to_seq = NULL",
    "share-of-other-place": "UPDATE {shares} SET up_to_seq = up_to_seq - 1",
    "share-token-taken": """
        INSERT INTO {shares} (token, conversation_id) SELECT token, 'b1' FROM {shares}""",
    "step-without-entry": "DELETE FROM {agent_history}",
    "event-without-entry": "DELETE FROM {agent_history}",
    "step-beyond-sequence": "SELECT setval('{history_steps_seq}', 1, false)",
    "event-beyond-sequence": "SELECT setval('{history_events_seq}', 1, false)",
    "upload-without-end": "INSERT INTO {files} (user_id, upload) VALUES ('ada', 'cut off')",
    "file-incomplete": "DELETE FROM {file_chunks} WHERE number = 1",
    "file-unused": "UPDATE {files} SET pending_since = NULL WHERE size = 0",
    "file-of-other-bytes": """
        UPDATE {file_chunks} SET bytes = set_byte(bytes, 0, 1 - get_byte(bytes, 0) / 128) WHERE bytes <> ''""",
    "chunk-without-file": "DELETE FROM {files} WHERE size = 0",
    "reference-without-message": "DELETE FROM {messages} WHERE message_id = 'm6'",
    "reference-not-named": "UPDATE {messages} SET file_ids = '{{}}' WHERE message_id = 'm6'",
    "reference-of-another-user": "UPDATE {file_references} SET user_id = 'bob'",
    "reference-without-file": "DELETE FROM {files}",
    "user-deleted-in-future": "UPDATE {deleted_users} SET deleted_at = now() + interval '1 year'",
    "deleted-user-without-hash": "UPDATE {deleted_users} SET user_hash = 'carl'",
    "watcher-beyond-lease": "INSERT INTO {watchers} VALUES ('ada', 'l1', now() + interval '1 year')",
}


async def damage(connection: Connection, tables: Tables, name: str) -> None:
    """Break a rule, without foreign keys and triggers."""
    names = {name: getattr(tables, name) for name in vars(tables)}
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(DAMAGE[name].format(**names))
