"""An export reads one snapshot of the database, row by row, and releases its connection."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import aclosing

import pytest
from pydantic import BaseModel

from tests.areas.transfer.exported import END, conversation, exported, header
from tests.checkout import ROOT
from tests.conftest import MakeStorage
from tests.proxy import Proxy
from voltmem import AgentHistoryEntry, ImportedMemory, PostgresStorage
from voltmem._areas.transfer.models import ImportedConversation, ImportedMessage, ImportedPayload, ImportedSummary
from voltmem._areas.transfer.pieces import FileChunk, ImportedFile, ImportedItem, RunEvent, RunStep, VoltAgentRow


async def test_export_user_reads_one_moment(filled: PostgresStorage) -> None:
    """export_user() reads one snapshot: concurrent writes, moves and deletions are not in it."""
    expected = await exported(filled)
    lines: list[str] = []

    async for each in filled.export_user("ada"):
        if not lines:
            await filled.add_message({"role": "user", "content": "later"}, "ada", "c2")
            await filled.delete_conversation("c1")
            await filled.delete_user("ada")
        lines.append(each)

    assert lines[1:] == expected
    assert [json.loads(each)["kind"] for each in await exported(filled)] == ["end"]


async def test_export_user_has_the_fields_that_the_reference_describes(filled: PostgresStorage) -> None:
    """The reference lists the fields that an import reads, and an export has no others."""
    table = (ROOT / "docs/reference/users.md").read_text().partition("| `kind` |")[2].partition("\n\n")[0]
    described = {
        re.findall(r"`(\w+)`", kind)[0]: set(re.findall(r"`(\w+)`", fields))
        for _, kind, _, fields, _ in (row.split("|") for row in table.splitlines()[2:])
    }
    models: list[tuple[str, type[BaseModel], set[str]]] = [
        ("file", ImportedFile, set()),
        ("chunk", FileChunk, set()),
        ("conversation", ImportedConversation, {"messages", "payloads", "memory", "summaries", "left_out"}),
        ("user_memory", ImportedMemory, set()),
        ("item", ImportedItem, set()),
        ("memory", ImportedMemory, set()),
        ("summary", ImportedSummary, set()),
        ("payload", ImportedPayload, set()),
        ("message", ImportedMessage, set()),
        ("run", AgentHistoryEntry, {"user_id", "steps", "events"}),
        ("step", RunStep, set()),
        ("event", RunEvent, {"trace_id"}),
    ]

    lines = [json.loads(line) async for line in filled.export_user("ada")]

    assert described.pop("voltagent") == VoltAgentRow.model_fields.keys()  # tables that are not there
    for kind, model, of_other_lines in models:
        assert described[kind] == model.model_fields.keys() - of_other_lines, kind
    assert list(described) == list(dict.fromkeys(line["kind"] for line in lines))
    for line in lines:
        assert line.keys() - {"kind", "exact"} <= described[line["kind"]]


async def test_export_user_that_is_left_gives_its_connection_back(
    filled: PostgresStorage, make_storage: MakeStorage
) -> None:
    """export_user() releases its connection after a break, a close, an error or a cancellation."""
    storage = make_storage(max_connections=1, command_timeout=20)

    async def read(stop: Callable[[], object]) -> None:
        async for each in storage.export_user("ada"):
            if "message" in each:
                stop()

    async for _ in storage.export_user("ada"):
        break
    assert await storage.count_conversations(user_id="ada") == 2
    async with aclosing(storage.export_user("ada")) as lines:  # type: ignore[type-var]
        assert "header" in await anext(lines)
    assert await storage.count_conversations(user_id="ada") == 2
    with pytest.raises(ZeroDivisionError):
        await read(lambda: 1 / 0)
    assert await storage.count_conversations(user_id="ada") == 2
    reading = asyncio.create_task(read(lambda: reading.cancel()))
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await storage.count_conversations(user_id="ada") == 2


async def test_export_user_reads_some_rows_at_a_time(proxy: Proxy, make_storage: MakeStorage) -> None:
    """export_user() reads only a part of a long conversation before it yields its first lines."""
    storage = make_storage(proxy.dsn, storage_limit=None)
    messages = [{"id": f"m{number}", "role": "user", "content": "words"} for number in range(3000)]
    await storage.add_messages(messages, "ada", "c1", resource_id="docs")
    before = proxy.round_trips

    lines = storage.export_user("ada")
    for _ in range(150):
        await anext(lines)
    part = proxy.round_trips - before
    rest = [each async for each in lines]

    assert len(rest) == 3000 + 3 - 150
    assert 2 * part < proxy.round_trips - before


async def test_export_user_in_a_transaction_sees_what_that_sees(filled: PostgresStorage) -> None:
    """export_user() in a transaction sees its writes, and the transaction continues afterwards."""
    async with filled.transaction() as tx:
        await tx.delete_conversation("c1")
        lines = await exported(tx)
        result = await tx.import_user("ada", [header(), *conversation("c1", "new"), END])

    assert '"id":"c1"' not in "".join(lines)
    assert result.messages == 1
    assert [message.text for message in await filled.get_messages("ada", "c1")] == ["new"]
