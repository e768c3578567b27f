"""The SQL of recall(): messages are rated by words, or by words and vectors, each together with its neighbours."""

from __future__ import annotations

from typing import Final

from voltmem._areas.embedding import text_hash
from voltmem._areas.queries import (
    CONVERSATION_COLUMNS,
    IS_INDEXED,
    OF_TOOLS,
    PLAIN_COLUMNS,
    TEXT,
    authored,
    mostly,
    without_indents,
)
from voltmem._postgres.migrations.vectors import Sketch, owner_key
from voltmem._tables import Tables

# All of these were measured: docs/decisions/recall-by-words.md.
REACH: Final = 2
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
SEEDS: Final = 10
"""Messages whose neighbours are read: those whose own words fit best."""
_OF_TOOLS: Final = 0.1
"""The weight of a word in a tool's call or result, as in the search."""
# ts_rank() of one word that occurs once. Of a word that occurs n times it is 1 + 1/4 + … + 1/n² times that.
_RANK_OF_ONE: Final = 0.060792710185402664

_ALIKE: Final = 12
"""Of the vectors whose sketches are the nearest to that of the text's, so many times the seeds are compared."""
_SIMILAR: Final = 5
"""Of the vectors nearest to the text's, so many times the seeds are looked at: some are of hidden messages."""

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
                    SELECT * FROM {tables.messages}
                    WHERE conversation_id = {place}.conversation_id AND message_id = {place}.message_id
                    ORDER BY conversation_id, message_id"""


def _around(tables: Tables, columns: str, middle: str, count: str) -> str:
    """
    Return the SELECT of message *middle* and so many before and after it, with their distance, negative before it.

    Archived messages are before all others. Apart, each part has the order of the index. Where messages have no column
    user_id, it is that of *nobody*, which the caller joins: see authored().
    """

    def part(archived: str, beyond: str, order: str) -> str:
        return f"""(
                            SELECT * FROM {tables.messages}
                            WHERE conversation_id = {middle}.conversation_id AND archived = {archived} AND NOT aside
                                AND coalesce(nullif(user_id, 'default'), $1) = $1
                                AND (created_at, seq) {beyond} ({middle}.created_at, {middle}.seq)
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
                    WHERE conversation_id = {middle}.conversation_id AND message_id = {middle}.message_id
                )
                UNION ALL {side("", ">", "archived DESC", "ASC")}"""


# A message that may be recalled itself, not only rated as a neighbour.
_FITS: Final = (
    f"distance BETWEEN {-REACH} AND {REACH} AND ($6 IS NULL OR created_at > $6) AND ($7 IS NULL OR created_at < $7)"
)

# That is not shown anyway, and no copy of another one.
_MAY_BE_RECALLED: Final = "(conversation_id, message_id) NOT IN (TABLE hidden)"


class _Meant:
    """The parts of the statement that are about vectors."""

    def __init__(self, tables: Tables) -> None:
        assert tables.vectors is not None
        self._tables, self._schema = tables, tables.vectors
        self._asked = f'SELECT $15::text::"{tables.vectors}".halfvec'

    def _apart(self, vector: str) -> str:
        """Return the SQL expression of the cosine distance of a vector from that of the text."""
        return f'{vector} OPERATOR("{self._schema}".<=>) ({self._asked})'  # a subselect, which is computed once

    def _sum(self, vector: str) -> str:
        """Return the SQL expression of the sum of vectors, of which only the direction counts. avg() is slow."""
        return f'"{self._schema}".sum({vector})'

    def seeds(self) -> str:
        """Return the SELECT of the messages whose vectors are the nearest, and the UNION with others."""
        tables = self._tables
        message = "conversation_id = {}.conversation_id AND message_id = {}.message_id"
        # Subselects, which are computed once.
        key = f"(SELECT {owner_key('$1', '$14')})"
        sketch = Sketch("vector", self._schema)
        asked = f"SELECT {sketch.direction} AS direction, {sketch.beyond} AS beyond FROM ({self._asked}) AS a (vector)"
        sketched = f"(SELECT {sketch.of('direction', 'beyond')} FROM ({asked}) AS a)"
        return f"""(
                    SELECT s.conversation_id, s.message_id
                    FROM (
                        SELECT conversation_id, message_id, text_hash, pg_catalog.min(apart) AS apart
                        FROM (
                            SELECT e.*, {self._apart("e.embedding")} AS apart
                            FROM (
                                SELECT conversation_id, message_id, piece FROM {tables.embeddings}
                                WHERE owner_key = {key} AND sketch IS NOT NULL
                                    AND {mostly("conversation_id IN (SELECT id FROM theirs)")} AND {_MAY_BE_RECALLED}
                                    AND CASE
                                        WHEN $6::timestamptz IS NULL AND $7::timestamptz IS NULL THEN true
                                        ELSE (conversation_id, message_id) IN (SELECT * FROM timed)
                                    END
                                ORDER BY sketch OPERATOR("{self._schema}".<~>) {sketched}
                                LIMIT {_ALIKE} * $10::bigint
                            ) AS a CROSS JOIN LATERAL (
                                SELECT * FROM {tables.embeddings}
                                WHERE {message.format("a", "a")} AND model = $14 AND piece = a.piece
                                ORDER BY conversation_id, message_id, model, piece
                            ) AS e
                            ORDER BY apart LIMIT {_SIMILAR} * $10::bigint
                        ) AS e
                        GROUP BY conversation_id, message_id, text_hash
                        ORDER BY apart, conversation_id, message_id
                    ) AS s CROSS JOIN LATERAL (
                        SELECT *, {TEXT} AS text FROM {authored(tables)} AS each
                        WHERE {message.format("s", "s")} ORDER BY conversation_id, message_id
                    ) AS m
                    WHERE NOT m.aside AND coalesce(m.author, $1) = $1 AND s.text_hash = {text_hash("m.text")}
                    ORDER BY s.apart, s.conversation_id, s.message_id LIMIT $10
                ) UNION """

    def scored(self, by_words: str) -> str:
        """Return the SELECT of the candidates with the scores of both, each in proportion to the best."""
        return f"""
                WITH felt AS (
                    SELECT n.seed, n.distance, n.fits, e.vector, e.apart
                    FROM near AS n CROSS JOIN LATERAL (
                        SELECT {self._sum(f'"{self._schema}".l2_normalize(embedding)')} AS vector,
                            pg_catalog.min({self._apart("embedding")}) AS apart
                        FROM {self._tables.embeddings}
                        WHERE conversation_id = n.conversation_id AND message_id = n.message_id
                            AND model = $14 AND text_hash = n.hash
                    ) AS e
                    WHERE n.distance BETWEEN {-2 * REACH} AND {2 * REACH}
                ), meant AS (
                    SELECT *, {self._apart(f"{self._sum('vector')} OVER beside")} AS apart_beside
                    FROM felt
                    WINDOW beside AS (
                        PARTITION BY seed ORDER BY distance ROWS BETWEEN {REACH} PRECEDING AND {REACH} FOLLOWING
                    )
                ), candidates AS (
                    SELECT seed, distance, pg_catalog.max(by_words) AS by_words,
                        pg_catalog.max(by_meaning) AS by_meaning
                    FROM (
                        SELECT seed, distance, score AS by_words, 0::float8 AS by_meaning FROM ({by_words}
                        ) AS worded
                        UNION ALL
                        SELECT seed, distance, 0::float8, greatest(
                            2::float8 - apart - coalesce(nullif(apart_beside, 'NaN'::float8), 1::float8), 0::float8
                        )
                        FROM meant WHERE fits
                    ) AS each
                    GROUP BY seed, distance
                )
                SELECT seed, distance,
                    coalesce(by_words / nullif(pg_catalog.max(by_words) OVER (), 0::float8), 0::float8)
                    + coalesce(by_meaning / nullif(pg_catalog.max(by_meaning) OVER (), 0::float8), 0::float8) AS score
                FROM candidates"""


class RecallStatements:
    """
    The statement of recall(): by words, and where tables.vectors is the schema of pgvector, by vectors, too.

    $13 are the ids of messages of conversation $12 that are not recalled; NULL: there are none. By vectors, $14 is the
    model, and $15 the vector of the text. "turn" is the conversation of the message that stands for a message and its
    copies in forks; '' if that is shown anyway.
    """

    def __init__(self, tables: Tables) -> None:
        meaning = None if tables.vectors is None else _Meant(tables)
        conversations, messages = tables.conversations, tables.messages
        weight = f"CASE WHEN {OF_TOOLS} THEN {_OF_TOOLS}::float8 ELSE 1::float8 END"
        rank = f"pg_catalog.ts_rank(m.words, t.query)::float8 / {_RANK_OF_ONE}::float8 * t.forms * m.weight"
        length = "pg_catalog.length(m.words)::float8 * m.weight"
        place, stored = "conversation_id, message_id, created_at, seq", "words, role, own_role, type, parts, parts_hash"
        of_text = "" if meaning is None else f", {text_hash(TEXT)} AS hash"
        stored += "" if meaning is None else ", content"
        languages = ",".join(_LANGUAGES)
        is_stop_word = "pg_catalog.cardinality(pg_catalog.ts_lexize({}, a.typed)) = 0"
        is_theirs = "c.user_id = $1 AND c.deleted_at IS NULL AND c.resource_id = coalesce($5::text, c.resource_id)"
        columns = ", ".join(f"c.{column.strip()}" for column in CONVERSATION_COLUMNS.split(","))
        by_words = f"""
                SELECT seed, distance, pg_catalog.sum(idf * (
                    {_rated("tf_beside", "length_beside", f"(average * {2 * REACH + 1}::float8)")}
                    + {_OWN}::float8 * {_rated("tf", "length", "average")}
                )) AS score
                FROM together
                WHERE fits
                GROUP BY seed, distance
                HAVING {"true" if meaning else "pg_catalog.sum(tf) > 0::float8"}"""
        # Vectors may be of any conversation, words only of those that were met. Without $5, an index has all of it; and
        # "timed" is not read without $6 and $7. Looked up one by one, both would cost so much in the generic plan that
        # the planner would never take it, but plan each call.
        theirs = f"""
                SELECT c.id
                FROM (SELECT DISTINCT conversation_id FROM met) AS f
                CROSS JOIN LATERAL (SELECT * FROM {conversations} WHERE id = f.conversation_id ORDER BY id) AS c
                WHERE {mostly(is_theirs)}"""
        if meaning is not None:
            theirs = f"""
                SELECT c.id FROM {conversations} AS c
                WHERE c.user_id = $1 AND c.deleted_at IS NULL AND ($4::text IS NULL OR c.id = $4) AND CASE
                        WHEN $5::text IS NULL THEN true
                        ELSE c.id IN (SELECT id FROM {conversations} WHERE user_id = $1 AND resource_id = $5)
                    END
            ), timed AS MATERIALIZED (
                SELECT m.conversation_id, m.message_id FROM theirs AS c CROSS JOIN LATERAL (
                    SELECT * FROM {messages} WHERE conversation_id = c.id ORDER BY conversation_id, message_id
                ) AS m
                WHERE ($6 IS NULL OR m.created_at > $6) AND ($7 IS NULL OR m.created_at < $7)"""
        # The plan is the same whatever statistics there are: see SearchStatements. Messages are found by all words at
        # once: for each word alone, the planner would read the whole of a small table. tsvector_concat() copies the
        # words of long messages to memory, so that they are not read again for each word.
        self.recall = without_indents(f"""
            WITH asked AS MATERIALIZED (
                SELECT a.query::tsquery AS query, a.typed, a.number
                FROM ROWS FROM (
                    pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])
                ) WITH ORDINALITY AS a (query, typed, number)
            ), language AS MATERIALIZED (
                SELECT d.dictionary
                FROM (
                    SELECT ('pg_catalog.' || name || '_stem')::regdictionary AS dictionary, place
                    FROM pg_catalog.unnest('{{{languages}}}'::text[]) WITH ORDINALITY AS l (name, place)
                ) AS d CROSS JOIN asked AS a
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
            ), copies AS (SELECT * FROM {tables.copies_in_forks}($1, $4, $5, $12, $13)
            ), hidden AS (SELECT conversation_id, message_id FROM copies
            ), theirs AS MATERIALIZED ({theirs}
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
                FROM ({"" if meaning is None else meaning.seeds()}(
                    SELECT o.conversation_id, o.message_id
                    FROM (SELECT * FROM own WHERE {_MAY_BE_RECALLED}) AS o JOIN weights AS t ON t.number = o.number
                    GROUP BY o.conversation_id, o.message_id
                    ORDER BY pg_catalog.sum(t.idf * {_rated("o.tf", "o.length", "t.average")}) DESC,
                        o.conversation_id, o.message_id
                    LIMIT $10
                )) AS o
            ), near AS MATERIALIZED (
                SELECT seed, distance, {_FITS} AS fits, {place},
                    coalesce(turn, conversation_id) AS turn,
                    CASE WHEN {IS_INDEXED} THEN words END AS words, {weight} AS weight{of_text}
                FROM (
                    SELECT s.seed, m.*
                    FROM (SELECT NULL::text AS user_id) AS nobody CROSS JOIN seeds AS s
                    CROSS JOIN LATERAL ({_message_of(tables, "s")}
                    ) AS a CROSS JOIN LATERAL ({_around(tables, f"{place}, {stored}", "a", "$11")}
                    ) AS m
                ) AS each LEFT JOIN copies USING (conversation_id, message_id)
            ), rated AS MATERIALIZED (
                SELECT m.seed, m.distance, m.fits, t.number, t.idf, t.average,
                    coalesce({rank}, 0::float8) AS tf, coalesce({length}, 0::float8) AS length
                FROM near AS m CROSS JOIN weights AS t
                WHERE m.distance BETWEEN {-2 * REACH} AND {2 * REACH}
            ), together AS (
                SELECT *, pg_catalog.sum(tf) OVER beside AS tf_beside,
                    pg_catalog.sum(length) OVER beside AS length_beside
                FROM rated
                WINDOW beside AS (
                    PARTITION BY seed, number ORDER BY distance ROWS BETWEEN {REACH} PRECEDING AND {REACH} FOLLOWING
                )
            ), scored AS ({by_words if meaning is None else meaning.scored(by_words)}
            ), best AS MATERIALIZED (
                SELECT seed, distance, score,
                    pg_catalog.row_number() OVER (ORDER BY score DESC, created_at DESC, seq DESC) AS place
                FROM (
                    SELECT DISTINCT ON (turn, message_id) n.seed, n.distance, s.score, n.created_at, n.seq
                    FROM scored AS s JOIN near AS n ON n.seed = s.seed AND n.distance = s.distance
                    WHERE turn <> ''
                    ORDER BY turn, message_id, score DESC
                ) AS each
                ORDER BY score DESC, created_at DESC, seq DESC LIMIT $9
            ), once AS MATERIALIZED (
                SELECT m.conversation_id, m.message_id, m.turn,
                    pg_catalog.array_agg(b.place::text ORDER BY b.place) AS places,
                    pg_catalog.array_agg((m.distance - b.distance)::text ORDER BY b.place) AS distances,
                    pg_catalog.array_agg(b.score::text ORDER BY b.place) AS scores
                FROM best AS b
                JOIN near AS m ON m.seed = b.seed
                    AND m.distance BETWEEN b.distance - $8::bigint AND b.distance + $8::bigint
                WHERE m.turn <> ''
                GROUP BY m.conversation_id, m.message_id, m.turn
            ), titled AS MATERIALIZED (
                SELECT c.*
                FROM (SELECT DISTINCT conversation_id FROM once) AS o
                CROSS JOIN LATERAL (SELECT * FROM {conversations} WHERE id = o.conversation_id ORDER BY id) AS c
            )
            SELECT o.places, o.distances, o.scores, o.turn, {columns}, m.*
            FROM once AS o JOIN titled AS c ON c.id = o.conversation_id
            CROSS JOIN LATERAL (
                SELECT {PLAIN_COLUMNS} FROM {messages}
                WHERE conversation_id = o.conversation_id AND message_id = o.message_id
                ORDER BY conversation_id, message_id
            ) AS m""")
