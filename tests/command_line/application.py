"""What an application does with a storage: every verb, and what needs a privilege that no verb of CASES needs."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Final

from tests.calls import CASES
from voltmem import NativeMemory, PostgresStorage
from voltmem._areas.answers import ANSWER, AnswerRows, Piece
from voltmem._areas.area import access
from voltmem._areas.items import Put, change_items, get_items, keep_items_longer
from voltmem._postgres.listening import ListenerStatements


async def index_and_forget(storage: PostgresStorage) -> None:
    await storage.index_messages()
    await storage.forget_words()


async def watch(storage: PostgresStorage) -> None:
    """Watch, and plan the statements that the listener sends now and then."""
    async with aclosing(storage.watch("ada")) as changes:
        await anext(changes)
    async with storage.transaction() as tx:
        for statement in vars(ListenerStatements(storage._options.tables)).values():
            values = [None] * len(set(re.findall(r"\$\d+", statement)))
            await tx.connection.fetch(f"EXPLAIN {statement}", *values)


async def add_while_watched(storage: PostgresStorage) -> None:
    async with aclosing(storage.watch("ada")) as changes:
        await anext(changes)
        await within_quotas(storage)


async def add_after_changes(storage: PostgresStorage) -> None:
    """Add to a line that was shortened since the last message was added."""
    for _ in range(2):
        await within_quotas(storage)
        await storage.clear_messages("ada", "c1")


async def add_beyond_the_limit(storage: PostgresStorage) -> None:
    await storage.add_messages([{"role": "user", "content": "Hello"}] * 200, "ada", "c1")


async def give_away(storage: PostgresStorage) -> None:
    """Give a conversation with a file to another user."""
    await storage.update_conversation("c1", user_id="bob")


async def delete_in_branches(storage: PostgresStorage) -> None:
    await storage.branch_conversation("c1", "m2")
    await storage.delete_messages(["m2"], "ada", "c1")


async def first_turn(storage: PostgresStorage) -> None:
    await storage.conversation("ada", "c9").add({"role": "user", "content": "Hello"})


async def load_line(storage: PostgresStorage) -> None:
    """Call the function as Pydantic AI's conversation store does."""
    async with storage.transaction() as tx:
        await tx.connection.fetch(f"SELECT * FROM {storage._options.tables.line_to}('c1', 'm2', NULL)")


async def within_quotas(storage: PostgresStorage) -> None:
    await storage.add_message({"role": "user", "content": "Hello"}, "ada", "c1")


async def save_payload(storage: PostgresStorage) -> None:
    await NativeMemory(storage, "ada", "c1").save_payload({"n": 1}, "test")


async def compact(storage: PostgresStorage) -> None:
    """Summarise twice: the first summary is read, and the limit leaves no room for a third."""
    memory = storage.conversation("ada", "c1")
    for turn in range(2):
        await memory.add_turn([{"role": role, "content": f"{turn}"} for role in ("user", "assistant", "user")])
        await memory.compact(lambda messages, _: f"{len(messages)} messages", keep_turns=1)


async def add_with_a_time(storage: PostgresStorage) -> None:
    """Add a message whose place may be within a summary."""
    await storage.add_message({"role": "user", "content": "Hello", "created_at": "2002-01-01T00:00:00Z"}, "ada", "c1")


async def prune(storage: PostgresStorage) -> None:
    await storage.prune("ada", older_than=timedelta(0))


async def hold_lease(storage: PostgresStorage) -> None:
    """Take a lease, and end it."""
    async with storage.lease("ada", "c1", "title"):
        pass


async def write_answer(storage: PostgresStorage) -> None:
    """Write an answer as the chat does."""
    rows = AnswerRows(access(storage))
    await storage.ensure_conversation({"id": "chat", "user_id": "ada"})
    await storage.add_message({"id": "m1", "role": "user", "content": "Hello"}, "ada", "chat")
    async with storage.lease("ada", "chat", ANSWER) as lease:
        await rows.begin("chat", "m1", "a1", lease.fencing_token)
        assert await rows.grow("chat", lease.fencing_token, "m1", "a1", Piece(1, "[]")) is False
        assert await rows.growth("ada", "chat", "a1", 0) is not None
        await rows.end("chat", "m1", "a1", "complete")


async def remember(storage: PostgresStorage) -> None:
    """Write the working memory of a user in each way that has a function of its own."""
    memory = storage.working_memory("ada")
    await memory.set({"likes": ["tea"]})
    await memory.merge({"likes": ["coffee"]}, rules="voltagent")
    await memory.history()


async def keep_items(storage: PostgresStorage) -> None:
    """Store an item of a user, read it, and delete it."""
    put = Put(("a",), "k", {"n": 1}, seconds=60)
    await change_items(access(storage), "ada", [put])
    await keep_items_longer(access(storage), "ada", await get_items(access(storage), "ada", [(("a",), "k")]))
    await change_items(access(storage), "ada", [put._replace(value=None)])


MORE: Final[Mapping[str, Callable[[PostgresStorage], Awaitable[object]]]] = {
    **CASES,
    "open": PostgresStorage.open,
    **{
        each.__name__: each
        for each in (
            *(index_and_forget, watch, give_away, delete_in_branches, first_turn, load_line, within_quotas),
            *(save_payload, add_while_watched, add_after_changes, add_beyond_the_limit, remember, compact),
            *(add_with_a_time, keep_items, hold_lease, write_answer, prune),
        )
    },
}
