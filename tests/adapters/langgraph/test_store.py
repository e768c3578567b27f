"""LangGraph's store on voltmem, as nodes and tools use it. store_suite.py runs LangGraph's own tests of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.store.base import GetOp, InvalidNamespaceError, ListNamespacesOp, MatchCondition, PutOp, SearchOp

from tests.adapters.langchain.scripted import scripted, user_input
from tests.conftest import MakeStorage
from tests.proxy import Proxy
from voltmem import EventLoopError, InvalidInputError, MemoryRefusedError, PostgresStorage, sync
from voltmem.adapters.langgraph import VoltMemStore


@dataclass
class SignedIn:
    user_id: str


@tool
async def note(text: str, runtime: ToolRuntime[Any, Any]) -> str:
    """Write a note down."""
    assert runtime.store is not None
    await runtime.store.aput(("notes",), text, {"text": text})
    return str([item.key for item in await runtime.store.asearch(("notes",))])


@tool
def note_blocking(text: str, runtime: ToolRuntime[Any, Any]) -> str:
    """Write a note down."""
    assert runtime.store is not None
    runtime.store.put(("notes",), text, {"text": text})
    return str([item.key for item in runtime.store.search(("notes",))])


def calling(name: str, text: str) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": {"text": text}, "id": "k1"}])


@pytest.fixture
def blocking(storage: PostgresStorage, dsn: str, schema: str) -> Iterator[sync.PostgresStorage]:
    with sync.PostgresStorage(dsn, schema=schema) as made:
        yield made


async def test_an_agent_reaches_the_memories_of_its_runs_user_only(storage: PostgresStorage) -> None:
    """Runs at once of two users, whose tools write into the same namespace, find each user's own."""
    store = VoltMemStore(storage)

    async def run(user_id: str) -> str:
        model = scripted(calling("note", f"{user_id} likes tea"), "Noted.")
        agent: Any = create_agent(model, [note], store=store, context_schema=SignedIn)
        state = await agent.ainvoke(user_input("Hello"), context=SignedIn(user_id))
        return str(state["messages"][-2].text)

    assert list(await asyncio.gather(run("ada"), run("bob"))) == ["['ada likes tea']", "['bob likes tea']"]
    found = await VoltMemStore(storage, "ada").asearch((), query="tea")
    assert [(item.namespace, item.key) for item in found] == [(("notes",), "ada likes tea")]


async def test_the_blocking_storage_serves_both(blocking: sync.PostgresStorage, storage: PostgresStorage) -> None:
    """invoke() uses the store of a blocking storage, by its context too; the asynchronous one says what to do."""
    model = scripted(calling("note_blocking", "likes tea"), "Noted.")
    agent: Any = create_agent(model, [note_blocking], store=VoltMemStore(blocking), context_schema=SignedIn)

    await asyncio.to_thread(agent.invoke, user_input("Hello"), context=SignedIn("ada"))

    for of_ada in (VoltMemStore(blocking, "ada"), VoltMemStore(storage, "ada")):
        found = await of_ada.aget(("notes",), "likes tea")
        assert found is not None
        assert found.value == {"text": "likes tea"}
    with pytest.raises(EventLoopError, match="asynchronous"):
        await asyncio.to_thread(VoltMemStore(storage, "ada").get, ("notes",), "likes tea")


@pytest.mark.parametrize("context", [None, SignedIn("")])
async def test_a_run_without_a_user_is_refused(storage: PostgresStorage, context: SignedIn | None) -> None:
    """Without a user the store is nobody's: an error, in a run and outside of one."""
    agent: Any = create_agent(scripted(calling("note", "tea")), [note], store=VoltMemStore(storage))

    with pytest.raises(InvalidInputError, match="user_id"):
        await agent.ainvoke(user_input("Hello"), context=context)
    with pytest.raises(InvalidInputError, match="user_id"):
        await VoltMemStore(storage).aget(("notes",), "k")


async def test_search_takes_nested_filters_and_the_indexed_members(storage: PostgresStorage) -> None:
    """A filter may name members of members; only the words of index= are found, and those of no item with False."""
    store = VoltMemStore(storage, "ada")
    await store.aput(("n",), "a", {"likes": "green tea", "of": {"age": 3}}, index=["likes"])
    await store.aput(("n",), "b", {"likes": "coffee", "hates": "tea", "of": {"age": 5}}, index=["likes"])
    await store.aput(("n",), "c", {"likes": "tea"}, index=False)

    async def keys(**options: Any) -> list[str]:
        return [item.key for item in await store.asearch(("n",), **options) if "query" not in options or item.score]

    assert await keys(query="tea") == ["a"]
    assert await keys(filter={"of": {"age": {"$gt": 3}}}) == ["b"]
    assert await keys(filter={"of": {"age": {"$gt": 2, "$lt": 5}}, "likes": {"$ne": "coffee"}}) == ["a"]


async def test_a_batch_stores_nothing_if_one_operation_is_wrong(proxy: Proxy, make_storage: MakeStorage) -> None:
    """Each wrong operation is an error before anything is sent; a namespace is LangGraph's own error, too."""
    storage = make_storage(proxy.dsn)
    store = VoltMemStore(storage, "ada")
    wrong: list[Any] = [
        GetOp(("a.b",), "k"),
        PutOp((), "k", {}),
        PutOp(("a",), "k\0", {}),
        PutOp(("a",), "k", {"t": "\0"}),
        PutOp(("a",), "k", {"t": "x" * 1_000_001}),
        PutOp(("a",), "k", {"t": object()}),
        PutOp(("a",), "k", {}, index="t"),  # type: ignore[arg-type]
        PutOp(("a",), "k", {}, ttl=-1),
        SearchOp(("a",), filter={"t": {"$in": [1]}}),
        SearchOp(("a",), limit=-1),
        SearchOp(("a",), query="\0"),
        ListNamespacesOp((MatchCondition("middle", ("a",)),)),  # type: ignore[arg-type]
        ListNamespacesOp(max_depth=0),
        "an operation",
    ]
    await storage.list_conversations("ada")  # connects
    before = proxy.round_trips

    for each in wrong:
        with pytest.raises(InvalidInputError):
            await store.abatch([PutOp(("good",), "k", {}), each])
    with pytest.raises(InvalidNamespaceError):
        await store.abatch(wrong[:1])
    assert proxy.round_trips == before
    assert await store.alist_namespaces() == []


async def test_a_batch_is_one_round_trip_for_its_gets_and_one_for_its_puts(
    proxy: Proxy, make_storage: MakeStorage
) -> None:
    """Gets see what was there before the batch. Reading an item with a ttl is one more, unless it is told not to."""
    store = VoltMemStore(make_storage(proxy.dsn, max_connections=1), "ada")
    counted: dict[str, int] = {}
    for number in range(2):  # the first calls prepare the statements
        await store.abatch([PutOp(("a",), "1", {"n": number}), PutOp(("a",), "kept", {}, ttl=10)])
        batches: dict[str, list[Any]] = {
            "batch": [PutOp(("a",), "1", {"n": "new"}), GetOp(("a",), "1"), GetOp(("b",), "1"), PutOp(("c",), "1", {})],
            "kept": [GetOp(("a",), "kept")],
            "as it is": [GetOp(("a",), "kept", refresh_ttl=False)],
            "search": [SearchOp(("c",), query="tea")],
        }
        for name, ops in batches.items():
            before = proxy.round_trips
            done = await store.abatch(ops)
            counted[name] = proxy.round_trips - before
            if name == "batch":
                assert [getattr(each, "value", None) for each in done] == [None, {"n": number}, None, None]

    assert counted == {"batch": 2, "kept": 2, "as it is": 1, "search": 1}


async def test_a_store_writes_nothing_of_a_user_who_was_deleted_since(storage: PostgresStorage) -> None:
    """A store that was made before the deletion is refused; one that is made afterwards is not."""
    store = VoltMemStore(storage, "ada")
    await store.aput(("a",), "k", {"n": 1})
    await storage.delete_user("ada")

    with pytest.raises(MemoryRefusedError):
        await store.aput(("a",), "k", {"n": 2})
    assert await store.aget(("a",), "k") is None
    await VoltMemStore(storage, "ada").aput(("a",), "k", {"n": 3})
