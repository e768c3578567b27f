"""The SQL of recall(): messages are rated by words, or by words and vectors, each together with its neighbours."""

from __future__ import annotations

from typing import Final

from voltmem._areas.embedding import text_hash
from voltmem._areas.queries import (
    CONVERSATION_COLUMNS,
    IS_INDEXED,
    PLAIN_COLUMNS,
    ROLE,
    TEXT,
    TYPE,
    authored,
    mostly,
)
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
SEEDS: Final = 20
"""Messages whose neighbours are read: those whose own words fit best."""
_OF_TOOLS: Final = 0.1
"""The weight of a word in a tool's call or result, as in the search."""
# ts_rank() of one word that occurs once. Of a word that occurs n times it is 1 + 1/4 + … + 1/n² times that.
_RANK_OF_ONE: Final = 0.060792710185402664

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


_CANDIDATE: Final = (
    f"distance BETWEEN {-REACH} AND {REACH} "
    "AND ($6::timestamptz IS NULL OR created_at > $6) AND ($7::timestamptz IS NULL OR created_at < $7)"
)


_MAY_BE_RECALLED: Final = "($12::text IS NULL OR conversation_id <> $12 OR message_id <> ALL ($13::text[]))"


class _Meant:
    """The parts of the statement that are about vectors."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        # A subselect, which is computed once.
        self._asked = f'(SELECT $15::text::"{tables.vectors}".halfvec)'

    def _apart(self, vector: str) -> str:
        """Return the SQL expression of the cosine distance of a vector from that of the text."""
        return f'{vector} OPERATOR("{self._tables.vectors}".<=>) {self._asked}'

    def _sum(self, vector: str) -> str:
        """Return the SQL expression of the sum of vectors, of which only the direction counts. avg() is slow."""
        return f'"{self._tables.vectors}".sum({vector})'

    def seeds(self) -> str:
        """Return the SELECT of the messages whose vectors are the nearest, and the UNION with others."""
        tables = self._tables
        mine = "conversation_id = {}.conversation_id AND message_id = {}.message_id"
        return f"""(
                    SELECT s.conversation_id, s.message_id
                    FROM (
                        SELECT e.conversation_id, e.message_id, e.text_hash, {self._apart("e.embedding")} AS apart
                        FROM theirs AS c CROSS JOIN LATERAL (
                            SELECT * FROM {tables.embeddings}
                            WHERE conversation_id = c.id AND model = $14 AND {_MAY_BE_RECALLED}
                            ORDER BY conversation_id, message_id
                        ) AS e
                        WHERE e.embedding IS NOT NULL AND CASE
                                WHEN $6::timestamptz IS NULL AND $7::timestamptz IS NULL THEN true
                                ELSE EXISTS (
                                    SELECT 1 FROM {tables.messages} AS m
                                    WHERE {mine.format("e", "e")}
                                        AND ($6 IS NULL OR m.created_at > $6) AND ($7 IS NULL OR m.created_at < $7)
                                )
                            END
                        ORDER BY apart LIMIT {_SIMILAR} * $10::bigint
                    ) AS s CROSS JOIN LATERAL (
                        SELECT *, {TEXT} AS text FROM {authored(tables)} AS each
                        WHERE {mine.format("s", "s")} ORDER BY each.conversation_id, each.message_id
                    ) AS m
                    WHERE NOT m.aside AND coalesce(m.author, $1) = $1 AND s.text_hash = {text_hash("m.text")}
                    GROUP BY s.conversation_id, s.message_id
                    ORDER BY pg_catalog.min(s.apart), s.conversation_id, s.message_id LIMIT $10::bigint
                ) UNION """

    def scored(self, by_words: str) -> str:
        """Return the SELECT of the candidates with the scores of both, each in proportion to the best."""
        return f"""
                WITH felt AS (
                    SELECT n.seed, n.distance, n.conversation_id, n.message_id, n.created_at, n.seq, e.vector, e.apart
                    FROM near AS n CROSS JOIN LATERAL (
                        SELECT {self._sum(f'"{self._tables.vectors}".l2_normalize(x.embedding)')} AS vector,
                            pg_catalog.min({self._apart("x.embedding")}) AS apart
                        FROM {self._tables.embeddings} AS x
                        WHERE x.conversation_id = n.conversation_id AND x.message_id = n.message_id
                            AND x.model = $14 AND x.embedding IS NOT NULL AND x.text_hash = n.hash
                    ) AS e
                    WHERE n.distance BETWEEN {-2 * REACH} AND {2 * REACH}
                ), meant AS (
                    SELECT *, {self._apart(f"{self._sum('vector')} OVER beside")} AS apart_beside
                    FROM felt
                    WINDOW beside AS (
                        PARTITION BY seed ORDER BY distance ROWS BETWEEN {REACH} PRECEDING AND {REACH} FOLLOWING
                    )
                ), candidates AS (
                    SELECT seed, distance, conversation_id, message_id, created_at, seq,
                        pg_catalog.max(by_words) AS by_words, pg_catalog.max(by_meaning) AS by_meaning
                    FROM ({by_words.replace("AS score", "AS by_words, 0::float8 AS by_meaning")}
                        UNION ALL
                        SELECT seed, distance, conversation_id, message_id, created_at, seq, 0::float8, greatest(
                            2::float8 - apart - coalesce(nullif(apart_beside, 'NaN'::float8), 1::float8), 0::float8
                        )
                        FROM meant WHERE {_CANDIDATE}
                    ) AS each
                    GROUP BY seed, distance, conversation_id, message_id, created_at, seq
                )
                SELECT seed, distance, conversation_id, message_id, created_at, seq,
                    coalesce(by_words / nullif(pg_catalog.max(by_words) OVER (), 0::float8), 0::float8)
                    + coalesce(by_meaning / nullif(pg_catalog.max(by_meaning) OVER (), 0::float8), 0::float8) AS score
                FROM candidates"""


class RecallStatements:
    """
    The statement of recall(): by words, and where tables.vectors is the schema of pgvector, by vectors, too.

    $13 are the ids of messages of conversation $12 that are not recalled; NULL: there are none. By vectors, $14 is the
    model, and $15 the vector of the text.
    """

    def __init__(self, tables: Tables) -> None:
        meaning = None if tables.vectors is None else _Meant(tables)
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
        ) + ("" if meaning is None else f", {text_hash(TEXT)} AS hash")
        dictionaries = ",".join(f"pg_catalog.{each}_stem" for each in _LANGUAGES)
        is_stop_word = "pg_catalog.cardinality(pg_catalog.ts_lexize({}, a.typed)) = 0"
        is_theirs = "c.user_id = $1 AND c.deleted_at IS NULL AND c.resource_id = coalesce($5::text, c.resource_id)"
        columns = ", ".join(f"c.{column.strip()}" for column in CONVERSATION_COLUMNS.split(","))
        by_words = f"""
                SELECT seed, distance, conversation_id, message_id, created_at, seq, pg_catalog.sum(idf * (
                    {_rated("tf_beside", "length_beside", f"(average * {2 * REACH + 1}::float8)")}
                    + {_OWN}::float8 * {_rated("tf", "length", "average")}
                )) AS score
                FROM together
                WHERE {_CANDIDATE}
                GROUP BY seed, distance, conversation_id, message_id, created_at, seq
                HAVING {"true" if meaning else "pg_catalog.sum(tf) > 0::float8"}"""
        # Vectors may be of any conversation, words only of those that were met.
        theirs = f"""
                SELECT c.id
                FROM (SELECT DISTINCT conversation_id FROM met) AS f
                CROSS JOIN LATERAL (SELECT * FROM {conversations} WHERE id = f.conversation_id ORDER BY id) AS c
                WHERE {mostly(is_theirs)}"""
        if meaning is not None:
            theirs = f"""
                SELECT c.id FROM {conversations} AS c WHERE {is_theirs} AND ($4::text IS NULL OR c.id = $4)"""
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
                    LIMIT $10::bigint
                )) AS o
            ), near AS MATERIALIZED (
                SELECT s.seed, m.*
                FROM seeds AS s CROSS JOIN LATERAL ({_message_of(tables, "s")}
                ) AS a CROSS JOIN LATERAL ({_around(tables, near_columns, "a", "$11::bigint")}
                ) AS m
            ), rated AS MATERIALIZED (
                SELECT m.*, t.number, t.idf, t.average,
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
                    SELECT DISTINCT ON (conversation_id, message_id) * FROM scored WHERE {_MAY_BE_RECALLED}
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
