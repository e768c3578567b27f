"""The rules of each table but those of messages."""

from __future__ import annotations

from collections.abc import Iterator

from voltmem._areas.checks.messages import has_file_triggers, rules_of_messages
from voltmem._areas.checks.rules import RowChecks, Rule, beyond_sequence, found, impossible_time, missing
from voltmem._areas.files import CHUNK_BYTES
from voltmem._areas.queries import authored
from voltmem._areas.transfer.growth import FORMAT as IMPORT
from voltmem._postgres.migrations.vectors import owner_key
from voltmem._tables import Tables
from voltmem._values import Unset


def row_checks(tables: Tables, storage_limit: int | Unset | None) -> Iterator[RowChecks]:
    """
    Yield the rules of all tables; with tables.vectors, also of the vectors.

    The limit is that of all programs that write; UNSET: not known.
    """
    limits = [_beyond_limit(tables, storage_limit)] if isinstance(storage_limit, int) else []
    times = impossible_time("conversation", "created_at", "updated_at")
    yield RowChecks(tables.conversations, ("id",), [times, _wrong_length(tables), *limits])
    of_messages = rules_of_messages(tables, keeps_all=storage_limit is None)
    of_message = ("conversation_id", "message_id")
    yield RowChecks(tables.messages, of_message, of_messages, authored(tables), are_messages=True)
    no_conversation = missing(tables.conversations, "r.id = t.conversation_id")
    yield RowChecks(tables.shares, ("token", "conversation_id"), _of_shares(tables, no_conversation))
    for table, what, *rest in (
        (tables.payloads, "a payload", "format"),
        (tables.conversation_memory, "a memory", "version"),
        (tables.summaries, "a summary", "id"),
        (tables.leases, "a lease", "purpose"),
        (tables.answers, "an answer", "question_id"),
        (tables.answer_pieces, "an answer's piece", "answer_id", "number"),
    ):
        name = what.partition(" ")[2].replace("'s ", "-")
        orphan = Rule(f"{name}-without-conversation", f"the conversation of {what} is missing", no_conversation)
        yield RowChecks(table, ("conversation_id", *rest), [orphan])
    for table, key, kind, sequence in (
        (tables.agent_history_steps, "key", "step", tables.history_steps_seq),
        (tables.agent_history_timeline_events, "id", "event", tables.history_events_seq),
    ):
        no_entry = missing(tables.agent_history, "r.id = t.history_id")
        orphan = Rule(f"{kind}-without-entry", f"the history entry of a {kind} is missing", no_entry)
        yield RowChecks(table, (key,), [orphan, beyond_sequence(tables, kind, sequence)])
    yield RowChecks(tables.files, ("user_id", "upload"), _of_files(tables))
    no_file = missing(tables.files, "r.user_id = t.user_id AND r.upload = t.upload")
    orphan = Rule("chunk-without-file", "the file of a chunk is missing", no_file)
    yield RowChecks(tables.file_chunks, ("user_id", "upload", "number"), [orphan])
    yield RowChecks(tables.file_references, ("conversation_id", "message_id", "file_id"), _of_references(tables))
    yield RowChecks(tables.deleted_users, ("user_hash",), _of_deleted_users())
    if tables.vectors is not None:
        of_vector = (*of_message, "model", "piece")
        yield RowChecks(tables.embeddings, of_vector, _of_vectors(tables, tables.vectors))
    yield RowChecks(tables.watchers, ("user_id", "listener"), [_lasting_watcher()], is_on_standby=False)


def _beyond_limit(tables: Tables, limit: int) -> Rule:
    # An import deletes nothing; the limit applies to the conversation with its next message.
    beyond = f"""EXISTS (
                    SELECT 1 FROM {tables.messages} AS r
                    WHERE r.conversation_id = t.id AND NOT r.archived AND NOT r.aside
                    ORDER BY r.created_at DESC, r.seq DESC OFFSET {limit} LIMIT 1
                ) AND {missing(tables.payloads, f"r.conversation_id = t.id AND r.format = '{IMPORT}'")}"""
    return Rule("conversation-beyond-limit", "a conversation has more messages than the limit", beyond)


def _wrong_length(tables: Tables) -> Rule:
    line = f"FROM {tables.messages} AS r WHERE r.conversation_id = t.id AND NOT r.archived AND NOT r.aside"
    newest = f"(SELECT r.created_at {line} ORDER BY r.created_at DESC, r.seq DESC LIMIT 1)"
    # By the index for each row, where NOT EXISTS would read the whole table for each page.
    noted = f"(SELECT 1 FROM {tables.changed_lines} AS r WHERE r.conversation_id = t.id LIMIT 1)"
    wrong = f"""{noted} IS NULL AND (
                    t.line_length <> (SELECT pg_catalog.count(*) {line}) OR t.line_end < {newest}
                )"""
    return Rule("conversation-length-wrong", "a conversation is longer or shorter than its row says", wrong)


def _of_shares(tables: Tables, no_conversation: str) -> list[Rule]:
    return [
        Rule("share-without-conversation", "the conversation of a public link is missing", no_conversation),
        Rule(
            "share-without-place",
            "a public link has only a part of the place up to which it shows messages",
            "pg_catalog.num_nulls(t.up_to, t.up_to_time, t.up_to_seq, t.newest_seq) NOT IN (0, 4)",
        ),
        # Not its time, which changes when the message is stored again with another one.
        Rule(
            "share-of-other-place",
            "the place up to which a public link shows messages is not that of its last message",
            "t.up_to_seq > t.newest_seq OR "
            + found(
                tables.messages,
                "r.conversation_id = t.conversation_id AND r.message_id = t.up_to AND r.seq <> t.up_to_seq",
            ),
        ),
        Rule(
            "share-token-taken",
            "two public links have the same token",
            found(tables.shares, "r.token = t.token AND r.conversation_id <> t.conversation_id"),
        ),
    ]


def _of_files(tables: Tables) -> list[Rule]:
    return [
        Rule(
            "upload-without-end",
            "an upload is neither complete nor one that will be removed",
            "pg_catalog.num_nulls(t.id, t.size) = 1 OR (t.id IS NULL AND t.pending_since IS NULL)",
        ),
        Rule(
            "file-incomplete",
            "the chunks of a file are not all of its bytes",
            f"""t.id IS NOT NULL AND EXISTS (
                    SELECT 1 FROM {tables.file_chunks} AS r
                    WHERE r.user_id = t.user_id AND r.upload = t.upload
                    HAVING coalesce(pg_catalog.sum(pg_catalog.length(r.bytes)), 0) <> t.size
                        OR pg_catalog.max(r.number) <> pg_catalog.count(*) - 1
                        OR pg_catalog.count(*) <> greatest(1, (t.size + {CHUNK_BYTES - 1}) / {CHUNK_BYTES})
                )""",
        ),
        Rule(
            "file-unused",
            "no message refers to a file, and it will not be removed",
            "t.id IS NOT NULL AND t.pending_since IS NULL AND "
            f"{missing(tables.file_references, 'r.user_id = t.user_id AND r.file_id = t.id')} "
            f"AND {has_file_triggers(tables)}",
        ),
    ]


def _of_references(tables: Tables) -> list[Rule]:
    message = "r.conversation_id = t.conversation_id AND r.message_id = t.message_id"
    return [
        Rule(
            "reference-without-message",
            "the message that refers to a file is missing",
            missing(tables.messages, message),
        ),
        Rule(
            "reference-not-named",
            "a message refers to a file that it does not name",
            found(tables.messages, f"{message} AND t.file_id <> ALL (coalesce(r.file_ids, '{{}}'))"),
        ),
        Rule(
            "reference-of-another-user",
            "a message refers to a file of another user than the conversation's",
            found(tables.conversations, "r.id = t.conversation_id AND r.user_id <> t.user_id"),
        ),
        Rule(
            "reference-without-file",
            "the file to which a message refers is missing",
            missing(tables.files, "r.user_id = t.user_id AND r.id = t.file_id"),
        ),
    ]


def _of_vectors(tables: Tables, extension: str) -> list[Rule]:
    message = "r.conversation_id = t.conversation_id AND r.message_id = t.message_id"
    # Recall.key ends with the number of dimensions and the length of a piece.
    dimensions = r"pg_catalog.substring(t.model, '\((\d+), \d+\)$')"
    return [
        Rule("vector-without-message", "the message of a vector is missing", missing(tables.messages, message)),
        Rule(
            "vector-of-other-dimension",
            "a vector has another number of dimensions than its model, so every recall by this model fails",
            f"""t.embedding IS NOT NULL
                    AND "{extension}".vector_dims(t.embedding)::text IS DISTINCT FROM {dimensions}""",
        ),
        Rule(
            "vector-of-other-owner",
            "a vector is kept for another user than the conversation's, so recall does not find it by its meaning",
            found(
                tables.conversations,
                "r.id = t.conversation_id AND t.embedding IS NOT NULL "
                f"AND t.owner_key IS DISTINCT FROM {owner_key('r.user_id', 't.model')}",
            ),
        ),
        Rule(
            "vector-beyond-lease",
            "a message is claimed for longer than an hour, and gets no vector; the server's clock has stepped back",
            "t.claimed_until > pg_catalog.statement_timestamp() + interval '1 hour'",
        ),
    ]


def _of_deleted_users() -> list[Rule]:
    # Until then, every new run of such a user is refused. The rest is for clocks that differ.
    return [
        Rule(
            "user-deleted-in-future",
            "the record of a deleted user has a time more than an hour ahead; the server's clock has stepped back",
            "t.deleted_at > pg_catalog.statement_timestamp() + interval '1 hour'",
        ),
        Rule(
            "deleted-user-without-hash",
            "the record of a deleted user is not a hash, so no run finds it",
            "t.user_hash !~ '^[0-9a-f]{64}$'",
        ),
    ]


def _lasting_watcher() -> Rule:
    # A lease lasts a minute. The rest is for clocks that differ.
    return Rule(
        "watcher-beyond-lease",
        "a watcher's lease ends in more than an hour; the server's clock has stepped back",
        "t.until > pg_catalog.statement_timestamp() + interval '1 hour'",
    )
