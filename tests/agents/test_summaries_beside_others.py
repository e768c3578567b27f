"""Summaries beside VoltAgent, or any other program that writes the messages with statements of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from tests import citus
from tests.agents.talk import says
from tests.agents.test_summaries import Summariser, compacted, shown, talked
from voltmem import ConversationMemory, Message, PostgresStorage

if TYPE_CHECKING:
    from tests.conftest import Connection

pytestmark = pytest.mark.skipif(citus.DSN is not None, reason="Citus allows no triggers")

INSERT: Final = """
    INSERT INTO {m} (conversation_id, message_id, role, content, type, aside, created_at)
    SELECT conversation_id, 'new', role, content, type, %s, created_at + interval '%s'
    FROM {m} WHERE message_id = '%s'"""
MOVE: Final = """
    UPDATE {m} AS m SET created_at = u0.created_at - interval '1 day'
    FROM {m} AS u0 WHERE u0.message_id = 'u0' AND m.message_id = '%s'"""
WITHIN: Final = {
    "an edit": "UPDATE {m} SET content = 'x' WHERE message_id = 'u1'",
    "an edit of VoltAgent's": "UPDATE {m} SET parts = '[]' WHERE message_id = 'u1'",
    "a deletion": "DELETE FROM {m} WHERE message_id IN ('u1', 'u4')",
    "a message between": INSERT % (False, "1 microsecond", "u1"),
    "a message at its end": INSERT % (False, "0", "a2"),
    "a message before all": INSERT % (False, "-1 day", "u0"),
}
BEYOND: Final = {
    "the same again": "UPDATE {m} SET parts = parts, role = role WHERE message_id = 'u1'",
    "a deletion": "DELETE FROM {m} WHERE message_id = 'u4'",
    "a message after it": INSERT % (False, "1 microsecond", "a2"),
    "a message of another branch": INSERT % (True, "1 microsecond", "u1"),
}


@pytest.fixture
async def memory(storage: PostgresStorage) -> ConversationMemory:
    """A conversation of ada's with five turns."""
    return await talked(storage.conversation("ada", "c1"))


@pytest.fixture
def messages(schema: str) -> str:
    return f'"{schema}".voltagent_memory_messages'


@pytest.mark.parametrize("write", [*WITHIN.values(), MOVE % "u4", "TRUNCATE {m}"], ids=[*WITHIN, "a move", "all"])
async def test_another_programs_changes_put_a_summary_out_of_use(
    memory: ConversationMemory, connection: Connection, messages: str, write: str
) -> None:
    """A statement that changes or deletes a message of its range, or adds one before its end, is noticed."""
    await compacted(memory)

    await connection.execute(write.format(m=messages))

    assert "*" not in await shown(memory)


@pytest.mark.parametrize("write", BEYOND.values(), ids=BEYOND)
async def test_another_programs_changes_beyond_a_summary_leave_it_in_use(
    memory: ConversationMemory, connection: Connection, messages: str, write: str
) -> None:
    """A statement that changes nothing that a summary says, and adds nothing before its end, leaves it in use."""
    await compacted(memory)

    await connection.execute(write.format(m=messages))

    assert "*" in await shown(memory)


@pytest.mark.parametrize("write", WITHIN.values(), ids=WITHIN)
async def test_a_summary_waits_for_another_programs_changes(
    memory: ConversationMemory, connection: Connection, messages: str, write: str
) -> None:
    """What a transaction has changed and not committed yet is waited for; what it then commits is not summarised."""
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(write.format(m=messages))
    compacting = asyncio.create_task(memory.compact(Summariser(), keep_turns=2))
    await asyncio.sleep(0.3)
    assert not compacting.done()
    await transaction.commit()

    assert await compacting is None
    assert "*" not in await shown(memory)


async def test_a_change_that_is_rolled_back_keeps_no_summary_from_being_stored(
    memory: ConversationMemory, connection: Connection, messages: str
) -> None:
    """A summary is stored once a change that it waits for is undone, also if that takes longer than one wait."""
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(f"DELETE FROM {messages} WHERE message_id = 'u1'")
    compacting = asyncio.create_task(memory.compact(Summariser(), keep_turns=2))
    await asyncio.sleep(0.8)
    await transaction.rollback()

    assert await compacting is not None
    assert "*" in await shown(memory)


@pytest.mark.parametrize("summaries", [1, 2])
@pytest.mark.parametrize("write", WITHIN.values(), ids=WITHIN)
async def test_another_programs_changes_wait_for_a_summary(
    storage: PostgresStorage,
    memory: ConversationMemory,
    connection: Connection,
    messages: str,
    summaries: int,
    write: str,
) -> None:
    """A change that comes while a summary is stored waits for it, and puts it and the one before out of use."""
    if summaries == 2:
        await compacted(memory)
        await talked(memory, 2, first=5)
    async with storage.transaction() as tx:
        await compacted(tx.conversation("ada", "c1"))
        writing = asyncio.create_task(connection.execute(write.format(m=messages)))
        await asyncio.sleep(0.3)
        assert not writing.done()
    await writing

    assert "*" not in await shown(memory)


async def test_no_summary_has_the_text_of_a_message_that_is_deleted_meanwhile(
    storage: PostgresStorage, connection: Connection, messages: str
) -> None:
    """Whichever of compact() and a deletion by another program is first, no window has the text afterwards."""

    def quote(said: list[Message], before: str | None) -> str:
        return " ".join(message.text for message in said)

    for number in range(20):
        memory = storage.conversation("ada", f"c{number}")
        await memory.add(says("user", "my number is 4711", id=f"secret{number}"))
        await talked(memory, 3)
        await asyncio.gather(
            memory.compact(quote, keep_turns=1),
            connection.execute(f"DELETE FROM {messages} WHERE message_id = $1", f"secret{number}"),
        )
        assert not [message.text for message in await memory.messages() if "4711" in message.text]


async def test_in_a_deadlock_with_another_program_the_summary_gives_way(
    memory: ConversationMemory, connection: Connection, messages: str
) -> None:
    """A program that changes a message, then adds one, succeeds, and the summary is made of nothing that it changed."""
    async with connection.transaction():
        await connection.execute(WITHIN["an edit"].format(m=messages))
        compacting = asyncio.create_task(memory.compact(Summariser(), keep_turns=2))
        await asyncio.sleep(0.2)
        await connection.execute(BEYOND["a message after it"].format(m=messages))

    assert await compacting is None
    assert "*" not in await shown(memory)


async def test_a_message_is_added_while_a_summary_waits_for_another_program(
    storage: PostgresStorage, memory: ConversationMemory, connection: Connection, messages: str
) -> None:
    """Adding a message waits for less than half a second, however long the other program's transaction is open."""
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(WITHIN["an edit"].format(m=messages))
    compacting = asyncio.create_task(memory.compact(Summariser(), keep_turns=2))
    await asyncio.sleep(0.2)

    async with asyncio.timeout(2):
        await storage.add_message(says("user", id="meanwhile"), "ada", "c1")

    await transaction.commit()
    assert await compacting is None
    assert (await shown(memory))[-1] == "meanwhile"
