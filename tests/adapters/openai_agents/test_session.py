"""A session of the OpenAI Agents SDK on voltmem: items, users, runs, concurrency and limits."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

import pytest
from agents import Agent, RunContextWrapper, Runner, Session, SessionSettings, TResponseInputItem, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call
from hypothesis import example, given
from hypothesis import strategies as st

from tests.adapters.begun import begin_earlier
from tests.adapters.openai_agents.runs import (
    CONFIG,
    a_turn,
    agent,
    answer,
    assistant,
    call,
    items,
    reasoning,
    user,
    without_id,
)
from tests.conftest import MakeStorage
from tests.programs import python
from tests.properties import examples
from voltmem import ANY_USER, ConversationNotFoundError, InvalidInputError, InvalidQueryError, PostgresStorage
from voltmem._agents.native import NativeMemory
from voltmem.adapters.openai_agents import VoltMemSession, to_messages
from voltmem.errors import MissingExtraError

# --- the SDK's session protocol --------------------------------------------------------------------------------------


def test_it_is_a_session_of_the_sdk(storage: PostgresStorage) -> None:
    """It implements the SDK's protocol, for type checkers and at run time."""
    session: Session = VoltMemSession("c1", storage, user_id="ada")

    assert isinstance(session, Session)


async def test_items_come_back_in_their_order(session: VoltMemSession) -> None:
    """Items added in several calls are returned as one list, the oldest first."""
    await session.add_items(a_turn(1))
    await session.add_items([])
    await session.add_items(a_turn(2))

    assert await session.get_items() == [*a_turn(1), *a_turn(2)]


async def test_an_empty_session_makes_no_conversation(session: VoltMemSession, storage: PostgresStorage) -> None:
    """Reading, popping and adding no items creates no conversation."""
    await session.add_items([])

    assert await session.get_items() == []
    assert await session.pop_item() is None
    assert await storage.count_conversations() == 0


async def test_the_conversation_is_made_with_the_resource(storage: PostgresStorage) -> None:
    """The first write creates the user's conversation with the session's resource_id."""
    await VoltMemSession("c1", storage, user_id="ada", resource_id="guide").add_items(a_turn(1))

    (made,) = await storage.query_conversations(user_id="ada", resource_id="guide")
    assert made.id == "c1"


async def test_the_newest_items_come_within_the_limit(session: VoltMemSession) -> None:
    """With a limit, exactly that many items are returned: the runner compares them with what it has added."""
    await session.add_items(a_turn(1))

    for limit in range(6):
        assert await session.get_items(limit) == (a_turn(1)[-limit:] if limit else [])
    with pytest.raises(InvalidQueryError):
        await session.get_items(-1)


async def test_session_settings_limit_what_the_model_gets(storage: PostgresStorage) -> None:
    """Without a limit, or with that of the settings, as in a run, items that providers refuse are left out."""
    session = VoltMemSession("c1", storage, user_id="ada", session_settings={"limit": 2})
    await session.add_items(a_turn(1))

    assert session.session_settings == SessionSettings(limit=2)
    assert await session.get_items() == await session.get_items(2) == a_turn(1)[-1:]
    assert await session.get_items(3) == a_turn(1)[-3:]
    session.session_settings = None
    assert await session.get_items() == a_turn(1)


def test_unknown_settings_are_refused(storage: PostgresStorage) -> None:
    """A setting that the SDK does not know raises the SDK's error."""
    with pytest.raises(Exception, match="limitt"):
        VoltMemSession("c1", storage, user_id="ada", session_settings={"limitt": 1})


async def test_the_newest_item_is_popped(session: VoltMemSession) -> None:
    """Each pop returns and removes the last item."""
    await session.add_items(a_turn(1))

    assert [await session.pop_item() for _ in range(5)] == [*reversed(a_turn(1)), None]
    assert await session.get_items() == []


async def test_a_cleared_session_is_empty(session: VoltMemSession, storage: PostgresStorage) -> None:
    """The items are deleted, and the conversation stays."""
    await session.add_items(a_turn(1))

    await session.clear_session()

    assert await session.get_items() == []
    assert await storage.get_conversation("c1") is not None


async def test_items_are_deleted_by_their_ids(session: VoltMemSession, storage: PostgresStorage) -> None:
    """item_ids() returns the message ids of the newest items, with which they can be deleted."""
    await session.add_items(a_turn(1))

    ids = await session.item_ids(2)

    assert await storage.delete_messages(ids, "ada", "c1") == 2
    assert await session.get_items() == a_turn(1)[:2]
    assert len(await session.item_ids()) == 2


async def test_the_same_item_may_be_there_twice(session: VoltMemSession) -> None:
    """An item that is added again with its id is another item, because the SDK appends."""
    twice = items(assistant("Hello", id="msg_1"), assistant("Hello", id="msg_1"))

    await session.add_items(twice)

    assert await session.get_items(2) == twice
    assert len(await session.get_items()) == 2


# --- bit for bit -----------------------------------------------------------------------------------------------------

texts = st.text(st.characters(categories=["L", "N", "Z", "C"]), max_size=8) | st.sampled_from(["\x00", "\ud83d", "{}"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(texts, values, max_size=3),
    max_leaves=6,
)
kinds = st.sampled_from(
    ["message", "function_call", "function_call_output", "reasoning", "custom_tool_call", "tool_search_output"]
)
any_items = st.builds(
    lambda known, others: {**known, **others},
    st.fixed_dictionaries(
        {},
        optional={
            "type": kinds | json_values,
            "role": st.sampled_from(["user", "assistant", "tool"]) | json_values,
            "call_id": texts | json_values,
            "name": texts | json_values,
            "arguments": json_values.map(json.dumps) | st.sampled_from(['{"n":1e999}', "{", "NaN"]) | json_values,
            "content": json_values | st.lists(st.dictionaries(st.sampled_from(["type", "text", "refusal"]), texts)),
            "summary": json_values,
            "output": json_values,
        },
    ),
    st.dictionaries(texts, json_values, max_size=3),
)

TRICKY: Final = [
    {"type": "\x00", "role": "user", "content": "Hello"},
    {"type": "function_call", "call_id": "k1", "name": "f", "arguments": '{"n": 1e999}'},
    {"type": "function_call", "call_id": "\ud83d", "name": "\x00", "arguments": "[" * 300 + "]" * 300},
]


@given(st.lists(any_items, max_size=4))
@example(TRICKY)
@examples(60)
async def test_any_item_comes_back_bit_for_bit(session: VoltMemSession, given: list[dict[str, object]]) -> None:
    """Any JSON item is returned and popped equal, with its types and the order of its keys."""
    await session.add_items(items(*given))

    found = await session.get_items(len(given))
    popped = [await session.pop_item() for _ in given]

    assert json.dumps(found) == json.dumps(given)
    assert json.dumps(popped[::-1]) == json.dumps(given)


@pytest.mark.parametrize("item", ["text", None, {"content": (1, 2)}, {"content": float("nan")}, {1: "a number"}])
async def test_an_invalid_item_is_refused(session: VoltMemSession, item: object) -> None:
    """An item that is not a dict or not JSON raises, and no item of the call is stored."""
    with pytest.raises(InvalidInputError):
        await session.add_items([*items(user("Hello")), cast(TResponseInputItem, item)])

    assert await session.get_items() == []


# --- deleted while a run is under way --------------------------------------------------------------------------------


@pytest.mark.parametrize("deletion", ["delete_conversation", "delete_user"])
async def test_a_run_does_not_create_a_deleted_conversation_again(storage: PostgresStorage, deletion: str) -> None:
    """If a tool, or somebody meanwhile, deletes the conversation for good, the run fails and stores nothing."""

    @function_tool
    async def forget() -> str:
        """Forget everything."""
        await (storage.delete_user("ada") if deletion == "delete_user" else storage.delete_conversation("c1"))
        return "done"

    model = ScriptedModel([[function_call("forget", {}, call_id="k1")], [assistant_message("Forgotten.")]])
    forgetful = Agent[Any](name="guide", model=model, tools=[forget])

    with pytest.raises(ConversationNotFoundError):
        await Runner.run(
            forgetful, "Forget me", session=VoltMemSession("c1", storage, user_id="ada"), run_config=CONFIG
        )

    assert await storage.count_conversations() == 0


async def test_a_first_run_does_not_create_the_conversation_of_a_deleted_user(storage: PostgresStorage) -> None:
    """A session that has read nothing stores nothing of a user who was deleted since; another session does."""
    session = VoltMemSession[Any]("c1", storage, user_id="ada")
    assert await session.get_items() == []
    begin_earlier(session._memory(None))
    await storage.delete_user("ada")

    with pytest.raises(ConversationNotFoundError, match="was deleted while this run was under way"):
        await Runner.run(agent(ScriptedModel([[assistant_message("Hi")]])), "Hi", session=session, run_config=CONFIG)
    assert await storage.count_conversations() == 0

    await VoltMemSession("c1", storage, user_id="ada").add_items(a_turn(1))
    assert await storage.count_conversations() == 1


async def test_a_session_that_is_kept_does_not_create_a_deleted_conversation_again(storage: PostgresStorage) -> None:
    """A session that has seen its conversation refuses to write after a deletion; another session begins anew."""
    session = VoltMemSession[Any]("c1", storage, user_id=lambda context: str(context))
    run = RunContextWrapper("ada")
    await session.add_items(a_turn(1), wrapper=run)
    await storage.delete_conversation("c1")

    with pytest.raises(ConversationNotFoundError):
        await session.add_items(a_turn(2), wrapper=run)
    assert await session.pop_item(wrapper=run) is None

    await VoltMemSession("c1", storage, user_id="ada").add_items(a_turn(2))
    await session.add_items(a_turn(3), wrapper=run)
    assert await session.get_items(wrapper=run) == [*a_turn(2), *a_turn(3)]


# --- users -----------------------------------------------------------------------------------------------------------


async def test_another_users_session_is_an_error_before_the_model_is_called(storage: PostgresStorage) -> None:
    """With another user's session id, nothing is read, added or popped, and no model is called."""
    ada, mallory = (VoltMemSession("c1", storage, user_id=user_id) for user_id in ("ada", "mallory"))
    await ada.add_items(a_turn(1))
    model = ScriptedModel([[assistant_message("I'll tell you everything")]])

    for attempt in (
        lambda: Runner.run(agent(model), "What did Ada say?", session=mallory, run_config=CONFIG),
        lambda: mallory.get_items(),
        lambda: mallory.get_items(1),
        lambda: mallory.add_items(a_turn(2)),
        lambda: mallory.pop_item(),
        lambda: mallory.item_ids(),
        lambda: mallory.clear_session(),
    ):
        with pytest.raises(ConversationNotFoundError):
            await attempt()

    assert model.calls == ()
    assert await ada.get_items() == a_turn(1)


@dataclass
class SignedIn:
    """The context that an application passes to its runs."""

    user_id: str


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_user_comes_from_the_runs_context(storage: PostgresStorage, streamed: bool) -> None:
    """With a function, the user comes from the run's context, and another user's run fails."""
    session = VoltMemSession[SignedIn]("c1", storage, user_id=lambda context: context.user_id)
    model = ScriptedModel([[function_call("weather", {"city": "Oslo"}, call_id="k1")], [assistant_message("Take it.")]])

    if streamed:
        result = Runner.run_streamed(
            agent(model), "A coat?", session=session, context=SignedIn("ada"), run_config=CONFIG
        )
        _ = [event async for event in result.stream_events()]
    else:
        await Runner.run(agent(model), "A coat?", session=session, context=SignedIn("ada"), run_config=CONFIG)

    model.assert_complete()
    assert [message.role for message in await storage.get_messages("ada", "c1")] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    with pytest.raises(ConversationNotFoundError):
        await Runner.run(agent(model), "A coat?", session=session, context=SignedIn("bob"), run_config=CONFIG)


async def test_outside_a_run_the_context_is_given(storage: PostgresStorage) -> None:
    """If the user comes from the context, a call without a context raises an error that says what to pass."""
    session = VoltMemSession[SignedIn]("c1", storage, user_id=lambda context: context.user_id)
    run = RunContextWrapper(SignedIn("ada"))
    await session.add_items(a_turn(1), wrapper=run)

    assert await session.get_items(wrapper=run) == a_turn(1)
    assert len(await session.item_ids(1, wrapper=run)) == 1
    assert await session.pop_item(wrapper=run) == a_turn(1)[-1]
    await session.clear_session(wrapper=run)
    assert await session.get_items(wrapper=run) == []
    with pytest.raises(InvalidInputError, match="wrapper"):
        await session.get_items()


@pytest.mark.parametrize("user", [None, "", ANY_USER])
async def test_a_context_without_a_user_is_an_error(storage: PostgresStorage, user: Any) -> None:
    """If the function returns no user, nothing is read or written."""
    session = VoltMemSession[SignedIn]("c1", storage, user_id=lambda context: context.user_id)
    run = RunContextWrapper(SignedIn(user))

    for calling in (session.add_items(a_turn(1), wrapper=run), session.get_items(wrapper=run)):
        with pytest.raises(InvalidInputError, match="the user_id that the session's function returned is"):
            await calling


@pytest.mark.parametrize(
    "ids",
    [
        ("", "ada"),
        ("c1", ""),
        ("c1", cast(str, None)),
        ("c1", cast(str, ANY_USER)),
        ("c1", cast(str, 7)),
        ("c\ud83d", "ada"),
        ("c" * 3000, "ada"),
    ],
)
def test_an_invalid_id_is_refused_in_the_constructor(storage: PostgresStorage, ids: tuple[str, str]) -> None:
    """An id that PostgreSQL cannot store raises in the constructor."""
    with pytest.raises(InvalidInputError):
        VoltMemSession(ids[0], storage, user_id=ids[1])


# --- runs ------------------------------------------------------------------------------------------------------------


async def test_a_run_remembers_the_one_before(session: VoltMemSession) -> None:
    """The second run's model receives the first run's messages, calls and results."""
    first = ScriptedModel([[function_call("weather", {"city": "Oslo"}, call_id="k1")], [assistant_message("Take it.")]])
    second = ScriptedModel([[assistant_message("Oslo.")]])

    await Runner.run(agent(first), "Do I need a coat in Oslo?", session=session, run_config=CONFIG)
    await Runner.run(agent(second), "Where am I going?", session=session, run_config=CONFIG)

    received = cast(list[dict[str, Any]], second.calls[0].input)
    assert [each.get("type", each.get("role")) for each in received] == [
        "user",
        "function_call",
        "function_call_output",
        "message",
        "user",
    ]
    assert received[2]["output"] == "snow in Oslo"


PROGRAM: Final = """
import asyncio, sys
from agents import Agent, RunConfig, Runner
from agents.testing import ScriptedModel, assistant_message
from voltmem import PostgresStorage
from voltmem.adapters.openai_agents import VoltMemSession

async def main(dsn, schema, question, reply):
    model = ScriptedModel([[assistant_message(reply)]])
    async with PostgresStorage(dsn, schema=schema) as storage:
        session = VoltMemSession("c1", storage, user_id="ada")
        config = RunConfig(tracing_disabled=True)
        await Runner.run(Agent(name="guide", model=model), question, session=session, run_config=config)
    print(len(model.calls[0].input), model.calls[0].input[0]["content"])

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_second_process_continues_what_the_first_began(dsn: str, schema: str) -> None:
    """The second process's model receives the first process's messages."""
    turns = ("I'm Ada", "Hello"), ("Who am I?", "Ada")
    outputs = [await python("-W", "error", "-c", PROGRAM, dsn, schema, *turn) for turn in turns]

    assert outputs == ["1 I'm Ada\n", "3 I'm Ada\n"]


# --- concurrency -----------------------------------------------------------------------------------------------------


async def test_many_begin_one_session_at_once(make_storage: MakeStorage) -> None:
    """Concurrent first calls on a database without tables are all stored, each as a whole."""
    storage = make_storage(storage_limit=None)

    await asyncio.gather(*(VoltMemSession("c1", storage, user_id="ada").add_items(a_turn(n)) for n in range(30)))

    found = await VoltMemSession("c1", storage, user_id="ada").get_items()
    turns = [found[at : at + 4] for at in range(0, 120, 4)]
    assert sorted(turns, key=str) == sorted((a_turn(n) for n in range(30)), key=str)


async def test_many_sessions_begin_at_once(make_storage: MakeStorage) -> None:
    """Concurrent first calls of many sessions of one storage create the tables once and all succeed."""
    storage = make_storage()
    sessions = [VoltMemSession(f"c{n}", storage, user_id="ada") for n in range(20)]

    await asyncio.gather(*(session.add_items(a_turn(n)) for n, session in enumerate(sessions)))

    assert [await session.get_items() for session in sessions] == [a_turn(n) for n in range(20)]


async def test_concurrent_pops_return_different_items(session: VoltMemSession) -> None:
    """Concurrent pops return each item once, and None when no item is left."""
    added = items(*(user(f"message {n}") for n in range(20)))
    await session.add_items(added)

    popped = await asyncio.gather(*(session.pop_item() for _ in range(25)))

    assert sorted((item for item in popped if item), key=str) == sorted(added, key=str)
    assert popped.count(None) == 5
    assert await session.get_items() == []


async def test_items_of_one_moment_keep_their_order(session: VoltMemSession, storage: PostgresStorage) -> None:
    """With equal timestamps, items are read and popped in the order in which they were added."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    added = items(*(user(f"message {n}") for n in range(10)))
    memory = NativeMemory(storage, "ada", "c1")
    await memory.add_turn(message.stored_at(moment) for message in to_messages(added))

    assert await session.get_items() == added
    assert await session.get_items(3) == added[-3:]
    assert await session.pop_item() == added[-1]


async def test_a_cancelled_add_is_whole_or_not_at_all(session: VoltMemSession) -> None:
    """Whenever a call is cancelled, all its items are stored or none, and the next call works."""
    for delay in range(20):
        adding = asyncio.create_task(session.add_items(a_turn(delay)))
        await asyncio.sleep(delay / 4000)
        adding.cancel()
        await asyncio.wait([adding])

    await session.add_items(a_turn(99))
    found = await session.get_items()
    assert len(found) % 4 == 0
    assert all(
        found[at : at + 4] == a_turn(int(str(found[at]).split("question ")[1][:-2])) for at in range(0, len(found), 4)
    )
    assert found[-4:] == a_turn(99)


async def test_a_call_cancelled_while_tables_are_created_blocks_no_other(make_storage: MakeStorage) -> None:
    """If a first call is cancelled while the tables are created, other calls still succeed."""
    session = VoltMemSession("c1", make_storage(), user_id="ada")
    impatient, patient = (asyncio.create_task(session.add_items(a_turn(n))) for n in range(2))
    await asyncio.sleep(0)
    impatient.cancel()

    await patient
    await session.add_items(a_turn(2))

    assert a_turn(2) == (await session.get_items())[-4:]


async def test_in_a_transaction_that_fails_nothing_was_added(storage: PostgresStorage) -> None:
    """A session with a transaction's storage adds and pops in that transaction."""
    session = VoltMemSession("c1", storage, user_id="ada")
    await session.add_items(a_turn(1))

    with pytest.raises(ZeroDivisionError):
        async with storage.transaction() as tx:
            inner = VoltMemSession("c1", tx, user_id="ada")
            await inner.add_items(a_turn(2))
            assert await inner.pop_item() == a_turn(2)[-1]
            raise ZeroDivisionError

    assert await session.get_items() == a_turn(1)


# --- storage_limit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", range(4, 14))
async def test_items_within_the_storage_limit_are_valid_for_a_model(make_storage: MakeStorage, limit: int) -> None:
    """With any limit, no result is returned without its call, and no item without the reasoning it needs."""
    session = VoltMemSession("c1", make_storage(storage_limit=limit), user_id="ada")
    whole = items(
        user("A coat?"),
        reasoning(1),
        call(1, id="fc_1"),
        call(2, id="fc_2"),
        answer(1),
        answer(2),
        reasoning(2),
        assistant("Yes.", id="msg_2"),
        user("Sure?"),
        reasoning(3),
        call(3, id="fc_3"),
        answer(3),
        assistant("Yes!", id="msg_3"),
    )
    await session.add_items(whole)

    found = await session.get_items()

    kept = whole[-limit:]
    called = {item.get("call_id") for item in kept if item.get("type") == "function_call"}
    assert found == [
        item if "reasoning" in (before.get("type"), item.get("type")) else without_id(item)
        for before, item in zip([user(""), *kept], kept, strict=False)
        if item.get("type") != "function_call_output" or item.get("call_id") in called
    ]
    assert await session.get_items(limit) == whole[-limit:]


async def test_a_result_without_its_call_is_left_out(session: VoltMemSession) -> None:
    """A result without its call is left out, so the conversation can continue."""
    await session.add_items(items(user("A coat?"), answer(1), user("Well?")))
    model = ScriptedModel([[assistant_message("Yes.")]])

    await Runner.run(agent(model), "Hello?", session=session, run_config=CONFIG)

    assert model.calls[0].input == items(user("A coat?"), user("Well?"), user("Hello?"))
    assert len(await session.get_items(10)) == 5


async def test_without_reasoning_no_call_is_left_out(session: VoltMemSession) -> None:
    """Without reasoning, a history that begins with a call and its result is returned, as new items without ids."""
    history = items(call(1, id="fc_1"), answer(1), assistant("Yes.", id="msg_1"))
    await session.add_items(history)

    assert await session.get_items() == [without_id(item) for item in history]
    assert await session.get_items(3) == history


# --- the package -----------------------------------------------------------------------------------------------------


def test_without_the_sdk_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the adapter without the SDK raises an error that names the extra."""
    for name in [name for name in sys.modules if name.startswith("voltmem.adapters.openai_agents")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "agents", None)

    with pytest.raises(MissingExtraError, match=r"'\.\[openai-agents\]'"):
        importlib.import_module("voltmem.adapters.openai_agents")
