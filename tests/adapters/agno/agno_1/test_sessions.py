"""Agno 1's sessions: continued in other processes, and read back equal."""

from __future__ import annotations

import asyncio
import json
import re
from ast import literal_eval
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.adapters.agno.agno_1.sessions import ASK, PREFIX, WITH_ALL, MakeStore, agent, run, session, stored_runs
from tests.adapters.agno.both import JSON
from tests.adapters.agno.fakes import FakeModel
from tests.checkout import ROOT
from tests.programs import python
from tests.properties import examples
from voltmem import ANY_USER, PostgresStorage
from voltmem.adapters.agno import VoltMemStorage
from voltmem.errors import InvalidInputError

SEED = ROOT.parent / "shared" / "seeds" / "agno-storage.txt"


# --- A1, A2, A3, A4: the seed ----------------------------------------------------------------------------------------


async def test_a_second_process_continues_what_the_first_began(dsn: str, schema: str) -> None:
    """A1: the second process passes the first process's messages to its model, in order, as history."""
    program = ASK.format(root=str(ROOT))

    await python("-W", "error", "-c", program, dsn, schema, "How do I make pad thai?")
    printed = await python("-W", "error", "-c", program, dsn, schema, "What was my last message?")

    assert literal_eval(printed) == [
        ("user", "How do I make pad thai?", True),
        ("assistant", "seen=1 last=How do I make pad thai?", True),
        ("user", "What was my last message?", False),
    ]


def test_a_new_session_starts_without_history(store: VoltMemStorage) -> None:
    """A2: without a session id there is a second session, whose model receives nothing of the first."""
    agent(store).run("old")
    model = FakeModel()

    new = agent(store, model, session_id=None)
    new.run("new")

    assert model.history() == []
    assert store.get_all_session_ids("ada") == [new.session_id, "s1"]
    assert store.get_all_session_ids("eve") == []


def test_the_first_id_is_the_session_that_was_used_last(store: VoltMemStorage) -> None:
    """A3: a write to the older session puts it first; Agno's own storage puts the newest session first."""
    for session_id in ("s1", "s2", "s1"):
        agent(store, session_id=session_id).run("hello")

    assert store.get_all_session_ids("ada") == ["s1", "s2"]


def test_sessions_of_one_moment_have_an_order(store: VoltMemStorage, dsn: str, schema: str) -> None:
    """A3: sessions with equal times are ordered by id."""
    for session_id in ("b", "c", "a"):
        store.upsert(session([], session_id=session_id))

    async def at_one_moment() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(f'UPDATE "{schema}".{PREFIX}_conversations SET updated_at = now()')
        await connection.close()

    asyncio.run(at_one_moment())

    assert store.get_all_session_ids("ada") == ["c", "b", "a"]


# A model that calls the tool for the chat history when it is asked for it.
REMEMBER = """
def remember(messages):
    last = messages[-1]
    if last.role == "tool":
        return {"content": "HISTORY " + last.content}
    if last.role == "user" and "last message" in last.content:
        return {"tool": ("get_chat_history", {})}
    return {"content": "Fry the noodles."}
"""

PROGRAM = """
import typer
from agno.agent import Agent
from tests.adapters.agno.fakes import FakeModel
from voltmem.adapters.agno import VoltMemStorage

storage = VoltMemStorage("cooks", {schema!r}, {dsn!r})
{remember}
def cook(new: bool = False, user: str = "user"):
    sessions = [] if new else storage.get_all_session_ids(user)
    agent = Agent(
        session_id=sessions[0] if sessions else None,
        user_id=user,
        model=FakeModel(script=remember),
        storage=storage,
        read_chat_history=True,
        show_tool_calls=True,
        telemetry=False,
    )
    print("Continuing Session" if sessions else "Started Session", agent.session_id)
    agent.cli_app(markdown=True)

if __name__ == "__main__":
    typer.run(cook)
"""


def own_program(dsn: str, schema: str) -> str:
    """Return a program like the one on Agno's page about storage."""
    return PROGRAM.format(dsn=dsn, schema=schema, remember=REMEMBER)


def printed_program(dsn: str, schema: str) -> str:
    """Return the page's own program with another storage, database and model, and without a PDF."""
    script = "import typer\n" + SEED.read_text().partition("import typer\n")[2].partition("\n3\n\nRun the agent")[0]
    replaced = {
        "from agno.storage.postgres import PostgresStorage": (
            "from voltmem.adapters.agno import VoltMemStorage as PostgresStorage"
        ),
        "from agno.knowledge.pdf_url import PDFUrlKnowledgeBase": "from tests.adapters.agno.fakes import FakeModel",
        "from agno.vectordb.pgvector import PgVector, SearchType": "",
        'db_url = "postgresql+psycopg://ai:ai@localhost:5532/ai"': (
            f"db_url = {dsn.replace('postgresql://', 'postgresql+psycopg://')!r}"
        ),
        'table_name="pdf_agent", db_url=db_url': f'table_name="pdf_agent", db_url=db_url, schema={schema!r}',
        "knowledge=knowledge_base,": "model=model, telemetry=False,",
        "    knowledge_base.load(upsert=True)": "    model = FakeModel(script=remember)",
    }
    for old, new in replaced.items():
        assert old in script
        script = script.replace(old, new)
    script = re.sub(r"knowledge_base = PDFUrl.*?\n\)\n", REMEMBER, script, flags=re.DOTALL)
    return script


@pytest.mark.parametrize("program", [own_program, *([printed_program] if SEED.exists() else [])])
async def test_a_restarted_program_continues_its_last_session(
    program: Callable[[str, str], str], tmp_path: Path, dsn: str, schema: str
) -> None:
    """A4: after "bye" and a restart, the agent knows the last message; with --new it doesn't."""
    file = tmp_path / "agent_with_storage.py"
    file.write_text(program(dsn, schema))

    first = await python(file, stdin="How do I make pad thai?\nbye\n")
    second = await python(file, stdin="What was my last message?\nbye\n")
    third = await python(file, "--new", stdin="What was my last message?\nbye\n")

    assert "Started Session" in first
    assert "Continuing Session" in second
    assert "How do I make pad thai?" in second.partition("HISTORY")[2]
    assert "pad thai" not in third


# --- A12, A13: what is stored ----------------------------------------------------------------------------------------

FULL = {
    "session_data": {
        "session_name": "Leeks",
        "session_state": {"list": [1, {"b": None, "a": 1.5}], "z": "ü", "a": 10**20},
        "session_metrics": {"input_tokens": 3},
        "images": [{"id": "i", "url": "https://example.org/i.png"}],
    },
    "extra_data": {"tenant": 7},
    "agent_data": {"agent_id": "helper", "model": {"id": "fake", "provider": "Fake"}},
    "team_session_id": None,
    "workflow_session_id": "w",
}


def test_a_session_comes_back_equal(store: VoltMemStorage) -> None:
    """A12: names, state, metrics, tool calls, images and citations: equal JSON with the same key order."""
    given = session([run(1), WITH_ALL], **FULL)

    store.upsert(given)
    found: Any = store.read("s1")

    times = {"created_at": 0, "updated_at": 0}
    assert json.dumps(found.to_dict() | times) == json.dumps(given.to_dict() | times)


@pytest.mark.hypothesis
def test_any_state_and_any_message_come_back_equal(make_store: MakeStore) -> None:
    """A12, B6: any JSON, with NUL, lone surrogates, big numbers and unusual keys."""
    store = make_store()

    @examples(40)
    @given(state=st.dictionaries(st.text(), JSON, max_size=3), text=st.text(st.characters()), more=JSON)
    def check(state: dict[str, Any], text: str, more: Any) -> None:
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": "ok", "provider_data": more}]
        session_id = str(uuid4())
        given = session(
            [run(1, messages=messages, extra_data=more)], session_id=session_id, session_data={"session_state": state}
        )
        store.upsert(given)
        found: Any = store.read(session_id)
        assert found.session_data == given.session_data
        assert found.memory == given.memory

    check()


@pytest.mark.parametrize(
    "text", ["nul \x00 byte", "lone \ud800 surrogate", "x" * 10_000_000], ids=["nul", "lone", "10 MB"]
)
def test_no_text_is_lost(store: VoltMemStorage, text: str) -> None:
    """B6: any text is stored; Agno's own storage drops such a session with a warning."""
    agent(store).run(text)

    (kept,) = stored_runs(store)
    assert kept["messages"][0]["content"] == text


def test_a_value_that_is_not_json_raises_and_nothing_is_stored(store: VoltMemStorage) -> None:
    """B3, B6: run() raises an error for a value that is not JSON."""
    with pytest.raises(InvalidInputError, match=r"session_data\.session_state\.socket"):
        agent(store, session_state={"socket": object()}).run("hello")

    assert store.read("s1") is None


def test_values_are_converted_to_json(store: VoltMemStorage) -> None:
    """B6: tuples become lists, keys become strings, dates become ISO 8601 text."""
    at = import_module("datetime").datetime(2025, 5, 1)

    store.upsert(session([], session_data={"session_state": {1: (1, 2), "at": at, "set": {3}}}))

    found: Any = store.read("s1")
    assert found.session_data["session_state"] == {"1": [1, 2], "at": "2025-05-01T00:00:00", "set": [3]}


async def test_a_session_name_is_the_conversations_title(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """A13: renaming in Agno sets the conversation's title; a title set elsewhere becomes the session's name."""
    helper = agent(store)
    helper.run("hello")
    helper.rename_session("Named by Agno")

    assert (await plain.get_conversations_by_user_id("ada"))[0].title == "Named by Agno"
    await plain.update_conversation("s1", title="Named by Ada")
    agent(store, session_name="Named by Agno").run("again")

    assert (await plain.get_conversations_by_user_id("ada"))[0].title == "Named by Ada"
    assert agent_name(store) == "Named by Ada"


def agent_name(store: VoltMemStorage) -> str:
    found: Any = store.read("s1")
    return str(found.session_data["session_name"])


async def test_deleting_a_session_deletes_its_messages(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """A13: all its messages are deleted, and an unknown id is ignored."""
    agent(store).run("hello")

    agent(store).delete_session("s1")
    store.delete_session("unknown")
    store.delete_session(None)

    assert store.read("s1") is None
    assert await plain.get_messages(ANY_USER, "s1") == []


def test_a_deleted_session_can_be_stored_again(store: VoltMemStorage) -> None:
    """A13: all its runs are stored again, although this object has stored them before; after drop(), too."""
    store.upsert(session([run(1), run(2)]))
    store.delete_session("s1")
    store.upsert(session([run(1), run(2)]))
    assert len(stored_runs(store)) == 2

    store.drop()
    store.upsert(session([run(1), run(2)]))
    assert len(stored_runs(store)) == 2
