"""OpenAI's own compaction session around a session of voltmem: the model gets its items, people keep every message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from agents import OpenAIResponsesCompactionSession, Runner, TResponseInputItem
from agents.testing import ScriptedModel, assistant_message, function_call
from openai import AsyncOpenAI

from tests.adapters.openai_agents.runs import CONFIG, a_turn, agent, answer, assistant, call, items, user
from tests.conftest import MakeStorage
from voltmem import PostgresStorage
from voltmem.adapters.openai_agents import VoltMemSession

if TYPE_CHECKING:
    from tests.conftest import Connection

# Its fields in an order of its own, and characters that a change of form would show.
COMPACTION: Final = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAAAB/+==\u00e9\U0001f600 \\u0041"}
OUTPUT: Final = items({"type": "message", "role": "user", "content": "question 1"}, COMPACTION)


class WithoutHooks(VoltMemSession[Any]):
    """As a release of the SDK sees it that does not look for the hooks: it clears, and adds."""

    _get_compaction_snapshot = None  # type: ignore[assignment]
    _read_compaction_items = None  # type: ignore[assignment]
    _atomic_replace_items = None  # type: ignore[assignment]


class Client:
    """Answers in place of OpenAI, and remembers the requests."""

    def __init__(self, meanwhile: Callable[[], Awaitable[object]] | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self.responses = SimpleNamespace(compact=self._compact)
        self._meanwhile = meanwhile

    async def _compact(self, **request: Any) -> Any:
        self.requests.append(request)
        if self._meanwhile is not None:
            await self._meanwhile()
        return SimpleNamespace(output=OUTPUT, usage=None)


def compacting(
    session: VoltMemSession[Any], client: Client | None = None, *, at: int = 1
) -> OpenAIResponsesCompactionSession:
    return OpenAIResponsesCompactionSession(
        "c1",
        session,
        client=cast(AsyncOpenAI, client or Client()),
        compaction_mode="input",
        should_trigger_compaction=lambda context: len(context["session_items"]) >= at,
    )


async def compact(session: VoltMemSession[Any], client: Client | None = None) -> None:
    await compacting(session, client).run_compaction({"force": True})


@pytest.fixture(params=[VoltMemSession, WithoutHooks])
async def talked(request: pytest.FixtureRequest, storage: PostgresStorage) -> VoltMemSession[Any]:
    """A session with two turns, with the hooks and without."""
    session: VoltMemSession[Any] = request.param("c1", storage, user_id="ada")
    await session.add_items([*a_turn(1), *a_turn(2)])
    return session


async def test_runs_compact_and_the_next_is_given_the_items_of_openai(make_storage: MakeStorage, migrated: str) -> None:
    """The runner compacts after runs; another process's next run shows the result; people and an export have all."""
    storage = make_storage(search=True)
    session = VoltMemSession[Any]("c1", storage, user_id="ada")
    await session.add_items([*a_turn(1), *a_turn(2)])
    client = Client()
    model = ScriptedModel(
        [
            [assistant_message("Fine.")],
            [function_call("weather", {"city": "Oslo"}, call_id="k3")],
            [assistant_message("Snow.")],
            [assistant_message("Bye.")],
        ]
    )

    for question in ("And now?", "And in Oslo?"):
        await Runner.run(agent(model), question, session=compacting(session, client), run_config=CONFIG)
    other = VoltMemSession[Any]("c1", make_storage(), user_id="ada")
    await Runner.run(agent(model), "Goodbye", session=other, run_config=CONFIG)

    # The turn before; and what the first request has returned, with the question, the call, its result and the answer.
    assert [len(request["input"]) for request in client.requests] == [10, len(OUTPUT) + 4]
    assert json.dumps(client.requests[1]["input"][: len(OUTPUT)]) == json.dumps(OUTPUT)
    asked = items({"content": "Goodbye", "role": "user"})
    assert json.dumps(model.calls[-1].input) == json.dumps([*OUTPUT, *asked])
    assert len(await storage.get_messages("ada", "c1")) == 8 + 2 + 4 + 2
    assert [hit.conversation.id for hit in (await storage.search("ada", "reply")).hits] == ["c1"]
    exported = "".join([line async for line in storage.export_user("ada")])
    assert "reply 1" in exported
    assert json.dumps(COMPACTION["encrypted_content"], ensure_ascii=False) in exported


async def test_compaction_keeps_the_originals_with_the_hooks_and_without(talked: VoltMemSession[Any]) -> None:
    """The items for a model are OpenAI's, byte for byte, then the later ones; by number, or to pop, the stored ones."""
    await compact(talked)

    assert json.dumps(await talked.get_items()) == json.dumps(OUTPUT)
    assert await talked.get_items(100) == [*a_turn(1), *a_turn(2)]
    assert len(await talked.item_ids()) == 8

    await talked.add_items(a_turn(3))
    await compact(talked)
    assert await talked.get_items() == OUTPUT
    await talked.add_items(items(user("last")))
    assert await talked.pop_item() == user("last")
    assert await talked.get_items() == OUTPUT


async def test_compaction_of_which_the_request_fails_changes_nothing(talked: VoltMemSession[Any]) -> None:
    """The error is raised, and the model gets what it got before."""

    async def fail() -> None:
        raise ConnectionError("OpenAI is away")

    with pytest.raises(ConnectionError):
        await compact(talked, Client(fail))

    assert await talked.get_items() == [*a_turn(1), *a_turn(2)]


async def test_clear_session_of_the_wrapper_deletes_for_everybody(
    talked: VoltMemSession[Any], storage: PostgresStorage
) -> None:
    """What a person clears is gone, the summary too, and is not taken for a compaction."""
    await compact(talked)
    await compacting(talked).clear_session()

    assert await talked.get_items() == []
    assert await storage.get_messages("ada", "c1") == []


async def test_compaction_waits_for_the_result_of_a_call(talked: VoltMemSession[Any]) -> None:
    """A call without a result is not replaced, so that its result finds it."""
    await talked.add_items(items(user("question 3"), call(3)))
    await compact(talked)
    await talked.add_items(items(answer(3), assistant("reply 3")))

    assert await talked.get_items() == [*a_turn(1), *a_turn(2), *a_turn(3)]


async def test_automatic_compaction_makes_no_request_while_a_call_waits(storage: PostgresStorage) -> None:
    """The snapshot that the SDK compares with the model's is empty then."""
    session = VoltMemSession[Any]("c1", storage, user_id="ada")
    await session.add_items(items(user("question 1"), call(1)))
    client, model = Client(), ScriptedModel([[assistant_message("Fine.")]])

    await Runner.run(agent(model), "And now?", session=compacting(session, client), run_config=CONFIG)

    assert client.requests == []


async def test_of_two_compactions_at_once_one_counts(storage: PostgresStorage) -> None:
    """The second finds the summary changed, stores nothing, and clears nothing."""
    sessions = [VoltMemSession[Any]("c1", storage, user_id="ada") for _ in range(2)]
    await sessions[0].add_items([*a_turn(1), *a_turn(2)])
    both = asyncio.Barrier(2)

    await asyncio.gather(*(compact(session, Client(both.wait)) for session in sessions))

    memory = storage.conversation("ada", "c1")
    assert await sessions[1].get_items() == OUTPUT
    assert len(await memory.messages()) == 8


async def test_what_is_added_while_openai_compacts_comes_after_it(storage: PostgresStorage) -> None:
    """The summary stands for what was sent, not for what another process has added meanwhile."""
    session, other = (VoltMemSession[Any]("c1", storage, user_id="ada") for _ in range(2))
    await session.add_items(a_turn(1))

    async def add() -> None:
        await other.add_items(a_turn(2))

    await compact(session, Client(add))

    assert await session.get_items() == [*OUTPUT, *a_turn(2)]


async def test_what_is_changed_while_openai_compacts_is_not_replaced(storage: PostgresStorage) -> None:
    """An edit meanwhile leaves the window as it is."""
    session = VoltMemSession[Any]("c1", storage, user_id="ada")
    await session.add_items(a_turn(1))

    await compact(session, Client(session.pop_item))

    assert await session.get_items() == a_turn(1)[:-1]


async def test_an_edit_or_a_pop_within_the_range_brings_the_originals_back(storage: PostgresStorage) -> None:
    """What OpenAI has compacted is not true any more; a fork from before the edit keeps it."""
    session = VoltMemSession[Any]("c1", storage, user_id="ada")
    await session.add_items(a_turn(1))
    await compact(session)
    await session.add_items(a_turn(2))
    await storage.fork_conversation("c1", id="c2", owner="ada")
    first, *_ = await session.item_ids()

    await storage.delete_messages([first], "ada", "c1")

    assert await session.get_items() == [*a_turn(1)[1:], *a_turn(2)]
    assert await VoltMemSession[Any]("c2", storage, user_id="ada").get_items() == [*OUTPUT, *a_turn(2)]


async def test_a_part_of_the_items_can_be_compacted(storage: PostgresStorage) -> None:
    """Items before the part stay before OpenAI's, up to the limit of the session, which does not cut those."""
    session = VoltMemSession[Any]("c1", storage, user_id="ada")
    await session.add_items([*items({"role": "system", "content": "Be kind."}), *a_turn(1), *a_turn(2)])
    snapshot = await session._get_compaction_snapshot(5)
    assert not snapshot.complete
    assert await snapshot.replace_suffix(1, OUTPUT)
    await session.add_items(items(user("last")))

    limited = VoltMemSession[Any]("c1", storage, user_id="ada", session_settings={"limit": 2})
    system: list[TResponseInputItem] = items({"role": "system", "content": "Be kind."})
    assert await session.get_items() == [*system, *a_turn(1), *OUTPUT, *items(user("last"))]
    assert await limited.get_items() == [*system, *a_turn(1)[-1:], *OUTPUT, *items(user("last"))]
    assert not await snapshot.replace_suffix(1, OUTPUT)


async def test_compaction_begins_with_a_summary_in_text(storage: PostgresStorage) -> None:
    """OpenAI is sent the summary of compact() with what came after it, and stands for both."""
    session = VoltMemSession[Any]("c1", storage, user_id="ada")
    await session.add_items([*a_turn(1), *a_turn(2)])
    await storage.conversation("ada", "c1").compact(lambda messages, before: "They spoke.", keep_turns=1)
    client = Client()

    await compact(session, client)

    assert ["They spoke." in str(item) for item in client.requests[0]["input"]] == [True, *[False] * 4]
    assert await session.get_items() == OUTPUT
    assert "They spoke." in (await storage.conversation("ada", "c1").messages())[0].text


async def test_a_summary_without_items_of_openai_never_stops_a_session(
    storage: PostgresStorage, connection: Connection
) -> None:
    """Of any payload that is not OpenAI's the model gets the messages, or the summary in text; compaction goes on."""
    session = VoltMemSession[Any]("c1", storage, user_id="ada")
    system = items({"role": "system", "content": "Be kind."})
    await session.add_items([*system, *a_turn(1)])
    await compact(session)
    await session.add_items(a_turn(2))
    summaries = storage._options.tables.summaries
    damaged: list[dict[str, Any]] = [{"kept": [], "items": []}, {"kept": [1], "items": [{}]}]

    for payload in (None, "x", [1], {"a": 1}, *damaged):
        await connection.execute(f"UPDATE {summaries} SET payload = $1::json", payload and json.dumps(payload))
        assert await session.get_items() == [*system, *a_turn(1), *a_turn(2)]

    client = Client()
    await compact(session, client)
    assert len(client.requests[0]["input"]) == len([*system, *a_turn(1), *a_turn(2)])
    assert await session.get_items() == [*system, *OUTPUT]


async def test_what_the_limit_deletes_stays_compacted_until_it_is_cleared(
    make_storage: MakeStorage, migrated: str
) -> None:
    """The model gets OpenAI's items though their messages are gone; clearing deletes these items, too."""
    session = VoltMemSession[Any]("c1", make_storage(storage_limit=3), user_id="ada")
    await session.add_items(a_turn(1))
    await compact(session)
    later = items(user("1"), user("2"), user("3"))
    await session.add_items(later)
    assert await session.get_items(100) == later
    assert await session.get_items() == [*OUTPUT, *later]

    await session.clear_session()

    assert await session.get_items() == []
