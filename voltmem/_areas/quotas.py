"""
Quotas: what statements that store something have in addition, in a storage with quotas.

    INSERT … RETURNING id, require_room(…)      the row is stored; the function locks the user, looks, and may raise

Without quotas nothing is added, and the text of the statements is another.
"""

from __future__ import annotations

from typing import Final

from voltmem._tables import Tables

BUSY: Final = "VM002"
"""The SQLSTATE of a statement that did not wait for the lock of a user's quotas, and stored nothing."""


class QuotaStatements:
    """The statement that looks before something is stored. The others are part of those that store."""

    def __init__(self, tables: Tables) -> None:
        quota = "NULL" if tables.quotas is None or tables.quotas.file_bytes is None else tables.quotas.file_bytes
        self.for_file = f"""
            SELECT {tables.require_room}(ARRAY[$1], NULL, NULL, NULL, {quota}, 1, $2::text::bigint)"""


def room(
    tables: Tables,
    users: str = "ARRAY[NULL::text]",
    conversation_ids: str = "NULL",
    *,
    before: str = ", ",
    conversations: str | None = None,
    messages: str | None = None,
    file_bytes: str | None = None,
    stored: str = "1",
    coming: str = "0",
    patient: str = "true",
    added: str = "NULL",
) -> str:
    """
    Return the SQL expression that raises if a user has more than a quota, or "" if none is set.

    Args:
        tables: The tables, and the quotas.
        users: An array of users.
        conversation_ids: An array of conversations, whose owners are meant where a user is NULL.
        before: What separates the expression from the one before it.
        conversations: The condition under which this quota is looked at; None: never.
        messages: Likewise.
        file_bytes: Likewise.
        stored: How much the statement has stored: an expression that depends on all of it.
        coming: Bytes that it stores, and that are not there yet when the expression is evaluated.
        patient: Whether to wait for the users' locks.
        added: An array of text: for each of the users, at most how many messages the statement adds. NULL: not known,
            so all are counted.
    """
    if tables.quotas is None:
        return ""
    given = (conversations, tables.quotas.conversations), (messages, tables.quotas.messages)
    quotas = [_looked_at(*each) for each in (*given, (file_bytes, tables.quotas.file_bytes))]
    if all(each == "NULL" for each in quotas):
        return ""
    arguments = (users, conversation_ids, *quotas, stored, coming, patient, added)
    return f"{before}{tables.require_room}({', '.join(arguments)})"


def _looked_at(condition: str | None, quota: int | None) -> str:
    if condition is None or quota is None:
        return "NULL"
    return str(quota) if condition == "true" else f"CASE WHEN {condition} THEN {quota} END"
