"""Notebooks of Pydantic AI's harness on voltmem. store_suite.py runs the harness's own contract tests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tests.conftest import MakeStorage
from tests.proxy import Proxy
from voltmem import InvalidInputError, MemoryRefusedError, PostgresStorage
from voltmem.adapters.pydantic_ai_harness import VoltMemMemoryStore

harness: Any = import_module("pydantic_ai_harness.memory")


@dataclass
class SignedIn:
    user_id: str


def agent(storage: PostgresStorage, *answers: ModelResponse, seen: list[str]) -> Agent[SignedIn, str]:
    """Return an agent whose model answers by a script, and records its requests."""
    left = list(answers)

    def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        seen.append(str(messages))
        return left.pop(0)

    memory = harness.Memory(
        store_resolver=lambda ctx: VoltMemMemoryStore(storage, ctx.deps.user_id),
        write_metadata={"updated_by": "agent"},
        injection_errors="raise",
    )
    return Agent(FunctionModel(answer), deps_type=SignedIn, capabilities=[memory])


def said(text: str) -> ModelResponse:
    return ModelResponse([TextPart(text)])


async def test_an_agent_finds_what_it_wrote_for_its_user(storage: PostgresStorage) -> None:
    """What a run writes, the next run of the same user is shown, and a run of another user is not."""
    seen: list[str] = []
    write = ModelResponse([ToolCallPart("write_memory", {"content": "likes green tea"}, tool_call_id="k1")])
    answers = (write, said("Noted."), said("Tea."), said("Hello."))
    of_all = agent(storage, *answers, seen=seen)

    await of_all.run("I like green tea.", deps=SignedIn("ada"))
    await of_all.run("What do I drink?", deps=SignedIn("ada"))
    await of_all.run("Hello", deps=SignedIn("bob"))

    assert ["likes green tea" in each for each in seen[2:]] == [True, False]
    [path] = await VoltMemMemoryStore(storage, "ada").list_paths(limit=10)
    found: Any = await VoltMemMemoryStore(storage, "ada").read(path, max_chars=100)
    assert (path, found.content.strip(), found.metadata) == (
        "main/MEMORY.md",
        "likes green tea",
        {"updated_by": "agent"},
    )
    assert await VoltMemMemoryStore(storage, "bob").list_paths(limit=10) == []


async def test_concurrent_writes_conflict(storage: PostgresStorage) -> None:
    """Of writes at once with the same version, one is stored, and the others are the harness's conflicts."""
    store = VoltMemMemoryStore(storage, "ada")
    version = (await store.write("a", "one", expected_version=None)).version

    done = await asyncio.gather(
        *(store.write("a", str(number), expected_version=version) for number in range(5)), return_exceptions=True
    )

    assert sum(isinstance(each, harness.MemoryConflictError) for each in done) == 4
    with pytest.raises(harness.MemoryOperationConflictError, match="'o1'"):
        for content in ("x", "y"):
            operation = harness.MemoryOperation(id="o1", fingerprint=content)
            await store.write("b", content, expected_version=None, operation=operation)


async def test_the_store_has_all_protocols_of_the_harness(storage: PostgresStorage) -> None:
    """It records metadata, which the next write replaces, and searches."""
    store: Any = VoltMemMemoryStore(storage, "ada")
    for protocol in (harness.MemoryStore, harness.MetadataMemoryStore, harness.SearchableMemoryStore):
        assert isinstance(store, protocol)

    first = await store.write_with_metadata("a", "x", expected_version=None, metadata={"by": "ada"})
    assert (await store.read("a", max_chars=9)).metadata == {"by": "ada"}
    await store.write("a", "y", expected_version=first.version)
    assert (await store.read("a", max_chars=9)).metadata is None


async def test_what_cannot_be_stored_is_an_error_before_anything_is_sent(
    proxy: Proxy, make_storage: MakeStorage
) -> None:
    """NUL, a wrong path, too much, and wrong metadata are ValueErrors, as of the harness's own stores."""
    storage = make_storage(proxy.dsn)
    await storage.list_conversations("ada")  # connects
    before, store = proxy.round_trips, VoltMemMemoryStore(storage, "ada")
    for path, content, metadata in (
        ("a", "\0", None),
        ("a", "\ud800", None),
        ("a", "x" * 1_000_001, None),
        ("../a", "x", None),
        ("/".join(["a" * 200] * 9), "x", None),
        ("a", "x", {"by": 1}),
        ("a", "x", {"by": "\0"}),
        ("a", "x", {"by": "x" * 5_000}),
    ):
        with pytest.raises(InvalidInputError):
            await store.write_with_metadata(path, content, expected_version=None, metadata=metadata)  # type: ignore[arg-type]
    for wrong in ("", "a//b", "a b", None):
        with pytest.raises(ValueError, match="memory path"):
            await store.read(wrong, max_chars=1)  # type: ignore[arg-type]
    assert proxy.round_trips == before


async def test_a_run_stores_nothing_of_a_user_who_was_deleted_meanwhile(storage: PostgresStorage) -> None:
    """A store from before the deletion is refused; one that is made afterwards begins anew."""
    store = VoltMemMemoryStore(storage, "ada")
    await store.write("a", "x", expected_version=None)
    await storage.delete_user("ada")

    with pytest.raises(MemoryRefusedError):
        await store.write("a", "y", expected_version=None)
    assert await store.read("a", max_chars=1) is None
    await VoltMemMemoryStore(storage, "ada").write("a", "z", expected_version=None)
