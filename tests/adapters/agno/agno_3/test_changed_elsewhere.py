"""Runs of Agno 3 whose messages somebody else has changed, deleted or answered again: what Agno's model is shown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import quote

import pytest
from agno.db.base import SessionType
from agno.exceptions import RunNotContinuableError
from agno.session import AgentSession
from agno.tools import tool

from tests.across.writers import client
from tests.adapters.agno.agno_3.sessions import add, agent
from tests.adapters.agno.fakes import FakeModel
from tests.conftest import MakeStorage
from voltmem import NativeMemory, PostgresStorage
from voltmem.adapters.agno import VoltMemDb

Line = list[tuple[str, Any]]

BY: Final = ("ui-messages", "history", "add_message")
FIRST: Final[Line] = [("user", "one"), ("assistant", "seen=1 last=one")]
SECOND: Final[Line] = [("user", "two"), ("assistant", "seen=2 last=two")]


@pytest.fixture
async def asked(db: VoltMemDb) -> None:
    """Let an agent answer twice."""
    for text in ("one", "two"):
        await agent(db, session_id="c1").arun(text)


async def go_on(storage: PostgresStorage) -> Line:
    """Return what the model of an agent in a new process is shown of the conversation."""
    model = FakeModel()
    await agent(VoltMemDb(storage), model, session_id="c1", num_history_runs=20).arun("and now?")
    return model.history()


async def shown_as_history(storage: PostgresStorage) -> list[Line]:
    """Return the messages of each run that Agno would show to a model."""
    session = await VoltMemDb(storage).get_session("c1", SessionType.AGENT, "ada", runs_limit=20)
    assert isinstance(session, AgentSession)
    return [[(each.role, each.content) for each in run.messages or []] for run in session.runs or []]


async def line(storage: PostgresStorage) -> Line:
    return [(each.role, each.text) for each in await storage.get_messages("ada", "c1")]


async def change(storage: PostgresStorage, by: str, place: int, text: str) -> None:
    """Change the text of one message, by the front end or by the application."""
    async with client(storage) as http:
        shown = (await http.get("/ui-messages")).json()
        message = shown[place] | {"parts": [{"type": "text", "text": text}]}
        id, role = message["id"], message["role"]
        if by == "ui-messages":
            shown[place] = message
            assert (await http.post("/ui-messages", json={"messages": shown})).status_code == 200
        elif by == "history":
            content = {"role": role, "parts": message["parts"]}
            entry = {"parent_id": shown[place - 1]["id"] if place else None, "format": "ai-sdk/v6", "content": content}
            assert (await http.put(f"/history/{quote(id, safe='')}", json=entry)).status_code == 200
        else:
            await storage.add_message({"id": id, "role": role, "content": text}, "ada", "c1")


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("by", BY)
async def test_a_message_changed_elsewhere_is_read_and_kept(plain: PostgresStorage, by: str, place: int) -> None:
    """An edited question or answer is shown to Agno's model in its place, and Agno's next runs leave it as it is."""
    await change(plain, by, place, "edited")
    memory = NativeMemory(plain, "ada", "c1")
    stored = await memory.newest_messages()
    expected = [*FIRST, *SECOND]
    expected[place] = (expected[place][0], "edited")

    assert await go_on(plain) == expected
    assert (await go_on(plain))[:4] == expected

    assert (await memory.newest_messages())[:4] == stored
    assert stored[place].text == "edited"
    assert [each.format == "agno/message" for each in stored].count(True) == 2 - place % 2


async def again_by_rewind(storage: PostgresStorage) -> None:
    async with client(storage) as http:
        shown = (await http.get("/ui-messages")).json()
        answer = {"id": "again", "role": "assistant", "parts": [{"type": "text", "text": "again"}]}
        body = {"messages": [*shown[:3], answer], "rewind": True}
        assert (await http.post("/ui-messages", json=body)).status_code == 200


async def again_by_history(storage: PostgresStorage) -> None:
    async with client(storage) as http:
        question = (await http.get("/ui-messages")).json()[2]["id"]
        content = {"role": "assistant", "parts": [{"type": "text", "text": "again"}]}
        entry = {"parent_id": question, "format": "ai-sdk/v6", "content": content}
        assert (await http.put("/history/again", json=entry)).status_code == 200


async def again_by_branch(storage: PostgresStorage) -> None:
    await storage.branch_conversation("c1", (await storage.get_messages("ada", "c1"))[2].id)
    await storage.add_message({"role": "assistant", "content": "again"}, "ada", "c1")


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("answer", [again_by_rewind, again_by_history, again_by_branch])
async def test_a_question_answered_again_elsewhere_is_shown(plain: PostgresStorage, answer: Any) -> None:
    """After "answer again" the model is shown the question of Agno's run with the other answer."""
    await answer(plain)

    assert await line(plain) == [*FIRST, ("user", "two"), ("assistant", "again")]
    assert await go_on(plain) == [*FIRST, ("user", "two"), ("assistant", "again")]


def fail(messages: Any) -> dict[str, Any]:
    raise RuntimeError("the model is not there")


async def start(storage: PostgresStorage, text: str) -> None:
    """Store a question as keep_input() does, in a process that ends before its run."""
    context = SimpleNamespace(session_id="c1", user_id="ada", run_id="run-2")
    await VoltMemDb(storage).keep_input(SimpleNamespace(input_content=text), context)


async def ask_in_vain(storage: PostgresStorage, text: str) -> None:
    await agent(VoltMemDb(storage), FakeModel(script=fail), session_id="c1").arun(text)


@pytest.mark.parametrize("ask", [ask_in_vain, start])
async def test_a_failed_question_answered_elsewhere_is_shown(plain: PostgresStorage, ask: Any) -> None:
    """A question whose run failed or never ended is shown once somebody else has answered it, and not before."""
    await agent(VoltMemDb(plain), session_id="c1").arun("one")
    await ask(plain, "two")
    answer = {"id": "again", "role": "assistant", "content": "again"}

    (before,) = await shown_as_history(plain)
    await plain.add_message(answer, "ada", "c1")
    first, second = await shown_as_history(plain)

    assert before == first == FIRST
    assert second == [("user", "two"), ("assistant", "again")]
    assert await go_on(plain) == [*FIRST, ("user", "two"), ("assistant", "again")]


async def test_a_failed_question_asked_again_is_not_shown(db: VoltMemDb, plain: PostgresStorage) -> None:
    """A question whose run failed stays hidden if the user has asked again, wherever the answer comes from."""
    await ask_in_vain(plain, "two")
    await plain.add_messages(
        [{"role": "user", "content": "two again"}, {"role": "assistant", "content": "again"}], "ada", "c1"
    )
    await ask_in_vain(plain, "three")
    await agent(db, session_id="c1").arun("four")

    expected = [("user", "two again"), ("assistant", "again"), ("user", "four"), ("assistant", "seen=2 last=four")]
    assert await go_on(plain) == expected


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("deleted", [[0], [1], [2], [3], [0, 3], [1, 2]])
async def test_what_is_left_of_runs_is_shown_in_order(plain: PostgresStorage, deleted: list[int]) -> None:
    """After messages of runs were deleted, the model is shown the others, as memory.messages() gives them."""
    await agent(VoltMemDb(plain), session_id="c1").arun("three")
    before = await plain.get_messages("ada", "c1")
    # The last question is deleted, too: what is left of the first and the last run are not one turn.
    left = [each for place, each in enumerate(before) if place not in [*deleted, 4]]

    await plain.delete_messages([each.id for each in before if each not in left], "ada", "c1")

    expected = [(each.role, each.text) for each in left]
    assert [(each.role, each.text) for each in await plain.conversation("ada", "c1").messages()] == expected
    assert await go_on(plain) == expected


async def test_a_tools_result_deleted_elsewhere_takes_its_call(db: VoltMemDb, plain: PostgresStorage) -> None:
    """Of a run that lacks a tool's result the model is shown all but the call, which it would refuse."""
    question = 'TOOL:add {"a": 1, "b": 2}'
    await agent(db, session_id="c1", tools=[add]).arun(question)
    (result,) = await plain.get_messages("ada", "c1", types=["tool-result"])

    await plain.delete_messages([result.id], "ada", "c1")

    assert await go_on(plain) == [("user", question), ("assistant", "tool said: 3")]


@pytest.mark.parametrize("limit", range(1, 10))
async def test_a_storage_limit_leaves_what_is_kept(make_storage: MakeStorage, limit: int) -> None:
    """A run whose first messages are beyond the limit is shown from where it is kept, as in memory.messages()."""
    storage = make_storage(storage_limit=limit)
    for text in ("hello", 'TOOL:add {"a": 1, "b": 2}', "thanks"):
        await agent(VoltMemDb(storage), tools=[add], session_id="c1").arun(text)
    window = await storage.conversation("ada", "c1").messages()

    shown = await go_on(storage)

    assert [role for role, _ in shown] == [each.role for each in window]
    assert [content for role, content in shown if role == "user"] == [m.text for m in window if m.role == "user"]
    assert len(shown) == (3 if limit == 4 else min(limit, 8))  # 4: a result without its call


async def edit_by_add_message(storage: PostgresStorage) -> None:
    first = (await storage.get_messages("ada", "c1"))[0]
    await storage.add_message({"id": first.id, "role": "user", "content": "edited"}, "ada", "c1")


async def edit_by_ui_messages(storage: PostgresStorage) -> None:
    await change(storage, "ui-messages", 0, "edited")


async def delete_the_call(storage: PostgresStorage) -> None:
    await storage.delete_messages([(await storage.get_messages("ada", "c1"))[1].id], "ada", "c1")


@pytest.mark.parametrize("change_it", [edit_by_add_message, edit_by_ui_messages, delete_the_call])
async def test_a_paused_run_changed_elsewhere_is_a_cancelled_one(
    db: VoltMemDb, plain: PostgresStorage, caplog: pytest.LogCaptureFixture, change_it: Any
) -> None:
    """Agno says that it cannot continue it, a warning says why, and what was changed stays as it is."""

    @tool(requires_confirmation=True)
    def remove(name: str) -> str:
        """Remove a file."""
        return f"removed {name}"

    paused = await agent(db, tools=[remove], session_id="c1").arun('TOOL:remove {"name": "a"}')
    requirements: Any = paused.requirements
    for each in requirements:
        each.confirm()
    await change_it(plain)
    before = await NativeMemory(plain, "ada", "c1").newest_messages()
    other = VoltMemDb(plain)

    with pytest.raises(RunNotContinuableError, match="run is cancelled"):
        await agent(other, tools=[remove], session_id="c1").acontinue_run(
            run_id=paused.run_id, requirements=requirements, session_id="c1", user_id="ada"
        )

    assert f"run {paused.run_id} waited for somebody and cannot be continued" in caplog.text
    await agent(other, session_id="c1").arun("and now?")
    assert (await NativeMemory(plain, "ada", "c1").newest_messages())[: len(before)] == before
