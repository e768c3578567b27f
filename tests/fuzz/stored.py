"""Rows that some program may have written into the tables, and everything that reads them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import asyncpg
import httpx2
from hypothesis import strategies as st

from tests.across.columns import WRITERS
from tests.across.said import CONVERSATIONS
from tests.conftest import Connection
from tests.fuzz.shapes import as_text, bare, changed, deep, for_jsonb, names, one_of, shapes, texts, words
from tests.values import metadatas
from voltmem import PostgresStorage, VoltMemError, list_payloads
from voltmem._agents.native import NativeMemory
from voltmem._tables import Tables
from voltmem.adapters.agno import VoltMemDb
from voltmem.adapters.langchain import VoltMemChatMessageHistory
from voltmem.adapters.openai_agents import VoltMemSession
from voltmem.adapters.pydantic_ai import VoltMemConversationStore, load_history
from voltmem.parts import parts, system_prompt, to_anthropic, to_openai, to_responses, to_ui_messages
from voltmem.parts._forms import FORMS

FORMATS: Final = ("agno", "openai-agents", "pydantic-ai", "langchain", "aui/v0", "ai-sdk/v7", "ai-sdk/v6", "mine",
    "voltmem.import", *(form.format for form in FORMS))  # fmt: skip
ROLES: Final = ("user", "assistant", "system", "tool", "developer", "model", "function", "", "x")


@dataclass(frozen=True)
class Sample:
    """What a program really stored of a message, or of a conversation."""

    role: str
    type: str
    content: str
    content_json: Any
    format: str | None
    payload: Any


async def samples(
    storage: PostgresStorage, connection: Connection, count: int | None
) -> tuple[list[Sample], list[tuple[str, Any]]]:
    """Let each form and framework store *count* conversations. Returns what was stored: messages, and payloads."""
    tables = storage._options.tables
    messages: list[Sample] = []
    payloads: list[tuple[str, Any]] = []
    for name, write in WRITERS.items():
        if name.startswith("VoltAgent"):  # it changes the tables
            continue
        for conversation in [*CONVERSATIONS.values()][:count]:
            await storage.delete_conversation("c1")
            await storage.create_conversation({"id": "c1", "user_id": "ada"})
            with suppress(Exception):  # several cannot say every conversation; those that can are enough
                await write(storage, conversation)
            for row in await connection.fetch(f"""
                SELECT role, type, content, content_json::text, format, payload::text FROM {tables.messages}
                WHERE conversation_id = 'c1'"""):
                role, type, content, content_json, format, payload = row
                given = [None if each is None else json.loads(each) for each in (content_json, payload)]
                messages.append(Sample(role, type or "text", content or "", given[0], format, given[1]))
            found = await connection.fetch(f"SELECT format, payload::text FROM {tables.payloads}")
            payloads += [(row[0], json.loads(row[1])) for row in found]
    await storage.delete_user("ada")
    return messages, payloads


# --- rows ---------------------------------------------------------------------------------------------------------

json_texts: Final = shapes.map(as_text) | deep
maybe: Final = st.none() | json_texts
jsonb_texts: Final = json_texts.map(for_jsonb)
maybe_jsonb: Final = st.none() | jsonb_texts


def messages(known: list[Sample]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for rows of messages."""
    columns = {
        "role": st.sampled_from(ROLES) | names.map(bare),
        "type": st.sampled_from(["text", "tool-call", "tool-result"]) | words,
        "content": texts.map(bare) | json_texts.map(bare),
        "content_json": maybe,
        "metadata": st.none() | metadatas.map(as_text).map(for_jsonb) | jsonb_texts,
        "parts": st.none() | st.none() | st.lists(shapes, max_size=4).map(as_text).map(for_jsonb) | jsonb_texts,
        "format": st.none() | st.sampled_from(FORMATS) | names.map(bare),
        "payload": maybe,
        "parent_id": st.none() | st.none() | st.sampled_from(["m0", "m1", "m2", "", "x"]),
        "aside": st.sampled_from([False, False, False, True]),
        "archived": st.sampled_from([False, False, False, True]),
    }
    random = st.fixed_dictionaries(columns)

    @st.composite
    def of_a_sample(draw: st.DrawFn) -> dict[str, Any]:
        sample = draw(one_of(known))
        row = {"role": sample.role, "type": sample.type, "content": sample.content, "format": sample.format}
        for name, value in (("content_json", sample.content_json), ("payload", sample.payload)):
            if value is not None:
                row[name] = as_text(draw(changed(value)))
        other = draw(st.sampled_from([(), (), ("role",), ("format",), ("metadata",), ("parent_id",)]))
        return row | {name: draw(columns[name]) for name in other}

    return st.one_of(random, *[of_a_sample()] * 3) if known else random


def rows(known: list[Sample], payloads: list[tuple[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for the rows of a conversation: its own, messages, payloads, a run."""
    random = st.tuples(st.sampled_from(FORMATS), json_texts)
    real = one_of(payloads or [("mine", None)]).flatmap(
        lambda each: st.tuples(st.just(each[0]), changed(each[1]).map(as_text))
    )
    return st.fixed_dictionaries({
        "title": st.none() | texts.map(bare),
        "metadata": maybe_jsonb,
        "tags": st.lists(texts.map(bare), max_size=2),
        "messages": st.lists(messages(known), min_size=1, max_size=4),
        "payloads": st.lists(random | real if payloads else random, max_size=2, unique_by=lambda each: each[0]),
        "revision": st.none() | st.just("r1"),
        "run": st.lists(maybe_jsonb, min_size=5, max_size=5),
        "step": jsonb_texts,
        "step_exact": maybe_jsonb,
        "event": st.lists(maybe_jsonb, min_size=6, max_size=6),
    })  # fmt: skip


async def write(connection: Connection, tables: Tables, row: dict[str, Any]) -> bool:
    """Replace all rows by these. Returns False if the schema does not permit them."""
    try:
        async with connection.transaction():
            await connection.execute(
                f"DELETE FROM {tables.conversations}; DELETE FROM {tables.agent_history}; DELETE FROM {tables.files}"
            )
            await connection.execute(
                f"INSERT INTO {tables.conversations} (id, user_id, resource_id, title, metadata, tags) "
                "VALUES ('c1', 'ada', 'r', $1, $2::text::jsonb, $3)",
                *(row["title"], row["metadata"], row["tags"]),
            )
            for number, message in enumerate(row["messages"]):
                given = {"conversation_id": "c1", "message_id": f"m{number}", **message}
                values = [
                    f"${place}::text::{_TYPES[name]}" if name in _TYPES else f"${place}"
                    for place, name in enumerate(given, 1)
                ]
                await connection.execute(
                    f"INSERT INTO {tables.messages} ({', '.join(given)}) VALUES ({', '.join(values)})", *given.values()
                )
            for format, payload in row["payloads"]:
                await connection.execute(
                    f"INSERT INTO {tables.payloads} (conversation_id, format, payload, revision) "
                    "VALUES ('c1', $1, $2::text::json, $3)",
                    *(format, payload, row["revision"]),
                )
            await _write_run(connection, tables, row)
    except (asyncpg.DataError, asyncpg.ProgramLimitExceededError):
        return False
    return True


_TYPES: Final = {"content_json": "json", "metadata": "jsonb", "parts": "jsonb", "payload": "json"}


async def _write_run(connection: Connection, tables: Tables, row: dict[str, Any]) -> None:
    given = [f"${number}::text::jsonb" for number in range(1, 7)]
    await connection.execute(
        f"INSERT INTO {tables.agent_history} (id, agent_id, userid, conversationid, input, output, usage, metadata, "
        f"exact) VALUES ('h1', 'a1', 'ada', 'c1', {', '.join(given[:5])})",
        *row["run"],
    )
    await connection.execute(
        f"INSERT INTO {tables.agent_history_steps} (key, history_id, agent_id, value, exact) "
        f"VALUES ('s1', 'h1', 'a1', {', '.join(given[:2])})",
        *(row["step"], row["step_exact"]),
    )
    await connection.execute(
        f"INSERT INTO {tables.agent_history_timeline_events} (id, history_id, agent_id, event_type, event_name, "
        f"start_time, tags, input, output, error, metadata, exact) "
        f"VALUES ('e1', 'h1', 'a1', 't', 'n', now(), {', '.join(given)})",
        *row["event"],
    )


# --- readers ------------------------------------------------------------------------------------------------------


async def _all(found: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in found]


async def _models(storage: PostgresStorage) -> None:
    memory = storage.conversation("ada", "c1")
    for limit, turns in ((None, None), (2, None), (None, 1)):
        found = await memory.messages(limit=limit, turns=turns)
        for message in found:
            _ = message.text, parts(message), message.model_dump(by_alias=True)
        whole = await memory.with_files(found)
        for convert in (to_openai, to_responses, to_anthropic, to_ui_messages, system_prompt):
            json.dumps(convert(whole))
    await memory.exchanges()


async def _native(storage: PostgresStorage) -> None:
    memory = NativeMemory.of(storage.conversation("ada", "c1"))
    for each in [*await memory.newest_messages(), *(m for m, _ in await memory.messages_of_all_branches(10))]:
        parts(each)
    for format in FORMATS:
        await memory.payload(format)
    await list_payloads(storage, list(FORMATS), user_id="ada")


async def _transfer(storage: PostgresStorage) -> None:
    lines = await _all(storage.export_user("ada"))
    result = await storage.import_user("eve", lines)
    assert result.conversations == 1, result
    again = await _all(storage.export_user("eve"))
    assert len(again) == len(lines)
    await storage.delete_user("eve")


async def _shared(storage: PostgresStorage) -> None:
    share = await storage.share_conversation("c1")
    await storage.get_shared_conversation(share.token)


async def _pydantic_ai_store(storage: PostgresStorage) -> None:
    await VoltMemConversationStore(storage, user_id="ada").load("c1")


async def _agno(storage: PostgresStorage) -> None:
    from agno.db.base import SessionType

    db = VoltMemDb(storage, user_id="ada")
    for kind in SessionType:
        await db.get_session("c1", kind)
        await db.get_sessions(kind)


READERS: Final[dict[str, Callable[[PostgresStorage], Awaitable[object]]]] = {
    "get_conversation": lambda s: s.get_conversation("c1"),
    "get_conversations": lambda s: s.get_conversations("r"),
    "query_conversations": lambda s: s.query_conversations(order_by="title"),
    "list_conversations": lambda s: s.list_conversations("ada"),
    "get_conversation_item": lambda s: s.get_conversation_item("c1"),
    "get_messages": lambda s: s.get_messages("ada", "c1", include_archived=True),
    "get_conversation_messages": lambda s: s.get_conversation_messages("c1"),
    "get_message": lambda s: s.get_message("ada", "c1", "m0"),
    "count_messages": lambda s: s.count_messages("ada", "c1", roles=["user"], types=["text"]),
    "search": lambda s: s.search("ada", "type text"),
    "index and search": lambda s: _indexed(s),
    "list_branches": lambda s: s.list_branches("c1"),
    "list_siblings": lambda s: s.list_siblings("c1", "m0"),
    "list_history_entries": lambda s: s.list_history_entries(user_id="ada"),
    "get_history_entry": lambda s: s.get_history_entry("h1"),
    "get_history_step": lambda s: s.get_history_step("s1"),
    "get_all_history_entries_by_agent": lambda s: s.get_all_history_entries_by_agent("a1"),
    "models": _models,
    "native": _native,
    "export and import": _transfer,
    "shared": _shared,
    "fork": lambda s: s.fork_conversation("c1"),
    "VoltMemSession": lambda s: VoltMemSession("c1", s, user_id="ada").get_items(),
    "VoltMemChatMessageHistory": lambda s: VoltMemChatMessageHistory(s, "ada", "c1").aget_messages(),
    "load_history": lambda s: load_history(s.conversation("ada", "c1")),
    "VoltMemConversationStore": _pydantic_ai_store,
    "VoltMemDb": _agno,
}


async def _indexed(storage: PostgresStorage) -> None:
    await storage.index_messages()
    await storage.search("ada", "text")


GETS: Final = (
    *("/conversations", "/conversations/c1", "/conversations/c1/messages", "/conversations/c1/ui-messages"),
    *(f"/conversations/c1/history?format={format}" for format in ("ai-sdk/v6", "aui/v0", "langchain", "mine")),
    *("/conversations/c1/branches", "/conversations/c1/messages/m0", "/conversations/c1/messages/m0/siblings"),
    *("/conversations/c1/count", "/threads", "/threads/c1", "/search?q=text", "/export", "/deleted"),
)


async def _get(client: httpx2.AsyncClient, path: str, _: PostgresStorage) -> None:
    answer = await client.get(path)
    assert answer.status_code < 500, (answer.status_code, answer.text)
    if "json" in answer.headers.get("content-type", "") and "ndjson" not in answer.headers["content-type"]:
        answer.json()


def readers(client: httpx2.AsyncClient) -> Iterator[tuple[str, Callable[[PostgresStorage], Awaitable[object]]]]:
    """Yield everything that reads a conversation, by name."""
    yield from READERS.items()
    for path in GETS:
        yield f"GET {path}", partial(_get, client, path)


async def read(storage: PostgresStorage, client: httpx2.AsyncClient) -> dict[str, BaseException]:
    """Read what is stored in every way. Returns the exceptions that are not voltmem's own, by reader."""
    failed: dict[str, BaseException] = {}
    for name, reader in readers(client):
        try:
            await reader(storage)
        except VoltMemError:
            pass
        except Exception as error:
            failed[name] = error
    return failed
