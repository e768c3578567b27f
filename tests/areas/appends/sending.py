"""Helpers for the tests of appends: messages, and concurrent calls."""

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
    """Start add_message for each conversation and message id, in this order, without waiting for any."""
    return [asyncio.create_task(storage.add_message(text(id), "ada", conversation)) for conversation, id in calls]


async def stored(tasks: Iterable[Awaitable[Message]]) -> list[str]:
    """Return the ids of the stored messages of all calls. Raises the first error."""
    async with asyncio.timeout(PATIENCE):
        return ids(await asyncio.gather(*tasks))


async def outcomes_of(calls: Iterable[Awaitable[Message]]) -> list[Message | BaseException]:
    """Return the result or the error of each call."""
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
    """Create conversations of ada: c0, c1 …"""
    names = [f"c{number}" for number in range(count)]
    for name in names:
        await storage.create_conversation({"id": name, "user_id": "ada"})
    return names


def spread(count: int, conversations: Sequence[str]) -> list[tuple[str, str]]:
    """Return *count* calls, spread over the conversations in turn."""
    return [(conversations[number % len(conversations)], f"m{number}") for number in range(count)]


async def lock(connection: Connection, schema: str, conversation: str) -> None:
    """Lock the row of a conversation until the connection's transaction ends."""
    table = Rows(connection, schema).conversations
    await connection.execute(f"SELECT FROM {table} WHERE id = $1 FOR UPDATE", conversation)
