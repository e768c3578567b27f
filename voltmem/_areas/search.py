"""The search: a user's conversations by the words of their titles and messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from voltmem._areas.area import Area
from voltmem._areas.cursors import SearchCursor
from voltmem._areas.queries import CONVERSATION_COLUMNS
from voltmem._areas.words import USER, Term, places, plain, terms, title_expressions, vector, words
from voltmem._tables import Tables
from voltmem._values import MAX_BIGINT, check_count, check_text, check_user, user_key, user_key_sql
from voltmem.errors import InvalidOptionError
from voltmem.models import Conversation, Key, Model, Text, Time
from voltmem.options import SEARCH_LIMIT

# Characters: of a snippet, and of what stands in it before the first match.
_SNIPPET: Final = 200
_BEFORE: Final = 40
# Of a text, what is looked through for a match; and what is looked at at once, which ends where a word does, with what
# a phrase that begins there may reach into.
LONGEST_READ: Final = 20_000
_STRETCH: Final = re.compile(".{1,2000}(?: |$)|[^ ]+ ?")
_LONGEST_PHRASE: Final = 1_000


class Highlight(NamedTuple):
    """A piece of a text, in a row of pieces that are the whole of it."""

    text: str
    is_match: bool
    """Whether it is what was searched for."""


class SearchHit(Model):
    """A conversation that was found."""

    conversation: Conversation
    """Which one."""
    title: list[Highlight]
    """Its title, in pieces; empty where it has none."""
    message_id: Key | None
    """The message that fits best; None: only the title has the words."""
    role: Text | None
    """Who said it."""
    created_at: Time | None
    """When."""
    snippet: list[Highlight]
    """The place in the message, in pieces: at most 200 characters. Empty where there is no message."""


class SearchResults(Model):
    """A stretch of what was found, best first."""

    hits: list[SearchHit]
    """At most as many as were asked for."""
    next_cursor: str | None
    """For after=: what follows; None where nothing does."""


def as_html(pieces: Iterable[Highlight], tag: str = "mark") -> str:
    """Return the pieces as HTML that is safe to show: what was searched for within a tag, everything escaped."""
    from html import escape  # here: it brings a table of all entities along

    return "".join(f"<{tag}>{escape(each.text)}</{tag}>" if each.is_match else escape(each.text) for each in pieces)


def highlighted(text: str, terms: Sequence[Term]) -> list[Highlight]:
    """Return a text in pieces, with every place where it has a term."""
    return _pieces(text, places(words(text), _shown(terms)))


def snippet(text: str, terms: Sequence[Term]) -> list[Highlight]:
    """Return the surroundings of the first place where a text has a term, in pieces, with "…" where it is cut."""
    text, shown = " ".join(text[:LONGEST_READ].split()), _shown(terms)
    start = _beginning(text, shown)
    end = len(text) if len(text) - start <= _SNIPPET else start + _SNIPPET
    pieces = _pieces(text[start:end], places(words(text[start : end + _LONGEST_PHRASE]), shown))
    dots = Highlight("…", False)
    return [*([dots] if start else []), *pieces, *([dots] if end < len(text) else [])]


def _shown(terms: Sequence[Term]) -> list[Term]:
    return [term for term in terms if not term.without]


def _beginning(text: str, shown: Sequence[Term]) -> int:
    found = _first_place(text, shown)
    first = max(found - _BEFORE, 0)
    # Between words, where there is a space at all: some scripts and addresses have none.
    return text.find(" ", first, found) + 1 or first if first else 0


def _first_place(text: str, shown: Sequence[Term]) -> int:
    """Return where a text first has a term, or 0."""
    for stretch in _STRETCH.finditer(text):
        read = text[stretch.start() : stretch.end() + _LONGEST_PHRASE]
        plainly = plain(read)  # to look for letters in it costs far less than to take it apart
        likely = [term for term in shown if term.is_in(plainly)]
        first, _ = next(places(words(read), likely), (len(read), 0)) if likely else (len(read), 0)
        if first < len(stretch[0]):
            return stretch.start() + first
    return 0


def _pieces(text: str, places: Iterable[tuple[int, int]]) -> list[Highlight]:
    pieces: list[Highlight] = []
    shown = 0
    for start, end in places:
        start, end = max(start, shown), min(end, len(text))
        if start < end:
            pieces += [Highlight(text[shown:start], False)] if start > shown else []
            pieces.append(Highlight(text[start:end], True))
            shown = end
    return [*pieces, *([Highlight(text[shown:], False)] if shown < len(text) else [])]


_BATCH: Final = 1_000


class SearchStatements:
    """The statements with one shape."""

    def __init__(self, tables: Tables) -> None:
        conversations, messages = tables.conversations, tables.messages
        columns = ", ".join(f"r.{column.strip()}" for column in CONVERSATION_COLUMNS.split(","))
        text = """coalesce(m.content, (
                    SELECT string_agg(part ->> 'text', ' ') FROM jsonb_array_elements(m.parts) AS part
                    WHERE jsonb_typeof(m.parts) = 'array'))"""
        # A title with all the words comes before any message, and what was said before what a tool was told or told,
        # which often repeats a word many times. Of each conversation, the best of its messages.
        self.search = f"""
            WITH found AS MATERIALIZED (
                SELECT conversation_id, message_id, created_at, ts_rank(words, $2::text::tsquery)
                    * CASE WHEN role = 'tool' OR type IN ('tool-call', 'tool-result') THEN 0.1 ELSE 1 END AS rank
                FROM {messages}
                WHERE words @@ $2::text::tsquery AND words IS NOT NULL AND NOT archived
            ), best AS (
                SELECT DISTINCT ON (conversation_id) conversation_id, message_id, rank
                FROM found ORDER BY conversation_id, rank DESC, created_at DESC
            ), titled AS (
                SELECT id FROM {conversations}
                WHERE user_id = $1 AND deleted_at IS NULL
                    AND {tables.plain}(title, $9, $10) LIKE ALL ($3::text[])
                    AND NOT {tables.plain}(title, $9, $10) LIKE ANY ($4::text[])
            ), ranked AS (
                SELECT coalesce(t.id, best.conversation_id) AS id, best.message_id,
                    (coalesce(best.rank, 0) + (t.id IS NOT NULL)::integer)::float8 AS rank
                FROM best FULL JOIN titled AS t ON t.id = best.conversation_id
            )
            SELECT r.rank, m.message_id, m.role, m.created_at AS said_at, left({text}, {LONGEST_READ}) AS text,
                {columns}
            FROM (
                SELECT r.rank, r.message_id, c.*
                FROM ranked AS r JOIN {conversations} AS c ON c.id = r.id AND c.user_id = $1 AND c.deleted_at IS NULL
                WHERE $6::float8 IS NULL OR (r.rank, c.updated_at, c.id) < ($6, $7::timestamptz, $8::text)
                ORDER BY r.rank DESC, c.updated_at DESC, c.id DESC LIMIT $5::bigint
            ) AS r
            LEFT JOIN {messages} AS m ON m.conversation_id = r.id AND m.message_id = r.message_id
            ORDER BY r.rank DESC, r.updated_at DESC, r.id DESC"""
        self.unindexed = f"""
            SELECT m.conversation_id, m.message_id, {text} AS text
            FROM {messages} AS m
            WHERE (m.conversation_id, m.message_id) > ($1, $2) AND m.words IS NULL
            ORDER BY m.conversation_id, m.message_id LIMIT $3::bigint"""
        self.index = f"""
            UPDATE {messages} AS m SET words = replace(given.vector, E'\\x01', {user_key_sql("c.user_id")})::tsvector
            FROM unnest($1::text[], $2::text[], $3::text[]) AS given (conversation_id, message_id, vector)
            JOIN {conversations} AS c ON c.id = given.conversation_id
            WHERE m.conversation_id = given.conversation_id AND m.message_id = given.message_id AND m.words IS NULL"""
        # One row: how many are forgotten now, and the last of them in the order of the key; none when all are.
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
            SELECT conversation_id, message_id, (SELECT count(*) FROM forgotten) AS forgotten
            FROM batch ORDER BY conversation_id DESC, message_id DESC LIMIT 1"""


class Search(Area):
    """The methods about searching; PostgresStorage puts the areas together."""

    async def search(
        self, user_id: str, text: str, *, limit: int = SEARCH_LIMIT, after: str | None = None
    ) -> SearchResults:
        """
        Return a user's conversations that have the words, best first, each with the message that fits best.

        Args:
            user_id: Whose; nobody else's are looked at.
            text: Words, ``"phrases"`` and ``-exclusions``, as on the web. The last word may still be being typed: it
                finds longer ones, unless a space follows. Accents, vowel points and capitals don't matter (in titles,
                accents do on PostgreSQL 12, and so do other capitals than ASCII's in a database with LC_CTYPE C, before
                PostgreSQL 17, without ICU); scripts without spaces, and emoji, are searched by pairs of characters. Of
                a long query the first 64 words or pairs are searched for, what follows is passed over.
            limit: How many at most.
            after: The next_cursor of a search for the same: what follows.

        Raises:
            InvalidOptionError: The storage was made without search=True.

        Only a message counts that has all the words, or a title that has them. One statement; reads the index of words
        for what this user wrote, and the messages found. Archived messages and deleted conversations are left out.

        Of a very long message the first 16,000 words are indexed, or the first different ones that take a megabyte; its
        snippet is its beginning where the words stand after its first 20,000 characters.
        """
        check_user("user_id", user_id, "a search reads the words of one user's conversations")
        check_text(text=text)
        check_count("limit", limit, minimum=1)
        place = None if after is None else SearchCursor.of("after", after)
        self._check_search()
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
        )
        hits = []
        last = ""
        for rank, message_id, role, said_at, found, *columns in rows[:limit]:
            conversation = Conversation.from_row(columns)
            last = str(SearchCursor(rank, conversation.updated_at, conversation.id))
            hits.append(
                SearchHit(
                    conversation=conversation,
                    title=highlighted(conversation.title or "", wanted),
                    message_id=message_id,
                    role=role,
                    created_at=said_at,
                    snippet=snippet(found or "", wanted),
                )
            )
        return SearchResults(hits=hits, next_cursor=last if len(rows) > limit else None)

    async def index_messages(self) -> int:
        """
        Return how many messages were indexed for the search that were not yet: those from before search=True.

        In batches, each a transaction of its own, while others read and write; whoever stops it may start it again.
        """
        self._check_search()
        sql = self._sql(SearchStatements)
        indexed, conversation_id, message_id = 0, "", ""
        while rows := await self._executor.fetch(sql.unindexed, conversation_id, message_id, _BATCH):
            vectors = [vector(row["text"] or "") for row in rows]
            ids = [row["conversation_id"] for row in rows], [row["message_id"] for row in rows]
            indexed += await self._executor.execute(sql.index, *ids, vectors)
            conversation_id, message_id = ids[0][-1], ids[1][-1]
        return indexed

    async def forget_words(self) -> int:
        """Return how many messages were taken out of the index: all, to turn the search off. In batches."""
        forgotten, last = 0, ("", "")
        while row := await self._executor.fetchrow(self._sql(SearchStatements).forget, *last, _BATCH, repeatable=False):
            last = row["conversation_id"], row["message_id"]
            forgotten += row["forgotten"]
        return forgotten

    def _check_search(self) -> None:
        if not self._options.search:
            raise InvalidOptionError("the search is off: make the storage with search=True")
