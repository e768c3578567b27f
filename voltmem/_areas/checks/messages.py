"""The rules of messages: their conversation, their order, their branches, their files."""

from __future__ import annotations

from typing import Final

from voltmem._areas.checks.rules import Rule, beyond_sequence, found, impossible_time, missing
from voltmem._areas.queries import IS_THEIRS, message_at
from voltmem._areas.voltagent_tables import has_voltagent
from voltmem._tables import Tables

_ANY: Final = "ANY ('{false,true}')"  # a condition on each column of the index messages_in_line, so that it serves
# An address, or the token that stands for bytes in a payload (inlined.py).
_NAMED: Final = "oltmem:file/([0-9a-f]{64})(?![0-9a-f])"
_INLINED: Final = r'[",]\\u0076oltmem:file/([0-9a-f]{64})(?:/url)?"'


def rules_of_messages(tables: Tables, *, keeps_all: bool) -> list[Rule]:
    """Return the rules. keeps_all: whether it is known that no program has a storage_limit that deletes messages."""
    return [
        Rule(
            "message-without-conversation",
            "the conversation of a message is missing",
            missing(tables.conversations, "r.id = t.conversation_id"),
        ),
        impossible_time("message", "created_at"),
        *_order(tables),
        *_branches(tables),
        *([_missing_parent(tables)] if keeps_all else []),
        *_files(tables),
    ]


def _order(tables: Tables) -> list[Rule]:
    return [
        Rule(
            "message-order-tied",
            "two messages of a conversation have the same place",
            found(
                tables.messages,
                f"r.conversation_id = t.conversation_id AND r.archived = {_ANY} AND r.aside = {_ANY} "
                "AND r.created_at = t.created_at AND r.seq = t.seq AND r.message_id <> t.message_id",
            ),
        ),
        beyond_sequence(tables, "message", tables.messages_seq),
    ]


def _branches(tables: Tables) -> list[Rule]:
    parent = f"({message_at(tables, 't.conversation_id', 't.parent_id')}) AS p WHERE p.message_id = t.parent_id"
    return [
        Rule(
            "message-aside-without-parent",
            "a message is off the line and has no parent, so its branch is not known",
            "t.aside AND t.parent_id IS NULL",
        ),
        Rule(
            "line-broken",
            "a message is on the line, and its parent is not",
            f"NOT t.aside AND EXISTS (SELECT 1 FROM {parent} AND p.aside)",
        ),
        Rule(
            "line-forked",
            "a message is on the line together with another one that follows the same parent",
            f"""NOT t.aside AND EXISTS (
                    SELECT 1 FROM {parent} AND NOT p.aside
                        AND (p.created_at, p.seq) < (t.created_at, t.seq)
                        AND {tables.message_before}(t.conversation_id, t.created_at, t.seq) <> p.message_id
                )""",
        ),
        Rule(
            "message-before-parent",
            "a message stands before its parent, or is its own",
            f"EXISTS (SELECT 1 FROM {parent} AND (p.created_at, p.seq) >= (t.created_at, t.seq))",
        ),
    ]


def _missing_parent(tables: Tables) -> Rule:
    # VoltAgent deletes messages, and knows no parents.
    there = "r.conversation_id = t.conversation_id AND r.message_id = t.parent_id"
    return Rule(
        "message-without-parent",
        "the parent of a message is missing",
        f"t.parent_id <> '' AND {missing(tables.messages, there)} AND NOT {has_voltagent(tables)}",
    )


def _files(tables: Tables) -> list[Rule]:
    file = f"""{tables.conversations} AS c JOIN {tables.files} AS f ON f.user_id = c.user_id
                    WHERE c.id = t.conversation_id"""
    texts = "pg_catalog.concat_ws(' ', t.content, t.content_json::text, t.metadata::text, t.payload::text)"
    reference = "r.conversation_id = t.conversation_id AND r.message_id = t.message_id AND r.file_id = named.id"
    no_reference = missing(tables.file_references, reference)
    return [
        Rule(
            "message-file-not-noted",
            "a message names a file of its user, and its file_ids lack it",
            f"""{texts} LIKE '%oltmem:file/%' AND NOT {IS_THEIRS} AND EXISTS (
                    SELECT 1 FROM pg_catalog.regexp_matches({texts}, '{_NAMED}', 'g') AS named (id)
                    WHERE named.id[1] <> ALL (coalesce(t.file_ids, '{{}}'))
                        AND EXISTS (SELECT 1 FROM {file} AND f.id = named.id[1])
                )""",
        ),
        Rule(
            "message-file-unreferenced",
            "no reference protects a file that a message names, so it may be removed",
            f"""t.file_ids IS NOT NULL AND {has_file_triggers(tables)} AND EXISTS (
                    SELECT 1 FROM pg_catalog.unnest(t.file_ids) AS named (id)
                    WHERE EXISTS (SELECT 1 FROM {file} AND f.id = named.id) AND {no_reference}
                )""",
        ),
        Rule(
            "message-bytes-missing",
            "the file that has bytes of a message's payload is missing",
            f"""pg_catalog.strpos(t.payload::text, E'\\\\u0076oltmem:file/') > 0 AND EXISTS (
                    SELECT 1 FROM pg_catalog.regexp_matches(t.payload::text, '{_INLINED}', 'g') AS token (id)
                    WHERE NOT EXISTS (SELECT 1 FROM {file} AND f.id = token.id[1])
                )""",
        ),
    ]


def has_file_triggers(tables: Tables) -> str:
    """Return the condition that the triggers are there that keep the references to files. Citus allows none."""
    return f"""EXISTS (
                    SELECT 1 FROM pg_catalog.pg_trigger
                    WHERE tgrelid = '{tables.messages}'::regclass::oid
                        AND tgfoid = pg_catalog.to_regproc('{tables.refer_to_files}')::oid
                )"""
