"""The search and the sidebar among many conversations: each has ten messages of real dialogues, all indexed."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Sequence
from functools import partial
from itertools import count
from typing import Final

from tests.benchmarks._bench import Bench
from tests.benchmarks._measure import Bound, Call, Side
from tests.benchmarks.sidebar import OF_ONE_USER, fill
from tests.dialogues import HAS_REAL, REAL
from voltmem import PostgresStorage
from voltmem._areas.words import vector, words

MESSAGES: Final = 10
AT_ONCE: Final = 100_000
ALLOWED_MILLISECONDS: Final = 20
QUERIES: Final = 500

_numbers = count()


async def run(bench: Bench) -> None:
    """Measure searching, listing, and the cost of the index for add_message."""
    if not HAS_REAL:
        bench.progress.console.print("the real dialogues are not beside the checkout: no rows for searching them")
        return
    texts = [message["content"] for talk in REAL for message in talk["messages"] if isinstance(message["content"], str)]
    await fill(bench, bench.ours, bench.rows)
    await say(bench, texts)
    await searching(bench, texts)
    await listing(bench)
    await adding(bench, texts)


async def say(bench: Bench, texts: Sequence[str]) -> None:
    """Fill each conversation with messages, indexed as with search=True."""
    messages = bench.ours.messages
    async with bench.pool.acquire() as connection:
        await connection.execute("SET maintenance_work_mem = '1GB'")
        # The lengths of lines are not known yet: the trigger that notes this for each message would take half an hour.
        await connection.execute("SET voltmem.is_adding = 'yes'")
        await connection.execute("CREATE TEMPORARY TABLE said (n integer PRIMARY KEY, content text, vector text)")
        await connection.copy_records_to_table(
            "said", records=[(number, text, vector(text)) for number, text in enumerate(texts)]
        )
        await connection.execute("ANALYZE said")
        # The index is built at the end, as from a restored dump: row by row it would take hours.
        indexes = await connection.fetch(
            "SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition "
            "FROM pg_index WHERE indrelid = $1::text::regclass AND NOT indisunique",
            messages,
        )
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['name']}")
        with bench.working(f"{bench.rows * MESSAGES:,} messages are made", -(-bench.rows // AT_ONCE)) as advance:
            for first in range(1, bench.rows + 1, AT_ONCE):
                last = min(first + AT_ONCE - 1, bench.rows)
                await connection.execute(saying(bench), first, last, len(texts), timeout=3600)
                advance()
        with bench.working("their indexes are built", len(indexes)) as advance:
            for index in indexes:
                await connection.execute(index["definition"], timeout=7200)
                advance()
            await connection.execute(f"VACUUM ANALYZE {messages}", timeout=3600)
            await connection.execute("CHECKPOINT", timeout=3600)
        await connection.execute("DROP TABLE said")
        await connection.execute("RESET voltmem.is_adding")


def saying(bench: Bench) -> str:
    """
    Return the statement for the messages of the conversations from $1 to $2, adjacent ones of the dialogues in $3.
    """
    return f"""
        INSERT INTO {bench.ours.messages} (conversation_id, message_id, role, content, type, created_at, words)
        SELECT c.id, 'm' || k, CASE WHEN k % 2 = 1 THEN 'user' ELSE 'assistant' END, said.content, 'text',
            c.updated_at + k * interval '1 second', replace(said.vector, E'\\x01', key.of_user)::tsvector
        FROM generate_series($1::integer, $2::integer) AS made
        JOIN {bench.ours.conversations} AS c ON c.id = 'conversation-' || made
        CROSS JOIN LATERAL (SELECT left(encode(sha256(convert_to(c.user_id, 'UTF8')), 'hex'), 8) AS of_user) AS key
        CROSS JOIN generate_series(1, {MESSAGES}) AS k
        JOIN said ON said.n = (made::bigint * 7919 + k) % $3"""


def queries(texts: Sequence[str]) -> list[str]:
    """Return typical queries: one, two or three adjacent words, the last one often a prefix."""
    chosen = random.Random(7)  # noqa: S311  # the same in each run
    asked: list[str] = []
    while len(asked) < QUERIES:
        found = [word.text for word in words(chosen.choice(texts))]
        length = chosen.choice((1, 1, 2, 3))
        start = chosen.randrange(len(found)) if found else 0
        if picked := found[start : start + length]:
            last = picked[-1]
            asked.append(" ".join([*picked[:-1], last[: chosen.randint(min(3, len(last)), len(last))]]))
    return asked


async def searching(bench: Bench, texts: Sequence[str]) -> None:
    """Measure the first page of results, each time for another user."""
    storage, asked, users = bench.storage(search=True), queries(texts), users_of(bench)

    def search(number: int) -> Awaitable[object]:
        return storage.search(f"user-{number * 7 % users}", asked[number % QUERIES])

    async def allowed() -> Side:
        return Side(ALLOWED_MILLISECONDS)

    await bench.compare(
        f"search, {OF_ONE_USER} conversations of {bench.rows:,}, {bench.rows * MESSAGES:,} messages",
        "the milliseconds allowed",
        "ms",
        bench.latency(search, QUERIES),
        allowed,
        bound=Bound("at most", 1),
    )


async def listing(bench: Bench) -> None:
    """Measure the first page of the sidebar with previews, against its conversations alone."""
    storage, users = bench.storage(), users_of(bench)

    def page(number: int, *, preview: bool) -> Awaitable[object]:
        return storage.list_conversations(f"user-{number * 7 % users}", preview=preview)

    await bench.compare(
        f"list_conversations, {bench.rows:,} conversations, {bench.rows * MESSAGES:,} messages",
        "the same without previews",
        "ms",
        bench.latency(partial(page, preview=True), 500),
        bench.latency(partial(page, preview=False), 500),
    )


async def adding(bench: Bench, texts: Sequence[str]) -> None:
    """Measure add_message with the search on and off, in the same tables."""
    users = users_of(bench)
    with_search = add_somewhere(bench, texts, users, bench.storage(search=True))
    without = add_somewhere(bench, texts, users, bench.storage())
    among = f"{bench.rows * MESSAGES:,} messages"
    await bench.compare(
        f"add_message alone, search=True, {among}",
        "without the search",
        "ms",
        bench.latency(with_search, 1_000),
        bench.latency(without, 1_000),
        bound=Bound("at most", 1.3),
        adds=1,
    )
    await bench.compare(
        f"add_message, 64 at once, search=True, {among}",
        "without the search",
        "a second",
        bench.throughput(with_search, 8_000, 64),
        bench.throughput(without, 8_000, 64),
        bound=Bound("at least", 0.8),
        adds=1,
    )


def add_somewhere(bench: Bench, texts: Sequence[str], users: int, storage: PostgresStorage) -> Call:
    """Return the call that adds a message to a conversation of one of so many users, each time to another one."""

    def add(_: int) -> Awaitable[object]:
        place = next(_numbers) * 7919 % bench.rows + 1
        message = {"role": "user", "content": texts[place % len(texts)]}
        return storage.add_message(message, f"user-{place % users}", f"conversation-{place}")

    return add


def users_of(bench: Bench) -> int:
    """Return the number of users with this number of conversations each."""
    return max(1, bench.rows // OF_ONE_USER)
