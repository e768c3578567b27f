"""The full-text search over the titles and messages of a user's conversations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from voltmem._areas.area import Area, off_loop_if_long
from voltmem._areas.cursors import SearchCursor
from voltmem._areas.queries import CONVERSATION_COLUMNS, IS_INDEXED, ON_LINE, PARTS_HASH, ROLE, TEXT, TYPE, mostly
from voltmem._areas.words import USER, Term, places, plain, terms, title_expressions, vectors, words
from voltmem._model import Key, Model, String, Time
from voltmem._tables import Tables
from voltmem._values import MAX_BIGINT, check_count, check_key_or_none, check_text, check_time, check_user, user_key
from voltmem.errors import InvalidOptionError
from voltmem.models import Conversation
from voltmem.options import SEARCH_LIMIT, StorageOptions

if TYPE_CHECKING:
    from voltmem._postgres.driver import Record

# Characters of a snippet, and those in it before the first match.
_SNIPPET: Final = 200
_BEFORE: Final = 40
# Characters of a text that are searched for a match. They are searched in stretches that end at the end of a word, each
# together with the text after it that a phrase may extend into.
LONGEST_READ: Final = 20_000
_STRETCH: Final = re.compile(".{1,2000}(?: |$)|[^ ]+ ?")
_LONGEST_PHRASE: Final = 1_000


class Highlight(NamedTuple):
    """A piece of a text that is cut into pieces; joined, they are the whole text."""

    text: str
    is_match: bool
    """Whether the piece matches the query."""


class SearchHit(Model):
    """A conversation that matches the query."""

    conversation: Conversation
    """The conversation."""
    title: list[Highlight]
    """Its title, in pieces; empty if it has none."""
    message_id: Key | None
    """The id of the message that matches best; None: only the title matches."""
    role: String | None
    """The role of the message."""
    created_at: Time | None
    """The time of the message."""
    snippet: list[Highlight]
    """The text around the match in the message, in pieces, at most 200 characters; empty without a message."""


class SearchResults(Model):
    """One page of a search, best match first."""

    hits: list[SearchHit]
    """The conversations; at most *limit*."""
    next_cursor: str | None
    """The cursor of the next page, for after=; None on the last page."""


def as_html(pieces: Iterable[Highlight], tag: str = "mark") -> str:
    """Return the pieces as HTML: each match within a tag, all text escaped."""
    from html import escape  # here: it imports a table of all entities

    return "".join(f"<{tag}>{escape(each.text)}</{tag}>" if each.is_match else escape(each.text) for each in pieces)


def highlighted(text: str, terms: Sequence[Term]) -> list[Highlight]:
    """Return a text in pieces, with every occurrence of the terms marked."""
    return _pieces(text, places(words(text), _without_exclusions(terms)))


def snippet(text: str, terms: Sequence[Term]) -> list[Highlight]:
    """Return the text around the first occurrence of a term, in pieces, with "…" where it is cut."""
    text, wanted = " ".join(text[:LONGEST_READ].split()), _without_exclusions(terms)
    start = _snippet_start(text, wanted)
    end = len(text) if len(text) - start <= _SNIPPET else start + _SNIPPET
    pieces = _pieces(text[start:end], places(words(text[start : end + _LONGEST_PHRASE]), wanted))
    dots = Highlight("…", False)
    return [*([dots] if start else []), *pieces, *([dots] if end < len(text) else [])]


def _without_exclusions(terms: Sequence[Term]) -> list[Term]:
    return [term for term in terms if not term.without]


def _snippet_start(text: str, wanted: Sequence[Term]) -> int:
    match = _first_match(text, wanted)
    first = max(match - _BEFORE, 0)
    # After a space if there is one: some scripts and URLs have none.
    return text.find(" ", first, match) + 1 or first if first else 0


def _first_match(text: str, wanted: Sequence[Term]) -> int:
    """Return the index of the first occurrence of a term in a text, or 0."""
    for stretch in _STRETCH.finditer(text):
        read = text[stretch.start() : stretch.end() + _LONGEST_PHRASE]
        plainly = plain(read)  # a substring test costs far less than cutting the text into words
        likely = [term for term in wanted if term.is_in(plainly)]
        first, _ = next(places(words(read), likely), (len(read), 0)) if likely else (len(read), 0)
        if first < len(stretch[0]):
            return stretch.start() + first
    return 0


def _pieces(text: str, places: Iterable[tuple[int, int]]) -> list[Highlight]:
    pieces: list[Highlight] = []
    done = 0
    for start, end in places:
        start, end = max(start, done), min(end, len(text))
        if start < end:
            pieces += [Highlight(text[done:start], False)] if start > done else []
            pieces.append(Highlight(text[start:end], True))
            done = end
    return [*pieces, *([Highlight(text[done:], False)] if done < len(text) else [])]


_BATCH: Final = 1_000


class SearchStatements:
    """The statements whose text does not depend on the arguments."""

    def __init__(self, tables: Tables) -> None:
        conversations, messages = tables.conversations, tables.messages
        columns = ", ".join(f"r.{column.strip()}" for column in CONVERSATION_COLUMNS.split(","))
        own = "p.resource_id, p.user_id, p.title, p.metadata, p.created_at, p.updated_at"
        # A title that matches ranks above any message, and messages of people and models rank above tool calls and
        # results, which often repeat a word many times. Each conversation is returned with its best message.
        # The plan is the same whatever statistics there are. The query is a subselect, whose estimate is always the
        # default one, for which the index is used. ORDER BY id, so that each conversation is looked up by its key: as a
        # join, the tables just imported, it was compared with each row of "ranked". Not OFFSET 0, which Citus refuses
        # behind a CTE; and unlike it, ORDER BY does not keep conditions out, so they are such as no index serves.
        # UNION ALL instead of an outer join, for which Citus would send all messages to the coordinator.
        self.search = f"""
            WITH found AS MATERIALIZED (
                SELECT conversation_id, message_id, created_at,
                    pg_catalog.ts_rank(words, $2::text::tsquery)::float8 * CASE
                        WHEN {ROLE} = 'tool' OR {TYPE} IN ('tool-call', 'tool-result') THEN 0.1::float8 ELSE 1
                    END AS rank
                FROM {messages}
                WHERE words @@ (SELECT $2::text::tsquery) AND {ON_LINE} AND {IS_INDEXED}
                    AND {mostly("$12::timestamptz IS NULL OR created_at < $12")}
            ), best AS (
                SELECT DISTINCT ON (conversation_id) conversation_id, message_id, rank
                FROM found ORDER BY conversation_id, rank DESC, created_at DESC
            ), titled AS (
                SELECT id FROM {conversations}
                WHERE user_id = $1 AND deleted_at IS NULL
                    AND {mostly("$12::timestamptz IS NULL OR created_at < $12")}
                    AND {tables.plain}(title, $9, $10) LIKE ALL ($3::text[])
                    AND NOT {tables.plain}(title, $9, $10) LIKE ANY ($4::text[])
            ), ranked AS (
                SELECT coalesce(t.id, best.conversation_id) AS id, best.message_id,
                    coalesce(best.rank, 0) + (t.id IS NOT NULL)::integer::float8 AS rank
                FROM best FULL JOIN titled AS t ON t.id = best.conversation_id
            ), page AS MATERIALIZED (
                SELECT r.rank, r.message_id, c.*
                FROM ranked AS r CROSS JOIN LATERAL (SELECT * FROM {conversations} WHERE id = r.id ORDER BY id) AS c
                WHERE {mostly("c.user_id = $1 AND c.deleted_at IS NULL")}
                    AND {mostly("$11::text IS NULL OR c.tags OPERATOR(pg_catalog.@>) ARRAY[$11::text]")}
                    AND ($6::float8 IS NULL OR (r.rank, c.updated_at, c.id) < ($6, $7::timestamptz, $8::text))
                ORDER BY r.rank DESC, c.updated_at DESC, c.id DESC LIMIT $5::bigint
            )
            SELECT r.rank, r.message_id, r.role, r.said_at, r.text, {columns}
            FROM (
                SELECT m.*, p.rank, p.id, {own}
                FROM page AS p CROSS JOIN LATERAL (
                    SELECT message_id, {ROLE} AS role, created_at AS said_at,
                        pg_catalog.left({TEXT}, {LONGEST_READ}) AS text
                    FROM {messages} WHERE conversation_id = p.id AND message_id = p.message_id
                    ORDER BY conversation_id, message_id
                ) AS m
                UNION ALL
                SELECT NULL, NULL, NULL, NULL, p.rank, p.id, {own} FROM page AS p WHERE p.message_id IS NULL
            ) AS r
            ORDER BY r.rank DESC, r.updated_at DESC, r.id DESC"""
        self.unindexed = f"""
            SELECT conversation_id, message_id, {TEXT} AS text, {PARTS_HASH} AS hash
            FROM {messages}
            WHERE (conversation_id, message_id) > ($1, $2) AND NOT ({IS_INDEXED})
            ORDER BY conversation_id, message_id LIMIT $3::bigint"""
        self.index = f"SELECT {tables.index_words}($1, $2, $3, $4) AS indexed"
        # One row: how many messages were removed from the index, and the last of them in the order of the key. No row
        # when all are done.
        self.forget = f"""
            WITH batch AS (
                SELECT conversation_id, message_id FROM {messages}
                WHERE (conversation_id, message_id) > ($1, $2) AND words IS NOT NULL
                ORDER BY conversation_id, message_id LIMIT $3::bigint
            ), forgotten AS (
                UPDATE {messages} AS m SET words = NULL FROM batch AS b
                WHERE m.conversation_id = b.conversation_id AND m.message_id = b.message_id
                RETURNING m.message_id
            )
            SELECT conversation_id, message_id, (SELECT pg_catalog.count(*) FROM forgotten) AS forgotten
            FROM batch ORDER BY conversation_id DESC, message_id DESC LIMIT 1"""


def _hits(rows: Sequence[Record], wanted: Sequence[Term]) -> list[SearchHit]:
    hits: list[SearchHit] = []
    for _, message_id, role, said_at, found, *columns in rows:
        conversation = Conversation.from_row(columns)
        title, piece = highlighted(conversation.title or "", wanted), snippet(found or "", wanted)
        hits.append(
            SearchHit(
                conversation=conversation,
                title=title,
                message_id=message_id,
                role=role,
                created_at=said_at,
                snippet=piece,
            )
        )
    return hits


class Search(Area):
    """The verbs about searching. PostgresStorage inherits from all areas."""

    async def search(
        self,
        user_id: str,
        text: str,
        *,
        limit: int = SEARCH_LIMIT,
        after: str | None = None,
        tag: str | None = None,
        before: datetime | None = None,
    ) -> SearchResults:
        """
        Search a user's conversations. Returns those that match, best first, each with its best matching message.

        Args:
            user_id: The user. Only this user's conversations are searched.
            text: Words, ``"phrases"`` and ``-exclusions``, as in a web search. The last word also matches longer words
                that begin with it, because the user may still be typing it, unless a space follows. Case, accents and
                vowel points are ignored (but not accents in titles on PostgreSQL 12, nor the case of non-ASCII letters
                in titles in a database with LC_CTYPE C, before PostgreSQL 17, without ICU). Scripts without spaces, and
                emoji, are searched by pairs of characters. Only the first 64 words or pairs of a long query count.
            limit: The maximum number of conversations.
            after: The next_cursor of the page before, of the same search.
            tag: Only conversations with this tag.
            before: Only messages that were said before this time, and titles of conversations created before it.

        Raises:
            InvalidOptionError: The storage was created without search=True.
            InvalidQueryError: The cursor is malformed, or the limit is below 1.

        A message or a title matches if it contains all the terms. Archived messages and deleted conversations are not
        searched. One statement; it reads this user's entries of the index of words, and the messages found.

        Of a very long message, the first 16,000 words are indexed, or as many distinct words as fit into a megabyte. If
        the match is after the first 20,000 characters, the snippet is the beginning of the message.
        """
        check_user("user_id", user_id, "a search reads the words of one user's conversations")
        check_text(text=text)
        check_count("limit", limit, minimum=1)
        check_key_or_none(tag=tag)
        if before is not None:
            check_time("before", before)
        place = None if after is None else SearchCursor.of("after", after)
        check_search(self._options)
        wanted = terms(text)
        if not any(not term.without for term in wanted):
            return SearchResults(hits=[], next_cursor=None)
        rows = await self._executor.fetch(
            self._sql(SearchStatements).search,
            user_id,
            " & ".join(term.tsquery() for term in wanted).replace(USER, user_key(user_id)),
            [term.title_pattern() for term in wanted if not term.without],
            [term.title_pattern() for term in wanted if term.without],
            min(limit + 1, MAX_BIGINT),
            *((None, None, None) if place is None else (place.rank, place.updated_at, place.id)),
            *title_expressions(),
            tag,
            before,
        )
        shown = rows[:limit]
        hits = await off_loop_if_long(sum(len(row["text"] or "") for row in shown), _hits, shown, wanted)
        last = (
            SearchCursor(shown[-1]["rank"], hits[-1].conversation.updated_at, hits[-1].conversation.id) if hits else ""
        )
        return SearchResults(hits=hits, next_cursor=str(last) if len(rows) > limit else None)

    async def index_messages(self) -> int:
        """
        Index the messages that were stored without search=True, by VoltAgent too, or replaced by it. Returns how many.

        In batches, each in a transaction of its own, while others read and write. If it is stopped, call it again.
        """
        check_search(self._options)
        sql = self._sql(SearchStatements)
        indexed, conversation_id, message_id = 0, "", ""
        while rows := await self._executor.fetch(sql.unindexed, conversation_id, message_id, _BATCH):
            texts = [row["text"] or "" for row in rows]
            made = await off_loop_if_long(sum(map(len, texts)), vectors, texts)
            ids = [row["conversation_id"] for row in rows], [row["message_id"] for row in rows]
            hashes = [row["hash"] for row in rows]
            done = await self._executor.fetchrow(sql.index, *ids, hashes, made, repeatable=False)
            indexed += done["indexed"] if done is not None else 0
            conversation_id, message_id = ids[0][-1], ids[1][-1]
        return indexed

    async def forget_words(self) -> int:
        """Remove all messages from the index, in batches, to turn the search off. Returns how many."""
        forgotten, last = 0, ("", "")
        while row := await self._executor.fetchrow(self._sql(SearchStatements).forget, *last, _BATCH, repeatable=False):
            last = row["conversation_id"], row["message_id"]
            forgotten += row["forgotten"]
        return forgotten


def check_search(options: StorageOptions) -> None:
    """Raise InvalidOptionError if the storage indexes no words."""
    if not options.search:
        raise InvalidOptionError("this storage has no search: create it with PostgresStorage(search=True)")
