"""What the tests of appends share: messages, and calls that are made at the same time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from tests.calls import PATIENCE, Rows
from voltmem import Message, PostgresStorage, Storage

if TYPE_CHECKING:
    from tests.conftest import Connection

Task: TypeAlias = "asyncio.Task[Message]"
Fields: TypeAlias = dict[str, object]


def text(id: str) -> Fields:
    return {"id": id, "role": "user", "content": f"this is {id}"}


def ids(messages: Iterable[Message]) -> list[str]:
    return [message.id for message in messages]


def start(storage: PostgresStorage, calls: Iterable[tuple[str, str]]) -> list[Task]:
    """Call add_message for each conversation and message id, in this order, and wait for none of them."""
    return [asyncio.create_task(storage.add_message(text(id), "ada", conversation)) for conversation, id in calls]


async def stored(tasks: Iterable[Awaitable[Message]]) -> list[str]:
    """Return the ids of what all of them have stored; the first error is everybody's."""
    async with asyncio.timeout(PATIENCE):
        return ids(await asyncio.gather(*tasks))


async def outcomes_of(calls: Iterable[Awaitable[Message]]) -> list[Message | BaseException]:
    """Return what became of each."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*calls, return_exceptions=True)


async def found(storage: PostgresStorage, conversation: str) -> list[str]:
    return ids(await storage.get_messages("ada", conversation, limit=None))


def by_conversation(calls: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the message ids of each conversation, in the order of the calls."""
    called: defaultdict[str, list[str]] = defaultdict(list)
    for conversation, id in calls:
        called[conversation].append(id)
    return called


async def make_conversations(storage: Storage, count: int) -> list[str]:
    """Make conversations of ada's: c0, c1 …"""
    names = [f"c{number}" for number in range(count)]
    for name in names:
        await storage.create_conversation({"id": name, "user_id": "ada"})
    return names


def spread(count: int, conversations: Sequence[str]) -> list[tuple[str, str]]:
    """Return so many calls, each for the next of the conversations."""
    return [(conversations[number % len(conversations)], f"m{number}") for number in range(count)]


async def lock(connection: Connection, schema: str, conversation: str) -> None:
    """Lock a conversation's row until the connection's transaction ends."""
    table = Rows(connection, schema).conversations
    await connection.execute(f"SELECT FROM {table} WHERE id = $1 FOR UPDATE", conversation)
