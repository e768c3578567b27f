"""The windows of a memory for a model: whole turns, read with few rows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.agents.talk import Fields, Verb, answers, asks, says
from tests.calls import LONG_AGO, migrated_schema
from tests.conftest import Connection, MakeStorage
from tests.dialogues import Dialogues, with_dialogues
from tests.plans import assert_walks, plan
from tests.properties import examples
from tests.proxy import Proxy
from voltmem import ConversationMemory, ConversationNotFoundError, Message, PostgresStorage
from voltmem._agents.windows import tool_turns, window
from voltmem._areas.window_query import WindowQuery
from voltmem._tables import Tables
from voltmem._values import uuid7
from voltmem.options import DEFAULT_TABLE_PREFIX, OnLimit

# --- windows ---------------------------------------------------------------------------------------------------------


def expected(every: Sequence[Message], limit: int | None) -> list[Message]:
    """Return the window over all messages, computed in Python."""
    system = [message for message in every[:1] if message.role == "system"]
    if limit is not None and limit <= len(system):
        return system[:limit]
    groups = tool_turns(every[len(system) :])
    return system + window(groups, None if limit is None else limit - len(system))[0]


def expected_turns(every: Sequence[Message], turns: int) -> list[Message]:
    """Return the last turns, computed in Python. A turn begins where the user speaks after another role."""
    if turns == 0:
        return []
    roles = [message.role for message in every]
    begins = [n for n, role in enumerate(roles) if role == "user" and (n == 0 or roles[n - 1] != "user")]
    begin = begins[-turns] if turns <= len(begins) else 0
    system = [message for message in every[:1] if message.role == "system"]
    return system + [each for group in tool_turns(every[max(begin, len(system)) :]) for each in group]


def expected_exchanges(every: Sequence[Message], limit: int | None) -> list[tuple[Message, Message]]:
    """Return the last exchanges, computed in Python."""
    pairs: list[tuple[Message, Message]] = []
    said: Message | None = None
    answer: Message | None = None
    for message in every:
        if message.type in ("tool-call", "tool-result") or message.role not in ("user", "assistant"):
            continue
        if message.role == "user":
            if said and answer:
                pairs.append((said, answer))
            said, answer = message, None
        else:
            answer = message
    if said and answer:
        pairs.append((said, answer))
    return pairs if limit is None else pairs[len(pairs) - min(limit, len(pairs)) :]


async def assert_reads_are_right(memory: ConversationMemory, every: Sequence[Message], counts: Sequence[int]) -> None:
    for count in (*counts, None):
        assert await memory.messages(limit=count) == expected(every, count), count
        assert await memory.exchanges(count) == expected_exchanges(every, count), count
    for count in counts:
        assert await memory.messages(turns=count) == expected_turns(every, count), count
    assert await memory.messages(limit=2**63 - 1) == expected(every, None)
    assert await memory.messages(turns=2**63 - 1) == expected_turns(every, len(every) + 1)
    assert await memory.exchanges(2**63 - 1) == expected_exchanges(every, None)


ids = st.sampled_from(["a", "b", "c"])
some_ids = st.lists(ids, min_size=1, max_size=2, unique=True)
any_message = (
    st.sampled_from(["user", "user", "assistant", "assistant", "system", "tool"]).map(says)
    | some_ids.map(lambda ids: asks(*ids))
    | some_ids.map(lambda ids: answers(*ids))
)
tool_turn = some_ids.map(lambda ids: [asks(*ids), answers(*ids)])
any_conversation = st.lists(st.lists(any_message, min_size=1, max_size=2) | tool_turn, max_size=20).map(
    lambda parts: [message for part in parts for message in part]
)


@given(any_conversation, st.lists(st.integers(0, 12), min_size=3, max_size=3))
@examples(60)
async def test_memory_messages_and_exchanges_are_windows_of_the_whole(
    unlimited: PostgresStorage, conversation: list[Fields], counts: list[int]
) -> None:
    """messages() and exchanges() of a memory equal the windows that Python computes from the whole conversation."""
    memory = unlimited.conversation("ada", uuid7())
    every = await memory.add_turn(conversation)

    await assert_reads_are_right(memory, every, counts)


@with_dialogues
@pytest.mark.parametrize("losses", [0, 0.3])
async def test_the_windows_of_dialogues_are_those_of_the_whole(
    losses: float, dialogues: Dialogues, unlimited: PostgresStorage
) -> None:
    """The windows of dialogues, complete or with missing messages, with or without a system message, equal Python's."""
    chance = random.Random(f"{losses}")  # noqa: S311
    for dialogue in chance.sample(list(dialogues), 40):
        messages = [each for each in dialogue["messages"] if chance.random() >= losses]
        system = [says("system", "Be kind.")] if chance.random() < 0.5 else []
        memory = unlimited.conversation("ada", dialogue["id"])
        every = await memory.add_turn(system + messages)

        await assert_reads_are_right(memory, every, chance.sample(range(40), 5))


async def test_more_is_read_where_what_was_read_is_not_enough(proxy: Proxy, make_storage: MakeStorage) -> None:
    """If the messages that were read are not enough for a window, more are read, in a few round trips."""
    storage = make_storage(proxy.dsn, max_connections=1, storage_limit=None)
    memory = storage.conversation("ada", "c1")
    every = await memory.add_turn([says("user", "1"), says("assistant", "2"), *[answers("lost")] * 100, says("user")])
    await memory.messages(limit=None)

    before = proxy.round_trips
    found = await memory.messages(limit=2)

    assert found == [every[1], every[-1]]
    assert proxy.round_trips - before <= 4


async def test_a_turn_that_began_before_what_is_read_is_not_taken_for_another(unlimited: PostgresStorage) -> None:
    """If two turns overlap and the call of the older one was not read, the newer one is not returned."""
    memory = unlimited.conversation("ada", "c1")
    lost = [answers("lost")] * 6  # the older call is one row before the rows that are read for a window of 4
    every = await memory.add_turn(
        [says("user"), asks("old"), *[says("user")] * 3, asks("new"), answers("old"), *lost, answers("new")]
    )

    assert await memory.messages(limit=4) == every[2:5] == expected(every, 4)
    assert len(await memory.messages(limit=7)) == 7


async def test_messages_of_one_time_stand_in_their_order(unlimited: PostgresStorage) -> None:
    """With equal times, windows by messages, turns and exchanges follow the order of adding."""
    memory = unlimited.conversation("ada", "c1")
    turn = [says("user"), asks("a"), answers("a"), says("assistant")]
    every: list[Message] = []
    for _ in range(5):
        every += await memory.add_turn({**message, "created_at": LONG_AGO} for message in turn)

    await assert_reads_are_right(memory, every, range(22))


async def test_a_message_with_an_earlier_time_is_read_earlier(unlimited: PostgresStorage) -> None:
    """A system message that is added last, with a time before all others, is the first of every window."""
    memory = unlimited.conversation("ada", "c1")
    spoken = await memory.add_turn([says("user"), says("assistant"), says("user")])

    system = await memory.add(says("system", created_at=spoken[0].created_at - timedelta(days=1)))

    assert await memory.messages(limit=2) == [system, spoken[2]]
    assert await memory.messages(limit=1) == [system]
    assert await memory.messages(limit=0) == []
    assert await memory.messages(turns=1) == [system, spoken[2]]


@pytest.mark.parametrize("role", ["system", "developer"])
async def test_memory_messages_keep_the_system_message(role: str, unlimited: PostgresStorage) -> None:
    """messages() of a memory keeps the first system message, which counts."""
    memory = unlimited.conversation("ada", "c1")
    turn = [says("user"), says("assistant")]
    every = await memory.add_turn([says(role, "Be kind."), *turn * 3, says(role, "Be brief."), *turn])

    assert await memory.messages(limit=3) == [every[0], *every[-2:]]
    assert await memory.messages(limit=4) == [every[0], *every[-3:]]
    assert await memory.messages(limit=5) == [every[0], *every[-4:]]
    assert await memory.messages(limit=len(every)) == every
    assert await memory.messages(turns=1) == [every[0], *every[-2:]]
    assert await memory.messages(turns=9) == await memory.messages(limit=None) == every


async def test_memory_exchanges_pair_what_was_said_with_its_answer(unlimited: PostgresStorage) -> None:
    """exchanges() of a memory pairs the user's last message with the last answer; without an answer it is left out."""
    memory = unlimited.conversation("ada")
    said = ["user", "user", "assistant", "assistant", "user", "assistant", "user"]
    every = await memory.add_turn([says(role, f"words {n}") for n, role in enumerate(said)])

    assert await memory.exchanges() == [(every[1], every[3]), (every[4], every[5])]
    assert await memory.exchanges(1) == [(every[4], every[5])]


async def test_what_a_user_says_at_once_is_one_turn(unlimited: PostgresStorage) -> None:
    """A turn begins with the user's first message after another role, and the current turn counts."""
    memory = unlimited.conversation("ada", "c1")
    every = await memory.add_turn(says({"u": "user", "a": "assistant"}[each], each) for each in "uuauauuaauu")

    assert await memory.messages(turns=1) == every[9:]
    assert await memory.messages(turns=2) == every[5:]
    assert await memory.messages(turns=3) == every[3:]
    assert await memory.messages(turns=4) == await memory.messages(turns=100) == every
    assert await memory.exchanges(1) == [(every[6], every[8])]
    assert await memory.exchanges() == [(every[1], every[2]), (every[3], every[4]), (every[6], every[8])]


@pytest.mark.parametrize("type", ["text", "tool-result"])
async def test_a_tool_result_in_anthropics_form_is_nothing_that_the_user_said(
    type: str, unlimited: PostgresStorage
) -> None:
    """A tool result in Anthropic's form has the role user but begins no turn, with NUL and lone surrogates, too."""
    memory = unlimited.conversation("ada", "c1")
    call = {"type": "tool_use", "id": "t1", "name": "search", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "found \x00\ud800"}
    every = await memory.add_turn(
        [
            says("user", "Hello"),
            says("assistant", "Hi"),
            {"role": "user", "content": [{"type": "text", "text": 'What is\x00 "type":"tool_result"?'}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, call]},
            {"role": "user", "content": [result], "type": type},
            says("assistant", "It is a kind of block."),
        ]
    )

    assert await memory.messages(turns=1) == every[2:]
    assert await memory.messages(turns=2) == every
    assert await memory.messages(limit=3) == every[3:]
    assert await memory.messages(limit=2) == every[5:]
    assert await memory.exchanges() == [(every[0], every[1]), (every[2], every[5])]


async def test_memory_add_turn_is_never_seen_in_part(make_storage: MakeStorage) -> None:
    """Readers never see a part of an add_turn() of a memory, in windows of any length, nor after a failure."""
    storage, other = make_storage(storage_limit=None), make_storage(storage_limit=None)
    turn = [says("user"), asks("a", "b"), answers("a"), answers("b"), says("assistant")]
    writing = True
    seen: list[list[Message]] = []

    async def write(user: str) -> None:
        memory = storage.conversation(user, "c1")
        for _ in range(20):
            if user == "ada":
                await memory.add_turn(turn)
            else:
                with pytest.raises(ConversationNotFoundError):
                    await memory.add_turn(turn)

    async def read() -> None:
        while writing:
            seen.append(await other.get_messages("ada", "c1", limit=None))
            window = await other.conversation("ada", "c1").messages(limit=7)
            assert len(window) in (0, 5, 6)
            assert [message.role for message in window[-5:]] in ([], [message["role"] for message in turn])

    await storage.conversation("ada", "c1").add_turn([])
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    reading = [asyncio.create_task(read()) for _ in range(3)]
    await asyncio.gather(write("ada"), write("ada"), write("bob"))
    writing = False
    await asyncio.gather(*reading)

    assert {len(messages) % 5 for messages in seen} == {0}
    every = await storage.get_messages("ada", "c1", limit=None)
    assert [message.role for message in every] == [message["role"] for message in turn] * 40


@pytest.mark.parametrize("on_limit", ["delete", "archive"])
@pytest.mark.parametrize("limit", [0, 1, 3, None])
async def test_the_storage_limit_cuts_no_turn_in_a_window(
    limit: int | None, on_limit: OnLimit, make_storage: MakeStorage
) -> None:
    """The storage limit removes old messages, but windows still have whole turns; it is their default length."""
    memory = make_storage(storage_limit=limit, on_limit=on_limit).conversation("ada", "c1")
    every: list[Message] = []
    for turn in ([says("user"), asks("a"), answers("a"), says("assistant")], [asks("b")], [answers("b"), says("user")]):
        every += await memory.add_turn(turn)
        kept = every[len(every) - min(len(every), limit) :] if limit is not None else every

        await assert_reads_are_right(memory, kept, range(6))
        assert await memory.messages() == expected(kept, limit)


async def test_one_verb_is_one_round_trip(proxy: Proxy, make_storage: MakeStorage) -> None:
    """Each method of the handle is one round trip, the first write included."""
    storage = make_storage(proxy.dsn, max_connections=1)
    turn = [says("user"), asks("a"), answers("a"), says("assistant")]
    verbs: dict[str, Verb] = {
        "add": lambda memory: memory.add(says("system")),
        "add_turn": lambda memory: memory.add_turn(turn * 5),
        "messages": lambda memory: memory.messages(),
        "messages(limit)": lambda memory: memory.messages(limit=3),
        "messages(None)": lambda memory: memory.messages(limit=None),
        "messages(turns)": lambda memory: memory.messages(turns=2),
        "exchanges": lambda memory: memory.exchanges(),
        "exchanges(2)": lambda memory: memory.exchanges(2),
        "title": lambda memory: memory.title("Named"),
        "clear": lambda memory: memory.clear(),
    }
    counted: dict[str, int] = {}
    for conversation in ("c1", "c2"):  # the first call prepares the statements
        for name, verb in verbs.items():
            before = proxy.round_trips
            await verb(storage.conversation("ada", conversation))
            counted[name] = proxy.round_trips - before

    assert counted == dict.fromkeys(verbs, 1)


async def test_a_window_of_text_makes_no_model_of_the_rows_beyond_it(
    unlimited: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows beyond the window are read in case that it begins within a tool turn; of text, they are left alone."""
    memory = unlimited.conversation("ada", "c1")
    stored = await memory.add_turn([says("user", str(number)) for number in range(30)])
    made: list[Message] = []
    from_row = Message.from_row

    def counted(row: Sequence[object]) -> Message:
        made.append(from_row(row))
        return made[-1]

    monkeypatch.setattr(Message, "from_row", counted)
    assert await memory.messages(limit=10) == stored[-10:]
    assert len(made) == 10 + 1  # and the first message of the conversation, which may be the system's


# --- plans -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large_schema() -> Iterator[str]:
    """A schema with a conversation of 20,000 messages in 4,000 turns among 20,000 other messages."""
    with migrated_schema() as schema:
        yield schema


@pytest.fixture
async def large(connection: Connection, large_schema: str) -> Connection:
    tables = Tables(large_schema, DEFAULT_TABLE_PREFIX)
    if await connection.fetchval(f"SELECT count(*) FROM {tables.conversations}") == 0:
        await connection.execute(f"""
            INSERT INTO {tables.conversations} (id, user_id, resource_id)
            SELECT 'c' || n, 'u' || n % 100, 'r' FROM generate_series(1, 2000) AS n""")
        await connection.execute(f"""
            INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type, format, created_at)
            SELECT CASE WHEN n <= 20000 THEN 'c1' ELSE 'c' || n % 2000 + 1 END, 'm' || n,
                (ARRAY['user', 'assistant', 'tool', 'assistant', 'assistant'])[n % 5 + 1], 'words',
                (ARRAY['text', 'tool-call', 'tool-result', 'text', 'text'])[n % 5 + 1],
                CASE WHEN n % 5 = 0 THEN 'run' END,
                timestamptz '2024-01-01' + n / 3 * interval '1 second'
            FROM generate_series(1, 40000) AS n""")
        await connection.execute(f"ANALYZE {tables.conversations}")
        await connection.execute(f"ANALYZE {tables.messages}")
    return connection


@pytest.mark.parametrize(
    "query",
    [
        WindowQuery("c1", "u1", limit=28),
        WindowQuery("c1", limit=28),
        WindowQuery("c1", "u1", turns=5),
        WindowQuery("c1", "u1", exchanges=5),
    ],
)
async def test_a_window_reads_no_more_than_it_has(query: WindowQuery, large: Connection, large_schema: str) -> None:
    """Of 20,000 messages the newest are read by their index: no sort, and some tens of rows."""
    shown = await plan(large, *query.sql(Tables(large_schema, DEFAULT_TABLE_PREFIX)))

    assert_walks("messages_in_line", shown)
    scans = [line for line in shown.splitlines() if "_messages" in line and "actual" in line]
    assert scans
    for line in scans:
        assert float(line.partition("rows=")[2].split()[0]) < 60, shown


@pytest.mark.parametrize("query", [WindowQuery("c1", "u1", turns=5), WindowQuery("c1", "u1", exchanges=5)])
async def test_a_window_of_a_short_conversation_sorts_nothing(
    query: WindowQuery, connection: Connection, migrated: str
) -> None:
    """Of a hundred messages, which are spread over the table, the newest are read by their index as well."""
    tables = Tables(migrated, DEFAULT_TABLE_PREFIX)
    await connection.execute(f"""
        INSERT INTO {tables.conversations} (id, user_id, resource_id)
        SELECT 'c' || n, 'u' || n, 'r' FROM generate_series(0, 99) AS n""")
    await connection.execute(f"""
        INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type)
        SELECT 'c' || n % 100, 'm' || n, (ARRAY['user', 'assistant'])[n / 100 % 2 + 1], repeat('words ', 40), 'text'
        FROM generate_series(0, 9999) AS n""")
    await connection.execute(f"ANALYZE {tables.conversations}")
    await connection.execute(f"ANALYZE {tables.messages}")

    shown = await plan(connection, *query.sql(tables))

    assert "Sort" not in shown, shown
    assert shown.count("messages_in_line") == 3, shown


async def test_the_whole_conversation_is_read_by_its_index(large: Connection, large_schema: str) -> None:
    """
    Without a limit, or with more turns than there are, the conversation is read in the order of the index, unsorted.
    """
    for query in (WindowQuery("c1", "u1"), WindowQuery("c1", "u1", turns=10_000)):
        shown = await plan(large, *query.sql(Tables(large_schema, DEFAULT_TABLE_PREFIX)))
        assert "messages_in_line" in shown, shown
