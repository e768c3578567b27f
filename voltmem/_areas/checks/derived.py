"""What is derived from other columns: the text of a message, its words for the search, the id of a file."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from voltmem._areas.checks.rules import PAGE, page_of_messages
from voltmem._areas.queries import IS_INDEXED, IS_THEIRS, PLAIN_COLUMNS, TEXT, authored
from voltmem._areas.words import vector
from voltmem._tables import Tables
from voltmem._values import user_key_sql
from voltmem.models import Message

if TYPE_CHECKING:
    from voltmem._postgres.connection import BoundConnection
    from voltmem._postgres.driver import Record

_CHUNKS: Final = 16

STALE_TEXT: Final = "message-text-stale"
STALE_WORDS: Final = "message-words-stale"
OTHER_BYTES: Final = "file-of-other-bytes"
MEANINGS: Final = {
    STALE_TEXT: "the text of a message, which previews and searches read, is not that of its content",
    STALE_WORDS: "the words of a message in the index of the search are not those of its text, or of another user",
    OTHER_BYTES: "the bytes of a file do not have its id as their SHA-256",
}


class DerivedStatements:
    """The statements that read what derived values are compared with."""

    def __init__(self, tables: Tables) -> None:
        # The text depends on no time, and one that Python cannot represent must not end the check.
        columns = PLAIN_COLUMNS.replace("created_at", "'epoch'::timestamptz AS created_at")

        def page(after: str) -> str:
            return f"""
            SELECT conversation_id, content AS stored_text, content_json IS NOT NULL AND NOT {IS_THEIRS} AS has_text,
                CASE WHEN {IS_INDEXED} THEN {TEXT} END AS indexed_text, {columns}
            FROM {page_of_messages(tables.messages, after)} AS t
            ORDER BY conversation_id, message_id"""

        self.first_messages = page("")
        self.more_messages = page("WHERE (conversation_id, message_id) > ($1, $2)")
        key = user_key_sql("coalesce(m.author, c.user_id)")
        # Row by row, by the primary keys: a join might read the whole table for each page.
        self.stale_words = f"""
            SELECT m.conversation_id, m.message_id
            FROM unnest($1::text[], $2::text[], $3::text[]) AS given (conversation_id, message_id, vector)
            CROSS JOIN LATERAL (
                SELECT c.user_id FROM {tables.conversations} AS c WHERE c.id = given.conversation_id OFFSET 0
            ) AS c
            CROSS JOIN LATERAL (
                SELECT m.conversation_id, m.message_id, m.words, m.author FROM {authored(tables)} AS m
                WHERE m.conversation_id = given.conversation_id AND m.message_id = given.message_id OFFSET 0
            ) AS m
            WHERE m.words IS DISTINCT FROM pg_catalog.replace(given.vector, E'\\x01', {key})::tsvector"""
        self.files = f"""
            SELECT user_id, upload, id FROM {tables.files}
            WHERE (user_id, upload) > ($1, $2) ORDER BY user_id, upload LIMIT {PAGE}"""
        self.chunks = f"""
            SELECT c.number, c.bytes FROM {tables.files} AS f JOIN {tables.file_chunks} AS c
                ON c.user_id = f.user_id AND c.upload = f.upload
            WHERE f.user_id = $1 AND f.upload = $2 AND f.id = $3 AND c.number > $4
            ORDER BY c.number LIMIT {_CHUNKS}"""


class Derived(NamedTuple):
    """What a page of messages should have."""

    stale: list[tuple[str, str]]
    """The messages whose stored text is not that of their content."""
    vectors: list[tuple[str, str, str]]
    """The indexed messages, and the words that they should have."""


def derive(rows: Sequence[Record]) -> Derived:
    """Compare the texts of messages, and return the words that they should have. For a thread: it takes a while."""
    stale, vectors = [], []
    for row in rows:
        conversation_id, stored_text, has_text, indexed_text, *columns = row
        message_id: str = row["message_id"]
        if has_text and Message.from_row(columns).text != stored_text:
            stale.append((conversation_id, message_id))
        if indexed_text is not None:
            vectors.append((conversation_id, message_id, vector(indexed_text)))
    return Derived(stale, vectors)


async def hash_of_file(snapshot: BoundConnection, sql: str, user_id: str, upload: str, id: str) -> str | None:
    """Return the SHA-256 of a file, which is read piece by piece; None: it is gone."""
    digest, last = sha256(), -1
    while rows := await snapshot.fetch(sql, user_id, upload, id, last):
        for row in rows:
            digest.update(row["bytes"])
        last = rows[-1]["number"]
    return digest.hexdigest() if last >= 0 else None
