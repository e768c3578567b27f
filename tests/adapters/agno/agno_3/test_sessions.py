"""Agno 3's sessions: continued in other processes, and read back equal."""

from __future__ import annotations

import asyncio
import json
from ast import literal_eval
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from agno.db.base import SessionType
from agno.session import AgentSession
from hypothesis import given
from hypothesis import strategies as st

from tests.adapters.agno.agno_3.sessions import ASK, WITH_ALL, agent, listed, run, session, stored_runs
from tests.adapters.agno.both import JSON
from tests.adapters.agno.fakes import FakeModel
from tests.adapters.begun import begin_earlier
from tests.conftest import MakeStorage
from tests.programs import python
from tests.properties import examples
from voltmem import ANY_USER, ConversationNotFoundError, PostgresStorage
from voltmem.adapters.agno import VoltMemDb, VoltMemStorage
from voltmem.errors import InvalidOptionError

# --- A16: A1, A2, A3 -------------------------------------------------------------------------------------------------


async def test_a_second_process_continues_what_the_first_began(dsn: str, schema: str) -> None:
    """A1: the second process passes the first process's messages to its model, in order, as history."""
    await python("-W", "error", "-c", ASK, dsn, schema, "How do I make pad thai?")
    printed = await python("-W", "error", "-c", ASK, dsn, schema, "What was my last message?")

    assert literal_eval(printed) == [
        ("user", "How do I make pad thai?", True),
        ("assistant", "seen=1 last=How do I make pad thai?", True),
        ("user", "What was my last message?", False),
    ]


async def test_a_new_session_starts_without_history(db: VoltMemDb) -> None:
    """A2, A3: a second session has no history of the first; lists have the user's sessions, the last used first."""
    await agent(db).arun("old")
    model = FakeModel()
    await agent(db, model, session_id="s2").arun("new")

    assert model.history() == []
    assert [each.session_id for each in await listed(db, user_id="ada")] == ["s2", "s1"]
    await agent(db).arun("again")
    assert [each.session_id for each in await listed(db, user_id="ada")] == ["s1", "s2"]
    assert await listed(db, user_id="eve") == []
    await db.upsert_session(session([], session_id="s2"))
    assert [each.session_id for each in await listed(db, user_id="ada")] == ["s2", "s1"]


async def test_every_way_to_give_the_database(
    dsn: str, schema: str, plain: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A5: a storage, a pool, an SQLAlchemy URL, the environment; it closes only storages that it created."""
    await agent(VoltMemDb(plain)).arun("hello")
    pool = await asyncpg.create_pool(dsn, min_size=0, max_size=2)
    with_pool = PostgresStorage(pool=pool, schema=schema)
    assert len(await listed(VoltMemDb(with_pool), user_id="ada")) == 1
    await with_pool.close()
    await pool.close()
    url = dsn.replace("postgresql://", "postgresql+psycopg://")
    monkeypatch.setenv("VOLTMEM_DATABASE_URL", url)
    for db in (VoltMemDb(url), VoltMemDb()):
        assert await db.storage.schema_status() != []
        assert db.storage._options.storage_limit is None
        await db.close()
        with pytest.raises(RuntimeError, match="closed"):
            await db.get_sessions()
    await VoltMemDb(plain).close()
    assert await plain.get_conversation("s1") is not None


async def test_first_uses_at_once_all_succeed(make_storage: MakeStorage) -> None:
    """A5: eight first calls on an empty schema at the same time all succeed."""
    dbs = [VoltMemDb(make_storage()) for _ in range(8)]

    await asyncio.gather(*(agent(each, session_id=str(number)).arun("hi") for number, each in enumerate(dbs)))

    assert len(await listed(dbs[0], user_id="ada")) == 8
    assert [each.last_error for each in dbs] == [None] * 8


def test_a_class_for_another_agno_raises() -> None:
    """VoltMemStorage can be imported, and its error names the class to use instead."""
    with pytest.raises(InvalidOptionError, match=r"VoltMemStorage is for Agno 1, and Agno 2 or later.*use VoltMemDb"):
        VoltMemStorage("agents")


async def test_unsupported_methods_raise(db: VoltMemDb) -> None:
    """Methods for memories, knowledge and evaluations raise NotImplementedError, which says what to use."""
    for name in ("get_user_memories", "upsert_knowledge_content", "create_eval_run", "get_traces", "get_run"):
        with pytest.raises(NotImplementedError, match=f"{name}.*a database of Agno's own"):
            await getattr(db, name)()
    assert await db.table_exists("agno_sessions")
    assert await db.get_latest_schema_version("agno_sessions") == "3.0.0"
    await db.upsert_schema_version("agno_sessions", "3.0.0")


# --- A12, A13 --------------------------------------------------------------------------------------------------------

FULL: dict[str, Any] = {
    "session_data": {
        "session_name": "Leeks",
        "session_state": {"list": [1, {"b": None, "a": 1.5}], "z": "ü", "a": 10**20},
        "session_metrics": {"input_tokens": 3},
        "images": [{"id": "i", "url": "https://example.org/i.png"}],
    },
    "metadata": {"tenant": 7},
    "agent_data": {"agent_id": "helper", "model": {"id": "fake", "provider": "Fake"}},
    "summary": {"summary": "Leeks.", "topics": ["leeks"]},
    "workflow_id": "w",
}


async def test_a_session_comes_back_equal(db: VoltMemDb, plain: PostgresStorage) -> None:
    """A12: names, state, metadata, summary, metrics, tool calls, images, citations: equal JSON, same key order."""
    given = session([run(1), WITH_ALL], **FULL)

    await db.upsert_session(given)
    found: Any = await VoltMemDb(plain).get_session("s1", SessionType.AGENT, "ada")

    times: dict[str, Any] = {"updated_at": 0}
    stored, loaded = given.to_dict() | times, found.to_dict() | times
    for each in (*stored["runs"], *loaded["runs"]):  # Agno adds and drops empty values
        for key in [key for key, value in each.items() if value in ([], None)]:
            del each[key]
    assert json.dumps(loaded) == json.dumps(stored)


@pytest.mark.hypothesis
async def test_any_state_and_any_message_come_back_equal(dsn: str, schema: str) -> None:
    """A12, B6: any JSON, with NUL, lone surrogates, big numbers and unusual keys."""

    @examples(40)
    @given(state=st.dictionaries(st.text(), JSON, max_size=3), text=st.text(st.characters()), more=JSON)
    def check(state: dict[str, Any], text: str, more: Any) -> None:
        messages = [
            {"id": "1", "role": "user", "content": text},
            {"id": "2", "role": "assistant", "provider_data": more},
        ]
        given = run(1, messages=messages, metadata=more, session_id=(session_id := str(uuid4())))
        document = AgentSession(session_id=session_id, user_id="ada", session_data={"session_state": state}, runs=[])

        async def round_trip() -> Any:
            async with PostgresStorage(dsn, schema=schema) as storage:
                db = VoltMemDb(storage)
                await db.upsert_session(document)
                await db.upsert_run(given, session_id)
                return await db.get_session(session_id, user_id="ada", deserialize=False)

        found = loop.run_until_complete(round_trip())
        assert found["session_data"] == document.session_data
        assert found["runs"] == [given]

    loop = asyncio.new_event_loop()
    try:
        await asyncio.to_thread(check)
    finally:
        loop.close()


@pytest.mark.parametrize(
    "text", ["nul \x00 byte", "lone \ud800 surrogate", "x" * 10_000_000], ids=["nul", "lone", "10 MB"]
)
async def test_no_text_is_lost(db: VoltMemDb, text: str) -> None:
    """B6: a user's text is stored, whatever characters it has."""
    await agent(db).arun(text)

    (kept,) = await stored_runs(db)
    assert kept["messages"][0]["content"] == text


async def test_a_session_name_is_the_conversations_title(db: VoltMemDb, plain: PostgresStorage) -> None:
    """A13: renaming in Agno sets the conversation's title; a title set elsewhere becomes the session's name."""
    await agent(db).arun("hello")
    await agent(db.for_user("ada")).aset_session_name(session_id="s1", session_name="Named by Agno")
    assert [each.title for each in await plain.get_conversations_by_user_id("ada")] == ["Named by Agno"]

    await plain.update_conversation("s1", title="Named by Ada")
    await agent(db).arun("again")

    assert [each.title for each in await plain.get_conversations_by_user_id("ada")] == ["Named by Ada"]
    (found,) = await listed(db, user_id="ada", session_name="named by ada")
    assert found.session_data["session_name"] == "Named by Ada"
    again = session([], session_data={"session_name": "Named by Ada"})
    await db.upsert_session(again)
    await plain.update_conversation("s1", title="Named by Ada, later")
    await db.upsert_session(again)
    assert [each.title for each in await plain.get_conversations_by_user_id("ada")] == ["Named by Ada, later"]
    renamed: Any = await db.rename_session("s1", SessionType.AGENT, "By the database", user_id="ada")
    assert renamed.session_data["session_name"] == "By the database"
    assert await db.rename_session("s1", None, "Hers", user_id="eve") is None
    assert await db.rename_session("unknown", None, "Nobody's") is None


async def test_deleting_a_session_deletes_its_messages(db: VoltMemDb, plain: PostgresStorage) -> None:
    """A13: all its messages are deleted; for an unknown id and another user's session the result is False."""
    for session_id in ("s1", "s2", "s3"):
        await agent(db, session_id=session_id).arun("hello")

    assert await db.delete_session("s1", user_id="eve") is False
    assert await db.delete_session("unknown") is False
    await db.upsert_run(run(1), "s1")
    await agent(db).adelete_session("s1", user_id="ada")
    assert await plain.get_messages(ANY_USER, "s1") == []
    await db.upsert_run(run(1), "s1")
    assert len(await stored_runs(db)) == 1
    await db.delete_session("s1", user_id="ada")
    await db.delete_sessions(["s2", "unknown", "s3"], user_id="ada")
    assert await listed(db, user_id="ada") == []


@pytest.mark.parametrize("deletion", ["delete_conversation", "delete_user", "delete_session"])
async def test_a_run_does_not_create_a_deleted_session_again(
    db: VoltMemDb, plain: PostgresStorage, deletion: str
) -> None:
    """If the session is deleted for good during a run, the run's end stores nothing; the next run begins anew."""
    deleting = True

    async def forget() -> str:
        """Forget everything."""
        if deleting and deletion == "delete_session":
            await db.delete_session("s1", user_id="ada")
        elif deleting:
            await (plain.delete_user("ada") if deletion == "delete_user" else plain.delete_conversation("s1"))
        return "done"

    await agent(db, tools=[forget], pre_hooks=[db.keep_input]).arun("TOOL:forget {}")
    assert await plain.count_conversations() == 0
    assert await db.get_session("s1", user_id="ada") is None  # another run begins
    await db.upsert_run(run(1), "s1")
    await agent(db, tools=[forget], pre_hooks=[db.keep_input]).arun("TOOL:forget {}")
    assert await plain.count_conversations() == 0

    deleting = False
    await agent(db, tools=[forget], pre_hooks=[db.keep_input]).arun("TOOL:forget {}")
    assert len(await stored_runs(db)) == 1


@pytest.mark.parametrize("deleted", ["ada", "eve"])
async def test_a_first_run_does_not_create_the_session_of_a_deleted_user(
    db: VoltMemDb, plain: PostgresStorage, deleted: str
) -> None:
    """The end of a first run stores nothing of a user who was deleted meanwhile; the user's next run is stored."""
    await plain.delete_user("ada")  # before the run: it does not count

    async def forget() -> str:
        """Forget everything."""
        if deleted == "ada":
            begin_earlier(db._sessions._looks)
        await plain.delete_user(deleted)
        return "done"

    await agent(db, tools=[forget]).arun("TOOL:forget {}")
    assert await plain.count_conversations() == (0 if deleted == "ada" else 1)

    await agent(db).arun("hello")
    assert len(await stored_runs(db)) == (1 if deleted == "ada" else 2)


@pytest.mark.parametrize("begun", [True, False])
async def test_a_session_that_was_read_is_not_created_again(db: VoltMemDb, plain: PostgresStorage, begun: bool) -> None:
    """A session that Agno has read and that is deleted for good is not stored by the run that has read it."""
    await plain.create_conversation({"id": "s1", "user_id": "ada"})
    if begun:
        await agent(db).arun("hello")
    await db.get_session("s1", user_id="ada")
    await plain.delete_conversation("s1")

    with pytest.raises(ConversationNotFoundError):
        await db.upsert_session(session([run(7)]))
    with pytest.raises(ConversationNotFoundError):
        await db.upsert_run(run(7), "s1")

    assert await db.get_session("s1", user_id="ada") is None  # whoever reads it now begins anew
    await db.upsert_session(session([run(7)]))
    assert len(await stored_runs(db)) == 1


async def test_streams_store_the_same(db: VoltMemDb, plain: PostgresStorage) -> None:
    """A15: streamed and other runs store equal messages."""
    await agent(db, session_id="async").arun("hello")
    async for _ in agent(db, session_id="stream").arun("hello", stream=True):
        pass

    for session_id in ("async", "stream"):
        stored = [(each.role, each.type, each.content) for each in await plain.get_messages("ada", session_id)]
        assert stored == [("user", "text", "hello"), ("assistant", "text", "seen=1 last=hello")], session_id
