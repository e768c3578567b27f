"""The vectors of messages: found by what is missing, embedded in batches outside of any transaction, stored once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from voltmem._areas.area import Access, Area
from voltmem._areas.meaning import Meaning, pieces
from voltmem._areas.queries import OF_TOOLS, TEXT
from voltmem._postgres.migrations.vectors import owner_key
from voltmem._tables import Tables, rendered
from voltmem._values import check_count, check_text, short_repr, uuid7
from voltmem.errors import EmbeddingError, InvalidOptionError, VoltMemError

if TYPE_CHECKING:
    from datetime import datetime

    from voltmem._postgres.connection import Executor

# Messages that one statement looks at.
_PAGE: Final = 1_000
# Longer texts are cut where they are read: more than the longest pieces have.
_LONGEST: Final = 1_000_000
# How long a message is kept from other workers. If its worker is killed, another one takes it afterwards.
_LEASE: Final = "interval '10 minutes'"
# After so many failures in a row, embed() has to show again that it works at all. Finding one of 64 messages takes 7.
_FAILURES: Final = 8
# An error names so many messages.
_NAMED: Final = 5


def text_hash(text: str) -> str:
    """Return the SQL expression of the hash of a text, by which a changed one is noticed."""
    return f"pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to({text}, 'UTF8')), 'hex')"


class EmbeddingStatements:
    """The statements about vectors. tables.vectors is the schema of pgvector."""

    def __init__(self, tables: Tables) -> None:
        messages, embeddings = tables.messages, tables.embeddings
        now = "pg_catalog.statement_timestamp()"
        mine = "e.conversation_id = m.conversation_id AND e.message_id = m.message_id AND e.model = $3"
        owner = f"(SELECT user_id FROM {tables.conversations} WHERE id = m.conversation_id)"
        every = f"""
                SELECT * FROM {messages} AS m
                WHERE (m.conversation_id, m.message_id) > ($1, $2)
                ORDER BY m.conversation_id, m.message_id LIMIT {_PAGE}"""
        changed = f"""
                SELECT m.*
                FROM {tables.conversations} AS c CROSS JOIN LATERAL (
                    SELECT * FROM {messages} AS each
                    WHERE each.conversation_id = c.id AND (each.conversation_id, each.message_id) > ($1, $2)
                    ORDER BY each.conversation_id, each.message_id
                ) AS m
                WHERE c.id >= $1 AND c.updated_at >= $6
                ORDER BY m.conversation_id, m.message_id LIMIT {_PAGE}"""

        def missing(looked_at: str) -> str:
            return f"""
            WITH page AS MATERIALIZED (
                SELECT m.conversation_id, m.message_id, m.aside, {OF_TOOLS} AS of_tools,
                    pg_catalog.left({TEXT}, {_LONGEST}) AS text
                FROM ({looked_at}
                ) AS m
            ), missing AS (
                SELECT m.conversation_id, m.message_id, m.text, {text_hash("m.text")} AS hash
                FROM page AS m
                WHERE NOT m.aside AND (NOT m.of_tools OR $4) AND m.text ~ '\\S' AND NOT EXISTS (
                        SELECT 1 FROM {embeddings} AS e
                        WHERE {mine} AND e.piece = 0 AND (
                                e.claimed_until > {now}
                                OR (
                                    e.embedding IS NOT NULL AND e.text_hash = {text_hash("m.text")}
                                    AND e.owner_key = {owner_key(owner, "$3")}
                                )
                            )
                    )
                ORDER BY m.conversation_id, m.message_id LIMIT $5::bigint
            ), last AS (
                SELECT conversation_id, message_id FROM page ORDER BY conversation_id DESC, message_id DESC LIMIT 1
            )
            SELECT conversation_id, message_id, text, hash, false AS is_end FROM missing
            UNION ALL SELECT conversation_id, message_id, NULL, NULL, true FROM last
            ORDER BY is_end, conversation_id, message_id"""

        # The messages after a place that have no vector, or one of another text or for another owner; and as the last
        # row, the end of the page. $3 is the model, $4 whether messages of tools are wanted, $5 how many are wanted; $6
        # the time since which a conversation has changed.
        self.missing = missing(every)
        self.missing_since = missing(changed)
        # Conversations and messages are locked first, as a deletion locks them before their vectors. A conversation is
        # locked for its owner, as hand_over waits for this lock, and an append does not.
        locked = f"""
            WITH given AS MATERIALIZED (
                SELECT * FROM ROWS FROM (
                    pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($4::text[])
                ) AS g (conversation_id, message_id, hash)
            ), owned AS MATERIALIZED (
                SELECT c.id, c.user_id
                FROM (SELECT DISTINCT conversation_id FROM given ORDER BY conversation_id) AS g CROSS JOIN LATERAL (
                    SELECT id, user_id FROM {tables.conversations}
                    WHERE id = g.conversation_id ORDER BY id FOR KEY SHARE
                ) AS c
            ), locked AS MATERIALIZED (
                SELECT m.conversation_id, m.message_id, {owner_key("c.user_id", "$3")} AS owner_key
                FROM owned AS c JOIN given AS g ON g.conversation_id = c.id CROSS JOIN LATERAL (
                    SELECT conversation_id, message_id FROM {messages}
                    WHERE conversation_id = g.conversation_id AND message_id = g.message_id
                    ORDER BY conversation_id, message_id FOR KEY SHARE
                ) AS m
            )"""
        # Of messages that another worker has claimed, or embedded meanwhile, nothing is returned.
        self.claim = f"""{locked}
            INSERT INTO {embeddings} AS e (
                conversation_id, message_id, model, piece, text_hash, owner_key, claim, claimed_until
            )
            SELECT g.conversation_id, g.message_id, $3, 0, g.hash, m.owner_key, $5, {now} + {_LEASE}
            FROM given AS g JOIN locked AS m ON m.conversation_id = g.conversation_id AND m.message_id = g.message_id
            ORDER BY g.conversation_id, g.message_id
            ON CONFLICT (conversation_id, message_id, model, piece) DO UPDATE
            SET claim = excluded.claim, claimed_until = excluded.claimed_until
            WHERE (e.claimed_until IS NULL OR e.claimed_until < {now} OR e.claim = excluded.claim)
                AND (
                    e.embedding IS NULL OR e.text_hash IS DISTINCT FROM excluded.text_hash
                    OR e.owner_key IS DISTINCT FROM excluded.owner_key
                )
            RETURNING e.conversation_id, e.message_id"""
        own = f"{mine} AND e.piece = 0 AND e.claim = $5"
        self.store = f"""{locked}, claimed AS MATERIALIZED (
                SELECT g.*, m.owner_key FROM given AS g
                JOIN locked AS m ON m.conversation_id = g.conversation_id AND m.message_id = g.message_id
                JOIN {embeddings} AS e ON {own}
                ORDER BY g.conversation_id, g.message_id FOR UPDATE OF e
            ), pieces AS MATERIALIZED (
                SELECT c.conversation_id, c.message_id, c.hash, c.owner_key, p.piece, p.vector
                FROM claimed AS c JOIN ROWS FROM (
                    pg_catalog.unnest($6::text[]), pg_catalog.unnest($7::text[]),
                    pg_catalog.unnest($8::integer[]), pg_catalog.unnest($9::text[])
                ) AS p (conversation_id, message_id, piece, vector)
                    ON p.conversation_id = c.conversation_id AND p.message_id = c.message_id
            ), surplus AS (
                DELETE FROM {embeddings} AS e USING claimed AS m
                WHERE {mine} AND NOT EXISTS (
                        SELECT 1 FROM pieces AS p
                        WHERE p.conversation_id = e.conversation_id AND p.message_id = e.message_id
                            AND p.piece = e.piece
                    )
            ), stored AS (
                INSERT INTO {embeddings} AS e (
                    conversation_id, message_id, model, piece, text_hash, owner_key, embedding
                )
                SELECT conversation_id, message_id, $3, piece, hash, owner_key, vector::"{tables.vectors}".halfvec
                FROM pieces
                ON CONFLICT (conversation_id, message_id, model, piece) DO UPDATE
                SET embedding = excluded.embedding, text_hash = excluded.text_hash, owner_key = excluded.owner_key,
                    claim = NULL, claimed_until = NULL
            )
            SELECT pg_catalog.count(*) AS stored FROM claimed"""
        # What was not embedded, so that others need not wait for the end of the lease.
        self.release = f"""
            UPDATE {embeddings} AS e SET claim = NULL, claimed_until = NULL
            FROM ROWS FROM (
                pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])
            ) AS m (conversation_id, message_id)
            WHERE {mine} AND e.piece = 0 AND e.claim = $4"""
        self.forget = f"""
            WITH batch AS (
                SELECT conversation_id, message_id, piece FROM {embeddings}
                WHERE model = $1 AND (conversation_id, message_id, piece) > ($2, $3, $4)
                ORDER BY conversation_id, message_id, piece LIMIT {_PAGE}
            ), gone AS (
                DELETE FROM {embeddings} AS e USING batch AS b
                WHERE e.conversation_id = b.conversation_id AND e.message_id = b.message_id AND e.model = $1
                    AND e.piece = b.piece
                RETURNING e.piece
            )
            SELECT conversation_id, message_id, piece,
                (SELECT pg_catalog.count(*) FROM gone WHERE piece = 0) AS messages
            FROM batch ORDER BY conversation_id DESC, message_id DESC, piece DESC LIMIT 1"""
        self.models = f"""
            SELECT model, pg_catalog.count(*) FILTER (WHERE piece = 0 AND embedding IS NOT NULL) AS messages
            FROM {embeddings} GROUP BY model ORDER BY model"""


class _Missing(NamedTuple):
    """A message without a vector of its text."""

    conversation_id: str
    message_id: str
    text: str
    hash: str


class _Worker:
    """Embeds the messages that have no vectors, beside any number of others."""

    def __init__(self, meaning: Meaning, executor: Executor, tables: Tables) -> None:
        self._meaning = meaning
        self._executor = executor
        self._sql = rendered(EmbeddingStatements, tables)
        self._claim = uuid7()
        self._may_fail = 0
        self._refused: list[tuple[str, str]] = []
        self._reason: Exception | None = None

    async def embed(self, limit: int | None, since: datetime | None) -> int:
        """
        Embed at most so many messages, of conversations that have changed since then. Returns how many.

        EmbeddingError at the end if some were refused.
        """
        recall = self._meaning.recall
        done, place = 0, ("", "")
        while limit is None or done < limit:
            wanted = recall.batch if limit is None else min(recall.batch, limit - done)
            sql, times = (self._sql.missing, []) if since is None else (self._sql.missing_since, [since])
            rows = await self._executor.fetch(sql, *place, recall.key, recall.tool_results, wanted, *times)
            if not rows:
                break
            found = [_Missing(*row[:4]) for row in rows if not row["is_end"]]
            end = rows[-1] if len(found) < wanted else rows[len(found) - 1]
            place = end["conversation_id"], end["message_id"]
            if claimed := await self._claimed(found):
                try:
                    done += await self._embedded(claimed)
                except BaseException:
                    await self._release(claimed)
                    raise
        if self._refused:
            raise self._refusal() from self._reason
        return done

    async def _claimed(self, found: Sequence[_Missing]) -> list[_Missing]:
        if not found:
            return []
        rows = await self._executor.fetch(self._sql.claim, *self._keys(found), self._hashes(found), self._claim)
        ours = {(row["conversation_id"], row["message_id"]) for row in rows}
        return [each for each in found if (each.conversation_id, each.message_id) in ours]

    async def _embedded(self, claimed: Sequence[_Missing]) -> int:
        """Embed these messages, by halves if embed() refuses some. Returns how many vectors were stored."""
        cut = [(each, number, piece) for each in claimed for number, piece in enumerate(self._pieces(each.text))]
        try:
            vectors = await self._meaning.vectors([piece for _, _, piece in cut])
        except Exception as error:  # the caller's function: one text may be the reason
            if not self._may_fail:
                await self._meaning.check_works()
                self._may_fail = _FAILURES
            self._may_fail -= 1
            if len(claimed) == 1:
                self._refused.append((claimed[0].conversation_id, claimed[0].message_id))
                self._reason = self._reason or error
                await self._release(claimed)
                return 0
            middle = len(claimed) // 2
            return await self._embedded(claimed[:middle]) + await self._embedded(claimed[middle:])
        self._may_fail = _FAILURES
        return await self._stored(claimed, cut, vectors)

    async def _stored(
        self, claimed: Sequence[_Missing], cut: Sequence[tuple[_Missing, int, str]], vectors: Sequence[str]
    ) -> int:
        """Store the vectors of the messages that are still ours. Returns of how many."""
        row = await self._executor.fetchrow(
            self._sql.store,
            *self._keys(claimed),
            self._hashes(claimed),
            self._claim,
            [each.conversation_id for each, _, _ in cut],
            [each.message_id for each, _, _ in cut],
            [number for _, number, _ in cut],
            vectors,
            repeatable=False,
        )
        return 0 if row is None else int(row["stored"])

    def _refusal(self) -> EmbeddingError:
        named = [f"{short_repr(id)} of conversation {short_repr(of)}" for of, id in self._refused[:_NAMED]]
        more = [f"{len(self._refused) - _NAMED} more"] if len(self._refused) > _NAMED else []
        return EmbeddingError(
            f"embed() of {self._meaning.recall.model!r} refused {len(self._refused)} messages, which are found by "
            f"words only: {', '.join([*named, *more])}. The others were embedded. The first reason: {self._reason!r}",
            self._refused,
        )

    def _pieces(self, text: str) -> list[str]:
        return pieces(text, self._meaning.recall.piece)

    async def _release(self, claimed: Sequence[_Missing]) -> None:
        try:
            await self._executor.execute(self._sql.release, *self._keys(claimed), self._claim)
        except VoltMemError:  # the lease ends by itself
            return

    def _keys(self, found: Sequence[_Missing]) -> tuple[list[str], list[str], str]:
        ids = [each.conversation_id for each in found], [each.message_id for each in found]
        return *ids, self._meaning.recall.key

    def _hashes(self, found: Sequence[_Missing]) -> list[str]:
        return [each.hash for each in found]


async def embed_missing(access: Access, *, limit: int | None = None, since: datetime | None = None) -> int:
    """Embed at most so many messages, of conversations that have changed since then. Returns how many."""
    meaning = check_recall(access.meaning)
    tables = await meaning.require_tables(access.executor)
    return await _Worker(meaning, access.executor, tables).embed(limit, since)


async def database_time(access: Access) -> datetime:
    """Return the time of the database."""
    row = await access.executor.fetchrow("SELECT pg_catalog.statement_timestamp() AS now")
    assert row is not None  # the statement has one row always
    now: datetime = row["now"]
    return now


class Embedding(Area):
    """The verbs about vectors. PostgresStorage inherits from all areas."""

    async def embed_messages(self, limit: int | None = None) -> int:
        """
        Embed the messages that have no vectors yet, or of whose text they no longer are. Returns how many.

        Call it regularly, in any number of processes: each message is embedded by one of them. If it is stopped, or
        raises, call it again. What a killed process had begun is taken by another one after ten minutes.

        Args:
            limit: Embed at most so many; None: all.

        Raises:
            InvalidOptionError: The storage was created without recall=Recall(…).
            EmbeddingError: *embed* refused some messages, which .refused names; all others are embedded. Or it
                returned something else than a vector for each text.
            SchemaError: The database has no extension vector, or the table of vectors is missing.

        If *embed* raises, its texts are passed again by halves, so that only those that it refuses stay without. If
        it does not work for any text, what it raises is raised. It is called outside of any transaction.
        """
        if limit is not None:
            check_count("limit", limit, minimum=1)
        return await embed_missing(self._access(), limit=limit)

    def _access(self) -> Access:
        return Access(self._options, self._executor, self._meaning)

    async def count_embeddings(self) -> dict[str, int]:
        """
        Return how many messages have vectors, by model.

        The names are those of Recall.key: vectors of another model, dimension or length of pieces cannot be compared.
        """
        tables = await check_recall(self._meaning).require_tables(self._executor)
        rows = await self._executor.fetch(rendered(EmbeddingStatements, tables).models)
        return {row["model"]: row["messages"] for row in rows}

    async def forget_embeddings(self, model: str) -> int:
        """
        Remove the vectors of a model, in batches, when another one has taken its place. Returns of how many messages.

        Args:
            model: A name of count_embeddings().
        """
        check_text(model=model)
        tables = await check_recall(self._meaning).require_tables(self._executor)
        sql = rendered(EmbeddingStatements, tables).forget
        forgotten, last = 0, ("", "", -1)
        while row := await self._executor.fetchrow(sql, model, *last, repeatable=False):
            last = row["conversation_id"], row["message_id"], row["piece"]
            forgotten += row["messages"]
        return forgotten


def check_recall(meaning: Meaning | None) -> Meaning:
    """Return the vectors of the storage; InvalidOptionError if it has none."""
    if meaning is None:
        raise InvalidOptionError("this storage has no vectors: create it with PostgresStorage(recall=Recall(…))")
    return meaning
