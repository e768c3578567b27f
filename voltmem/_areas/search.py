"""The search: a user's conversations by the words of their titles and messages."""

from __future__ import annotations

from typing import Final

from voltmem._areas.cursors import SearchCursor
from voltmem._areas.queries import CONVERSATION_COLUMNS
from voltmem._areas.search_models import LONGEST_READ, SearchHit, SearchResults, highlighted, snippet
from voltmem._areas.words import USER, terms, title_expressions, vector
from voltmem._postgres.database import Executor
from voltmem._tables import Tables, rendered
from voltmem._values import MAX_BIGINT, check_count, check_id, check_text, user_key, user_key_sql
from voltmem.errors import InvalidOptionError
from voltmem.models import Conversation
from voltmem.options import StorageOptions

DEFAULT_LIMIT: Final = 20
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


class Search:
    """The methods about searching; PostgresStorage puts the areas together."""

    _executor: Executor
    _options: StorageOptions

    @property
    def _search_sql(self) -> SearchStatements:
        return rendered(SearchStatements, self._options.tables)

    async def search(
        self, user_id: str, text: str, *, limit: int = DEFAULT_LIMIT, after: str | None = None
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
        check_id(user_id=user_id)
        check_text(text=text)
        check_count("limit", limit, minimum=1)
        place = None if after is None else SearchCursor.of("after", after)
        self._check_search()
        wanted = terms(text)
        if not any(not term.without for term in wanted):
            return SearchResults(hits=[], next_cursor=None)
        rows = await self._executor.fetch(
            self._search_sql.search,
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
        indexed, conversation_id, message_id = 0, "", ""
        while rows := await self._executor.fetch(self._search_sql.unindexed, conversation_id, message_id, _BATCH):
            vectors = [vector(row["text"] or "") for row in rows]
            ids = [row["conversation_id"] for row in rows], [row["message_id"] for row in rows]
            indexed += await self._executor.execute(self._search_sql.index, *ids, vectors)
            conversation_id, message_id = ids[0][-1], ids[1][-1]
        return indexed

    async def forget_words(self) -> int:
        """Return how many messages were taken out of the index: all, to turn the search off. In batches."""
        forgotten, last = 0, ("", "")
        while row := await self._executor.fetchrow(self._search_sql.forget, *last, _BATCH, repeatable=False):
            last = row["conversation_id"], row["message_id"]
            forgotten += row["forgotten"]
        return forgotten

    def _check_search(self) -> None:
        if not self._options.search:
            raise InvalidOptionError("the search is off: make the storage with search=True")
