"""Agno 1 together with other code that reads and writes the conversations."""

from __future__ import annotations

import asyncio
import os
import sys
from copy import deepcopy
from importlib import import_module
from typing import Any

import pytest

from tests.adapters.agno.agno_1.sessions import MakeStore, add, agent
from tests.adapters.agno.both import EXPECTED_HISTORY, PLAIN_MESSAGES
from tests.adapters.agno.fakes import FakeModel, echo
from tests.programs import python
from voltmem import NativeMemory, PostgresStorage
from voltmem.adapters.agno import VoltMemStorage
from voltmem.errors import MissingExtraError


async def test_a_conversation_begun_elsewhere_is_continued(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """Plain messages with a tool call, stored by another framework or the application, are the agent's history."""
    await plain.create_conversation({"id": "s1", "user_id": "ada"})
    await plain.add_messages(PLAIN_MESSAGES, "ada", "s1")
    model = FakeModel()

    agent(store, model).run("and now?")

    assert model.history() == EXPECTED_HISTORY
    await asyncio.to_thread(agent(store, model).run, "once more")
    assert [content for _, content in model.history()][-2:] == ["and now?", "seen=3 last=and now?"]
    assert len(await plain.get_messages("ada", "s1")) == 8 + 4


@pytest.mark.parametrize("limit", range(1, 10))
async def test_any_window_is_valid(store: VoltMemStorage, plain: PostgresStorage, limit: int) -> None:
    """voltmem's own methods never return a tool call of the agent's without its result."""
    for text in ("hello", 'TOOL:add {"a": 1, "b": 2}', "thanks"):
        agent(store, tools=[add]).run(text)

    window = await plain.conversation("ada", "s1").messages(limit=limit)

    assert len(window) <= limit
    types = [each.type for each in window if each.type != "text"]
    assert types in ([], ["tool-call", "tool-result"])


@pytest.mark.parametrize("limit", range(1, 9))
async def test_a_storage_limit_leaves_what_is_kept(make_store: MakeStore, plain: PostgresStorage, limit: int) -> None:
    """A run whose first messages are beyond the limit is shown from where it is kept, as in memory.messages()."""
    store = make_store(storage_limit=limit)
    for text in ("hello", 'TOOL:add {"a": 1, "b": 2}', "thanks"):
        await asyncio.to_thread(agent(store, tools=[add]).run, text)
    window = await plain.conversation("ada", "s1").messages()
    model = FakeModel()

    await asyncio.to_thread(agent(store, model).run, "and now?")

    assert [role for role, _ in model.history()] == [each.role for each in window]


@pytest.mark.parametrize("place", [0, 1])
async def test_a_message_changed_elsewhere_is_read_and_kept(
    store: VoltMemStorage, plain: PostgresStorage, place: int
) -> None:
    """An edited question or answer is shown to the agent's model, and its next runs leave it as it is."""
    agent(store).run("hello")
    given = await plain.get_messages("ada", "s1")
    edited = {"id": given[place].id, "role": given[place].role, "parts": [{"type": "text", "text": "edited"}]}
    await plain.add_message(edited, "ada", "s1")
    stored = await NativeMemory(plain, "ada", "s1").newest_messages()
    model = FakeModel()

    for _ in range(2):
        await asyncio.to_thread(agent(store, model).run, "and now?")
        assert model.history()[:2] == [(each.role, each.text) for each in stored]

    assert stored[place].text == "edited"
    assert (await NativeMemory(plain, "ada", "s1").newest_messages())[:2] == stored


async def test_a_question_answered_again_elsewhere_is_shown(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """After another answer to the last question the model is shown the question with this answer."""
    for text in ("one", "two"):
        agent(store).run(text)
    question = (await plain.get_messages("ada", "s1"))[2]
    await plain.branch_conversation("s1", question.id)
    await plain.add_message({"role": "assistant", "content": "again"}, "ada", "s1")
    model = FakeModel()

    await asyncio.to_thread(agent(store, model).run, "and now?")

    expected = [("user", "one"), ("assistant", "seen=1 last=one"), ("user", "two"), ("assistant", "again")]
    assert model.history() == expected


async def test_a_tools_result_deleted_elsewhere_takes_its_call(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """Of a run that lacks a tool's result the model is shown all but the call, which it would refuse."""
    question = 'TOOL:add {"a": 1, "b": 2}'
    agent(store, tools=[add]).run(question)
    (result,) = await plain.get_messages("ada", "s1", types=["tool-result"])

    await plain.delete_messages([result.id], "ada", "s1")

    model = FakeModel()
    await asyncio.to_thread(agent(store, model).run, "and now?")
    assert model.history() == [("user", question), ("assistant", "tool said: 3")]


async def test_cleared_messages_stay_cleared(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """An agent that read the messages before, and saves its session afterwards, does not store them again."""

    def clear_meanwhile(messages: Any) -> dict[str, Any]:
        asyncio.run_coroutine_threadsafe(plain.clear_messages("ada", "s1"), loop).result(10)
        return echo(messages)

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(agent(store).run, "old")
    await asyncio.to_thread(agent(store, FakeModel(script=clear_meanwhile)).run, "new")

    assert [each.text for each in await plain.get_messages("ada", "s1")] == ["new", "seen=2 last=new"]


def test_a_store_works_after_close(store: VoltMemStorage) -> None:
    """close() closes the connections, and the next call opens them again."""
    agent(store).run("hello")
    store.close()
    store.close()

    assert store.get_all_session_ids("ada") == ["s1"]
    assert deepcopy(store) is store


FORK = """
import os, sys
from agno.storage.session.agent import AgentSession
from voltmem.adapters.agno import VoltMemStorage

storage = VoltMemStorage("agents", sys.argv[2], sys.argv[1])
storage.upsert(AgentSession(session_id="s1", user_id="ada"))
child = os.fork()
if not child:
    storage.upsert(AgentSession(session_id="s2", user_id="ada"))
    sys.exit()
os.waitpid(child, 0)
print(storage.get_all_session_ids("ada"))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
async def test_a_program_and_its_fork_exit_without_close(dsn: str, schema: str) -> None:
    """Without close(), parent and child exit by themselves, and both have stored their session."""
    printed = await asyncio.wait_for(python("-W", "error", "-c", FORK, dsn, schema), 60)

    assert printed == "['s2', 's1']\n"


def test_without_agno_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the adapter without Agno raises an error that names the extra."""
    for name in [name for name in sys.modules if name.startswith("voltmem.adapters.agno")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "agno", None)

    with pytest.raises(MissingExtraError, match=r"'\.\[agno\]'"):
        import_module("voltmem.adapters.agno")
