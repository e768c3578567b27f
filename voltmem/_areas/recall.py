"""Recall: the moments of a user's conversations that matter for a text, each with what was said around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from voltmem._areas.area import Area, off_loop_if_long
from voltmem._areas.inflected import AskedWord, asked_words
from voltmem._areas.moments import Moment
from voltmem._areas.queries import (
    CONVERSATION_COLUMNS,
    IS_INDEXED,
    PLAIN_COLUMNS,
    ROLE,
    TYPE,
    authored,
    mostly,
)
from voltmem._areas.search import check_search
from voltmem._areas.words import USER
from voltmem._postgres.driver import logger
from voltmem._tables import Tables
from voltmem._values import check_count, check_id_or_none, check_text, check_time, check_user, user_key
from voltmem.models import Conversation, Message
from voltmem.options import RECALL_LIMIT

if TYPE_CHECKING:
    from voltmem._postgres.driver import Record

# All of these were measured: docs/decisions/recall-by-words.md.
_REACH: Final = 2
"""A message is rated together with so many before it, and after it."""
_OWN: Final = 0.5
"""The weight of its own words beside those of them all."""
_SATURATION: Final = 1.2
_LENGTHS: Final = 0.5
"""BM25's k1 and b."""
_LONGEST: Final = 12
"""Words of the text that are looked for: the longest, which are rarer than others."""
_RAREST: Final = 8
"""Words of these that count: the rarest."""
_SEEDS: Final = 20
"""Messages whose neighbours are read: those whose own words fit best."""
_OF_TOOLS: Final = 0.1
"""The weight of a word in a tool's call or result, as in the search."""
# ts_rank() of one word that occurs once. Of a word that occurs n times it is 1 + 1/4 + … + 1/n² times that.
_RANK_OF_ONE: Final = 0.060792710185402664

MOST_MOMENTS: Final = 100
MOST_AROUND: Final = 10
_MOST_CANDIDATES: Final = 500

# The dictionaries of PostgreSQL 12 and later that have stop words. The first is taken if two know as many of a text's.
_LANGUAGES: Final = (
    "english",
    *("danish", "dutch", "finnish", "french", "german", "hungarian", "italian", "norwegian"),
    *("portuguese", "russian", "spanish", "swedish", "turkish"),
)


def _rated(tf: str, length: str, average: str) -> str:
    """Return the SQL expression of what BM25 gives for a word that occurs so often in a text of this length."""
    norm = f"{_SATURATION}::float8 * ({1 - _LENGTHS}::float8 + {_LENGTHS}::float8 * {length} / {average})"
    return f"{tf} * {_SATURATION + 1}::float8 / ({tf} + {norm})"


def _message_of(tables: Tables, place: str) -> str:
    """Return the SELECT of the message that a row of *place* names."""
    return f"""
                    SELECT * FROM {tables.messages} AS each
                    WHERE each.conversation_id = {place}.conversation_id AND each.message_id = {place}.message_id
                    ORDER BY each.conversation_id, each.message_id"""


def _around(tables: Tables, columns: str, middle: str, count: str) -> str:
    """
    Return the SELECT of message *middle* and so many before and after it, with their distance, negative before it.

    Archived messages are before all others. Apart, each part has the order of the index.
    """

    def part(archived: str, beyond: str, order: str) -> str:
        return f"""(
                            SELECT * FROM {authored(tables)} AS each
                            WHERE each.conversation_id = {middle}.conversation_id AND each.archived = {archived}
                                AND NOT each.aside AND coalesce(each.author, $1) = $1
                                AND (each.created_at, each.seq) {beyond} ({middle}.created_at, {middle}.seq)
                            ORDER BY {order} LIMIT {count}
                        )"""

    def side(sign: str, beyond: str, archived: str, direction: str) -> str:
        order = f"created_at {direction}, seq {direction}"
        return f"""(
                    SELECT {columns}, {sign}pg_catalog.row_number() OVER (ORDER BY {archived}, {order}) AS distance
                    FROM (
                        {part("false", beyond, order)} UNION ALL {part("true", beyond, order)}
                    ) AS side
                    ORDER BY {archived}, {order} LIMIT {count}
                )"""

    return f"""
                {side("-", "<", "archived", "DESC")}
                UNION ALL (
                    SELECT {columns}, 0 AS distance FROM {tables.messages} AS itself
                    WHERE itself.conversation_id = {middle}.conversation_id AND itself.message_id = {middle}.message_id
                )
                UNION ALL {side("", ">", "archived DESC", "ASC")}"""


class RecallStatements:
    """The statement of recall(), as moments of words."""

    def __init__(self, tables: Tables) -> None:
        conversations, messages = tables.conversations, tables.messages
        weight = (
            f"CASE WHEN {ROLE} = 'tool' OR {TYPE} IN ('tool-call', 'tool-result') "
            f"THEN {_OF_TOOLS}::float8 ELSE 1::float8 END"
        )
        rank = f"pg_catalog.ts_rank(m.words, t.query)::float8 / {_RANK_OF_ONE}::float8 * t.forms * m.weight"
        length = "pg_catalog.length(m.words)::float8 * m.weight"
        near_columns = (
            "conversation_id, message_id, created_at, seq, archived, "
            f"CASE WHEN {IS_INDEXED} THEN words END AS words, {weight} AS weight"
        )
        dictionaries = ",".join(f"pg_catalog.{each}_stem" for each in _LANGUAGES)
        is_stop_word = "pg_catalog.cardinality(pg_catalog.ts_lexize({}, a.typed)) = 0"
        is_theirs = "c.user_id = $1 AND c.deleted_at IS NULL AND c.resource_id = coalesce($5::text, c.resource_id)"
        columns = ", ".join(f"c.{column.strip()}" for column in CONVERSATION_COLUMNS.split(","))
        # The plan is the same whatever statistics there are: see SearchStatements. Messages are found by all words at
        # once: for each word alone, the planner would read the whole of a small table. tsvector_concat() copies the
        # words of long messages to memory, so that they are not read again for each word.
        self.recall = f"""
            WITH asked AS MATERIALIZED (
                SELECT a.query::tsquery AS query, a.typed, a.number
                FROM ROWS FROM (
                    pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])
                ) WITH ORDINALITY AS a (query, typed, number)
            ), language AS MATERIALIZED (
                SELECT d.dictionary
                FROM pg_catalog.unnest('{{{dictionaries}}}'::regdictionary[]) WITH ORDINALITY AS d (dictionary, place)
                CROSS JOIN asked AS a
                WHERE {is_stop_word.format("d.dictionary")}
                GROUP BY d.dictionary, d.place
                HAVING d.place = 1 OR pg_catalog.count(*) > 1
                ORDER BY pg_catalog.count(*) DESC, d.place LIMIT 1
            ), terms AS MATERIALIZED (
                SELECT a.query, a.number, ((pg_catalog.numnode(a.query) + 1) / 2)::float8 AS forms FROM asked AS a
                WHERE NOT EXISTS (SELECT 1 FROM language AS l WHERE {is_stop_word.format("l.dictionary")})
                ORDER BY a.number LIMIT {_LONGEST}
            ), met AS MATERIALIZED (
                SELECT conversation_id, message_id, {weight} AS weight,
                    pg_catalog.tsvector_concat(words, ''::tsvector) AS words
                FROM {authored(tables)} AS each
                WHERE words @@ (SELECT pg_catalog.string_agg(query::text, ' | ')::tsquery FROM terms)
                    AND words IS NOT NULL AND NOT aside AND coalesce(author, $1) = $1
                    AND ($4::text IS NULL OR conversation_id = $4)
                    AND ($6::timestamptz IS NULL OR created_at > $6) AND ($7::timestamptz IS NULL OR created_at < $7)
            ), theirs AS MATERIALIZED (
                SELECT c.id
                FROM (SELECT DISTINCT conversation_id FROM met) AS f
                CROSS JOIN LATERAL (SELECT * FROM {conversations} WHERE id = f.conversation_id ORDER BY id) AS c
                WHERE {mostly(is_theirs)}
            ), own AS MATERIALIZED (
                SELECT t.number, m.conversation_id, m.message_id, {rank} AS tf, {length} AS length
                FROM (SELECT * FROM met WHERE {mostly("conversation_id IN (SELECT id FROM theirs)")}) AS m
                JOIN terms AS t ON m.words @@ t.query
            ), counted AS (
                SELECT number, pg_catalog.count(*)::float8 AS messages, pg_catalog.sum(length) AS length
                FROM own GROUP BY number
            ), total AS MATERIALIZED (
                SELECT 2::float8 * pg_catalog.sum(messages) AS messages,
                    greatest(pg_catalog.sum(length) / pg_catalog.sum(messages), 1::float8) AS length
                FROM counted
            ), weights AS MATERIALIZED (
                SELECT t.query, t.forms, t.number, a.length AS average, pg_catalog.ln(
                        1::float8 + (a.messages - c.messages + 0.5::float8) / (c.messages + 0.5::float8)
                    ) AS idf
                FROM (SELECT number, messages FROM counted ORDER BY messages, number LIMIT {_RAREST}) AS c
                JOIN terms AS t ON t.number = c.number CROSS JOIN total AS a
            ), seeds AS MATERIALIZED (
                SELECT o.conversation_id, o.message_id, pg_catalog.row_number() OVER () AS seed
                FROM (
                    SELECT o.conversation_id, o.message_id
                    FROM own AS o JOIN weights AS t ON t.number = o.number
                    GROUP BY o.conversation_id, o.message_id
                    ORDER BY pg_catalog.sum(t.idf * {_rated("o.tf", "o.length", "t.average")}) DESC,
                        o.conversation_id, o.message_id
                    LIMIT $10::bigint
                ) AS o
            ), near AS MATERIALIZED (
                SELECT s.seed, m.*
                FROM seeds AS s CROSS JOIN LATERAL ({_message_of(tables, "s")}
                ) AS a CROSS JOIN LATERAL ({_around(tables, near_columns, "a", "$11::bigint")}
                ) AS m
            ), rated AS MATERIALIZED (
                SELECT m.*, t.number, t.idf, t.average,
                    coalesce({rank}, 0::float8) AS tf, coalesce({length}, 0::float8) AS length
                FROM near AS m CROSS JOIN weights AS t
                WHERE m.distance BETWEEN {-2 * _REACH} AND {2 * _REACH}
            ), together AS (
                SELECT *, pg_catalog.sum(tf) OVER beside AS tf_beside,
                    pg_catalog.sum(length) OVER beside AS length_beside
                FROM rated
                WINDOW beside AS (
                    PARTITION BY seed, number ORDER BY distance ROWS BETWEEN {_REACH} PRECEDING AND {_REACH} FOLLOWING
                )
            ), scored AS (
                SELECT seed, distance, conversation_id, message_id, created_at, seq, pg_catalog.sum(idf * (
                    {_rated("tf_beside", "length_beside", f"(average * {2 * _REACH + 1}::float8)")}
                    + {_OWN}::float8 * {_rated("tf", "length", "average")}
                )) AS score
                FROM together
                WHERE distance BETWEEN {-_REACH} AND {_REACH}
                    AND ($6::timestamptz IS NULL OR created_at > $6) AND ($7::timestamptz IS NULL OR created_at < $7)
                GROUP BY seed, distance, conversation_id, message_id, created_at, seq
                HAVING pg_catalog.sum(tf) > 0::float8
            ), best AS MATERIALIZED (
                SELECT seed, distance, score,
                    pg_catalog.row_number() OVER (ORDER BY score DESC, created_at DESC, seq DESC) AS place
                FROM (
                    SELECT DISTINCT ON (conversation_id, message_id) * FROM scored
                    ORDER BY conversation_id, message_id, score DESC
                ) AS each
                ORDER BY score DESC, created_at DESC, seq DESC LIMIT $9::bigint
            ), once AS MATERIALIZED (
                SELECT m.conversation_id, m.message_id,
                    pg_catalog.array_agg(b.place::text ORDER BY b.place) AS places,
                    pg_catalog.array_agg((m.distance - b.distance)::text ORDER BY b.place) AS distances,
                    pg_catalog.array_agg(b.score::text ORDER BY b.place) AS scores
                FROM best AS b
                JOIN near AS m ON m.seed = b.seed
                    AND m.distance BETWEEN b.distance - $8::bigint AND b.distance + $8::bigint
                GROUP BY m.conversation_id, m.message_id
            ), titled AS MATERIALIZED (
                SELECT c.*
                FROM (SELECT DISTINCT conversation_id FROM once) AS o
                CROSS JOIN LATERAL (SELECT * FROM {conversations} WHERE id = o.conversation_id ORDER BY id) AS c
            )
            SELECT o.places, o.distances, o.scores, {columns}, m.*
            FROM once AS o JOIN titled AS c ON c.id = o.conversation_id
            CROSS JOIN LATERAL (
                SELECT {PLAIN_COLUMNS} FROM {messages}
                WHERE conversation_id = o.conversation_id AND message_id = o.message_id
                ORDER BY conversation_id, message_id
            ) AS m"""


def recall_arguments(
    asked: Sequence[AskedWord],
    *,
    user_id: str,
    limit: int,
    around: int,
    after: datetime | None,
    before: datetime | None,
    conversation_id: str | None,
    resource_id: str | None,
) -> list[object]:
    """Return the arguments of the statement."""
    key = user_key(user_id)
    candidates = min(limit * (2 * around + 1), _MOST_CANDIDATES)  # each moment may show 2 * around others of them
    return [
        user_id,
        [each.tsquery.replace(USER, key) for each in asked],
        [each.typed for each in asked],
        conversation_id,
        resource_id,
        after,
        before,
        around,
        candidates,
        max(_SEEDS, 2 * limit),
        _REACH + max(_REACH, around),
    ]


def _moments(rows: Iterable[Record], limit: int) -> list[Moment]:
    """Return the moments of the rows, best first: each message in the first one that shows it."""
    candidates: dict[int, list[tuple[int, float, Conversation, Message]]] = {}
    for places, distances, scores, *columns in rows:
        conversation, message = Conversation.from_row(columns[:7]), Message.from_row(columns[7:])
        for place, distance, score in zip(places, distances, scores, strict=True):
            candidates.setdefault(int(place), []).append((int(distance), float(score), conversation, message))
    moments: list[Moment] = []
    shown: set[tuple[str, str]] = set()
    for _, said in sorted(candidates.items()):
        said.sort(key=lambda each: each[0])
        key = {distance: (conversation.id, message.id) for distance, _, conversation, message in said}
        if len(moments) == limit or key[0] in shown:
            continue
        conversation, score = next((conversation, score) for distance, score, conversation, _ in said if not distance)
        new = [message for distance, _, _, message in said if key[distance] not in shown]
        moments.append(Moment(conversation=conversation, messages=new, message_id=key[0][1], score=score))
        shown.update(key.values())
    return moments


class Recalling(Area):
    """The verb about recall. PostgresStorage inherits from all areas."""

    async def recall(
        self,
        user_id: str,
        text: str,
        *,
        limit: int = RECALL_LIMIT,
        around: int = 1,
        after: datetime | None = None,
        before: datetime | None = None,
        conversation_id: str | None = None,
        resource_id: str | None = None,
    ) -> list[Moment]:
        """
        Return what a user's conversations have about a text, best first, each message with those around it.

        For an agent that answers from what was said long ago. Unlike search(), a message need not have all the words
        of the text: those count more that fewer messages have.

        Args:
            user_id: The user. Only this user's conversations are read.
            text: What to look for, such as the user's question.
            limit: The maximum number of moments, up to 100.
            around: How many messages to return before and after each, up to 10.
            after: Only messages after this time, which must have a time zone.
            before: Only messages before this time.
            conversation_id: Only this conversation.
            resource_id: Only conversations with this agent or project.

        Raises:
            InvalidOptionError: The storage was created without search=True.
            InvalidQueryError: A number is out of its range.

        Archived messages are read; deleted conversations, and branches that were not chosen, are not. The messages
        around one may be before *after* or after *before*. Nothing is found by a text of stop words only.
        """
        check_user("user_id", user_id, "recall() reads the words of one user's conversations")
        check_text(text=text)
        check_count("limit", limit, minimum=1, maximum=MOST_MOMENTS)
        check_count("around", around, maximum=MOST_AROUND)
        for name, time in (("after", after), ("before", before)):
            if time is not None:
                check_time(name, time)
        check_id_or_none(conversation_id=conversation_id, resource_id=resource_id)
        check_search(self._options)
        if self._options.on_limit == "delete" and self._options.storage_limit is not None:
            _warn_once(self._options.tables)
        asked = await off_loop_if_long(len(text), asked_words, text)
        if not asked:
            return []
        arguments = recall_arguments(
            asked,
            user_id=user_id,
            limit=limit,
            around=around,
            after=after,
            before=before,
            conversation_id=conversation_id,
            resource_id=resource_id,
        )
        rows = await self._executor.fetch(self._sql(RecallStatements).recall, *arguments)
        return _moments(rows, limit)


@lru_cache(maxsize=256)
def _warn_once(tables: Tables) -> None:
    """Log once in the process, for these tables, that old messages are deleted."""
    logger.warning(
        "recall() of %s does not find messages beyond the storage_limit, which are deleted: "
        'on_limit="archive" keeps them',
        tables,
    )
