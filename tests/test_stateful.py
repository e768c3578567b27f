"""A storage and the Python model of tests/model.py behave the same for any calls in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from typing import Any, ClassVar, Final, Literal, TypeAlias, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pydantic.alias_generators import to_camel

from tests import citus
from tests.model import Given, Model
from tests.properties import examples
from voltmem import (
    ANY_USER,
    Conversation,
    ConversationExistsError,
    ConversationNotFoundError,
    Message,
    PostgresStorage,
    UserConversations,
)
from voltmem.options import OnLimit
from voltmem.testing import drop_schema, server, temporary_schema_name

Answer = TypeVar("Answer")
Spelling: TypeAlias = Literal["snake_case", "camelCase", "for_user"]
Caller: TypeAlias = Literal["its user", "trusted code", "another user"]

# --- arguments of the calls ---------------------------------------------------------------------------------------

# Ids of one shape and titles of one letter sort alike in Python and in any collation of the database.
CONVERSATION_IDS: Final = [f"00000000-0000-7000-8000-00000000000{letter}" for letter in "abc"]
MESSAGE_IDS: Final = ["m1", "m2", "m3", "m4"]
# Two times before all times of the database, and one after, which may be at most a day ahead.
TIMES: Final = [datetime(year, 1, 1, tzinfo=UTC) for year in (2001, 2002)]
AHEAD: Final = datetime.now(UTC) + timedelta(hours=12)
# Values that are easily confused.
CONTENTS: Final[list[Any]] = [
    "hello",
    '{"looks": "like JSON"}',
    "",
    "\x00",
    None,
    True,
    1,
    1.0,
    [],
    {"b": 1, "a": [{}]},
    [{"type": "text", "text": "hi"}, {"type": "image", "url": "u"}],
]

FIRST_MESSAGES: Final[list[Given]] = [
    {"id": "m1", "role": "user", "content": "What is in the file?", "created_at": TIMES[0]},
    {"id": "m2", "role": "assistant", "content": {"path": "a.txt"}, "type": "tool-call", "created_at": TIMES[1]},
    {"id": "m3", "role": "tool", "content": ["nothing"], "created_at": TIMES[1]},
    {"id": "m4", "role": "assistant", "content": "Nothing."},
]

spellings = st.sampled_from(["snake_case", "camelCase", "for_user"])
users = st.sampled_from(["ada", "bob"])
users_or_all = st.none() | users
callers = st.sampled_from(["its user", "its user", "trusted code", "another user"])
resources = st.sampled_from(["default", "helper"])
titles = st.sampled_from([None, "a", "b"])
roles = st.sampled_from(["user", "assistant", "tool"])
types = st.sampled_from(["text", "tool-call"])
metadatas: st.SearchStrategy[dict[str, Any]] = st.sampled_from([{}, {"n": 1}, {"deep": {"er": [None]}}])
counts = st.integers(0, 5)
limits = st.none() | counts
fields = st.sampled_from(["created_at", "updated_at", "title"])
directions = st.sampled_from(["ASC", "DESC", "asc", "desc"])

conversation_ids: Bundle[str] = Bundle("conversation_ids")
message_ids: Bundle[str] = Bundle("message_ids")
times: Bundle[datetime] = Bundle("times")
some_message_ids = st.sampled_from(MESSAGE_IDS) | message_ids
past_times = st.sampled_from(TIMES) | times
some_times = past_times | st.just(AHEAD)

new_conversations = st.fixed_dictionaries(
    {"user_id": users},
    optional={
        "id": st.sampled_from(CONVERSATION_IDS) | conversation_ids,
        "resource_id": resources,
        "title": titles,
        "metadata": metadatas,
        "created_at": past_times,
        "updated_at": past_times,
    },
)
new_messages = st.fixed_dictionaries(
    {"role": roles, "content": st.sampled_from(CONTENTS)},
    optional={
        "id": some_message_ids,
        "type": types,
        "metadata": metadatas,
        "created_at": some_times,
    },
)
updates = st.fixed_dictionaries(
    {},
    optional={
        "title": titles,
        "metadata": st.none() | metadatas,
        "resource_id": resources,
        "user_id": users,
        "touch": st.booleans(),
    },
)
queries = st.fixed_dictionaries(
    {},
    optional={
        "resource_id": st.none() | resources,
        "limit": limits,
        "offset": counts,
        "order_by": fields,
        "order_direction": directions,
    },
)
builder_steps = st.lists(
    st.tuples(st.just("limit"), limits)
    | st.tuples(st.just("offset"), counts)
    | st.tuples(st.just("resource"), st.none() | resources)
    | st.tuples(st.just("order_by"), fields, directions),
    max_size=5,
)
# Mostly one filter at a time, since all together match nothing.
filters = {
    "before": some_times,
    "after": some_times,
    "roles": st.lists(roles, max_size=3),
    "types": st.lists(types, max_size=2),
}
readings = st.builds(
    lambda filtered, rest: {**filtered, **rest},
    st.one_of(
        *(st.fixed_dictionaries({name: values}) for name, values in filters.items()),
        st.fixed_dictionaries({}, optional=filters),
    ),
    st.fixed_dictionaries({"include_archived": st.booleans()}, optional={"limit": limits}),
)
parts = st.fixed_dictionaries({"include_archived": st.booleans()}, optional={"limit": limits, "offset": counts})

Step: TypeAlias = tuple[Any, ...]
Ending: TypeAlias = Callable[[UserConversations], Coroutine[Any, Any, list[Conversation]]]
# The builder's steps, and the corresponding arguments of a query.
BUILDER_STEPS: Final = {
    "limit": ["limit"],
    "offset": ["offset"],
    "resource": ["resource_id"],
    "order_by": ["order_by", "order_direction"],
}

EXPECTED_ERRORS: Final = ConversationNotFoundError, ConversationExistsError
# VoltAgent has no such verb: it takes a dict in camelCase, and has one name.
OUR_OWN: Final = frozenset({"ensure_conversation"})
VIEW_NAMES: Final = {
    "get_user_conversation": "get_conversation",
    "get_conversations_by_user_id": "query_conversations",
    "get_paginated_user_conversations": "get_paginated_conversations",
    "get_user_conversations": "get_conversations",
}


async def executed(builder: UserConversations) -> list[Conversation]:
    return await builder.execute()


async def awaited(builder: UserConversations) -> list[Conversation]:
    return await builder


async def walked(builder: UserConversations) -> list[Conversation]:
    return [each async for each in builder]


def spelled(kind: type[Conversation | Message], given: Given, spelling: Spelling) -> Conversation | Message | Given:
    """Return the fields in this spelling: a model, or a dict in one of the two spellings."""
    if spelling == "camelCase":
        return {to_camel(name): value for name, value in given.items()}
    if spelling == "for_user":  # the view has its own user
        return {name: value for name, value in given.items() if name != "user_id"}
    return kind(**given)


# --- comparison of both -------------------------------------------------------------------------------------------


class World:
    """A storage with its own tables and event loop."""

    def __init__(self, storage_limit: int | None, on_limit: OnLimit) -> None:
        self.storage_limit: Final = storage_limit
        self.on_limit: Final[OnLimit] = on_limit
        self._schema = temporary_schema_name()
        self._runner = asyncio.Runner()
        self.storage = PostgresStorage(
            server().dsn, schema=self._schema, storage_limit=storage_limit, on_limit=on_limit, max_connections=1
        )

    def run(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        return self._runner.run(call)

    async def empty(self) -> None:
        """Delete all rows, which is far cheaper than new tables for each example."""
        names = (
            "conversations",
            "conversation_memory",
            "changed_lines",
            "messages",
            "payloads",
            "shares",
            "summaries",
            "leases",
            "answers",
            "answer_pieces",
        )
        tables = [f"{self._schema}.voltagent_memory_{name}" for name in names]
        async with self.storage.transaction() as tx:
            await tx.connection.execute(f"TRUNCATE {', '.join(tables)}")

    async def _close(self) -> None:
        await self.storage.close()
        await drop_schema(self._schema)

    def close(self) -> None:
        with self._runner:
            self.run(self._close())


# --- preconditions, without which most conversations and results would be empty --------------------------------------


def has_room(self: StorageAndModel) -> bool:
    """Return whether there are few conversations; with many, each has hardly any messages."""
    return len(self.model.conversations) < 4


def has_messages(self: StorageAndModel) -> bool:
    return any(each.messages for each in self.model.conversations.values())


def has_much_to_lose(self: StorageAndModel) -> bool:
    """Return whether so many messages are stored that some can be deleted."""
    limit = self.model.storage_limit
    much = 8 if limit is None else min(8, 2 * limit)
    return sum(len(each.messages) for each in self.model.conversations.values()) >= much


with_messages: st.SearchStrategy[str] = st.runner().flatmap(
    lambda self: st.sampled_from([each.value.id for each in self.model.conversations.values() if each.messages])
)


class StorageAndModel(RuleBasedStateMachine):
    """Calls both in any spelling, and compares the results."""

    world: ClassVar[World]
    changed = False

    @initialize()
    def two_conversations(self) -> None:
        self.world.run(self.world.empty())
        self.model = Model(self.world.storage_limit, self.world.on_limit)
        for conversation_id, user_id in zip(CONVERSATION_IDS[:2], ["ada", "bob"], strict=True):
            self.create_conversation("snake_case", {"id": conversation_id, "user_id": user_id, "created_at": TIMES[0]})
            self.add_messages("snake_case", conversation_id, "its user", FIRST_MESSAGES)

    @initialize(target=conversation_ids)
    def ids_of_conversations(self) -> MultipleResults[str]:
        return multiple(*CONVERSATION_IDS)

    @initialize(target=message_ids)
    def ids_of_messages(self) -> MultipleResults[str]:
        return multiple(*MESSAGE_IDS)

    @initialize(target=times)
    def times_of_the_callers(self) -> MultipleResults[datetime]:
        return multiple(*TIMES)

    @rule(target=times)
    def the_latest_time_that_the_database_set(self) -> datetime:
        return self.model.now

    # --- querying ---------------------------------------------------------------------------------------------

    def user_id(self, caller: Caller, conversation_id: str) -> str | None:
        """Return the id with which the caller asks about the conversation; None for trusted code."""
        found = self.model.get(conversation_id)
        owner = "ada" if found is None else found.user_id
        others = {"trusted code": None, "another user": "bob" if owner == "ada" else "ada"}
        return others.get(caller, owner)

    def call(self, spelling: Spelling, name: str, **arguments: Any) -> Any:
        """Call the method. A user's view is called without the user's id; trusted code has no view."""
        whose = "owner" if "owner" in arguments else "user_id"
        if arguments.get(whose, ANY_USER) is None:
            arguments[whose] = ANY_USER
        if spelling == "camelCase" and name not in OUR_OWN:
            return getattr(self.world.storage, to_camel(name))(
                **{to_camel(key): value for key, value in arguments.items()}
            )
        if spelling != "for_user" or arguments.get(whose, ANY_USER) is ANY_USER:
            return getattr(self.world.storage, name)(**arguments)
        view = self.world.storage.for_user(arguments.pop(whose))
        return getattr(view, VIEW_NAMES.get(name, name))(**arguments)

    def ask(self, spelling: Spelling, name: str, **arguments: Any) -> Any:
        """Return the result, or an expected error."""

        async def answer() -> Any:
            try:
                return await self.call(spelling, name, **arguments)
            except EXPECTED_ERRORS as error:
                return error

        return self.world.run(answer())

    def compare(self, answer: object, model: Callable[[], object]) -> None:
        """Compare texts, which distinguish True, 1 and 1.0, and compare errors, too."""
        expected: object
        try:
            expected = model()
        except EXPECTED_ERRORS as error:
            expected = error

        assert repr(answer) == repr(expected)

    @invariant()
    def the_same_is_stored(self) -> None:
        if not self.changed:
            return
        self.changed = False
        everything = self.ask("snake_case", "query_conversations", limit=None)
        self.compare(everything, partial(self.model.query, limit=None))
        for conversation, include_archived in product(everything, [True, False]):
            whole: Given = {"limit": None, "include_archived": include_archived}
            messages = self.ask("snake_case", "get_conversation_messages", conversation_id=conversation.id, **whole)
            self.compare(messages, partial(self.model.oldest, conversation.id, None, **whole))

    def teardown(self) -> None:
        """check() finds nothing wrong in what the calls have left; it works on one server only."""
        if citus.DSN is None:
            assert self.world.run(self.world.storage.check(read_files=True)) == []

    # --- one conversation -------------------------------------------------------------------------------------

    @precondition(has_room)
    @rule(target=conversation_ids, spelling=spellings, given=new_conversations)
    def create_conversation(self, spelling: Spelling, given: Given) -> MultipleResults[str]:
        return self.make("create_conversation", spelling, given, self.model.create)

    @precondition(has_room)
    @rule(target=conversation_ids, spelling=spellings, given=new_conversations)
    def ensure_conversation(self, spelling: Spelling, given: Given) -> MultipleResults[str]:
        return self.make("ensure_conversation", spelling, given, self.model.ensure)

    def make(
        self, name: str, spelling: Spelling, given: Given, model: Callable[[Given], Conversation]
    ) -> MultipleResults[str]:
        """Create or ensure a conversation. Returns its id if it is new."""
        user = {"user_id": given["user_id"]} if spelling == "for_user" else {}
        answer = self.ask(spelling, name, conversation=spelled(Conversation, given, spelling), **user)
        made = isinstance(answer, Conversation) and answer.id not in self.model.conversations
        known = {"id": answer.id, **given} if made else given
        if made and "created_at" not in given:
            self.model.learn(answer.created_at)
        self.compare(answer, lambda: model(known))
        self.changed = True
        return multiple(answer.id) if made else multiple()

    @rule(spelling=spellings, conversation_id=conversation_ids, caller=callers)
    def get_conversation(self, spelling: Spelling, conversation_id: str, caller: Caller) -> None:
        user_id = self.user_id(caller, conversation_id)
        if user_id is None:
            answer = self.ask(spelling, "get_conversation", conversation_id=conversation_id)
        else:
            answer = self.ask(spelling, "get_user_conversation", conversation_id=conversation_id, user_id=user_id)
        self.compare(answer, lambda: self.model.get(conversation_id, user_id))

    @rule(spelling=spellings, conversation_id=conversation_ids, caller=callers, given=updates)
    def update_conversation(self, spelling: Spelling, conversation_id: str, caller: Caller, given: Given) -> None:
        owner = self.user_id(caller, conversation_id)
        if spelling == "for_user":  # a user cannot give a conversation away
            given = {name: value for name, value in given.items() if name != "user_id"}
        answer = self.ask(spelling, "update_conversation", conversation_id=conversation_id, owner=owner, **given)
        if isinstance(answer, Conversation) and given.get("touch", True):
            self.model.learn(answer.updated_at)
        self.compare(answer, lambda: self.model.update(conversation_id, owner, given))
        self.changed = True

    @precondition(has_much_to_lose)
    @rule(spelling=spellings, conversation_id=conversation_ids, caller=callers)
    def delete_conversation(self, spelling: Spelling, conversation_id: str, caller: Caller) -> None:
        owner = self.user_id(caller, conversation_id)
        answer = self.ask(spelling, "delete_conversation", conversation_id=conversation_id, owner=owner)
        self.compare(answer, lambda: self.model.delete(conversation_id, owner))
        self.changed = True

    # --- many conversations -----------------------------------------------------------------------------------

    @rule(spelling=spellings, resource_id=resources)
    def get_conversations(self, spelling: Spelling, resource_id: str) -> None:
        answer = self.ask(spelling, "get_conversations", resource_id=resource_id)
        self.compare(answer, lambda: self.model.of_resource(resource_id))

    @rule(spelling=spellings, user_id=users_or_all, given=queries)
    def query_conversations(self, spelling: Spelling, user_id: str | None, given: Given) -> None:
        answer = self.ask(spelling, "query_conversations", user_id=user_id, **given)
        self.compare(answer, lambda: self.model.query(user_id=user_id, **given))

    @rule(spelling=spellings, user_id=users, given=queries)
    def get_conversations_by_user_id(self, spelling: Spelling, user_id: str, given: Given) -> None:
        answer = self.ask(spelling, "get_conversations_by_user_id", user_id=user_id, **given)
        self.compare(answer, lambda: self.model.query(user_id=user_id, **given))

    @rule(spelling=spellings, user_id=users_or_all, resource_id=st.none() | resources)
    def count_conversations(self, spelling: Spelling, user_id: str | None, resource_id: str | None) -> None:
        answer = self.ask(spelling, "count_conversations", user_id=user_id, resource_id=resource_id)
        self.compare(answer, lambda: self.model.count(user_id, resource_id))

    @rule(spelling=spellings, user_id=users, page=st.integers(1, 3), page_size=st.integers(1, 3))
    def get_paginated_user_conversations(self, spelling: Spelling, user_id: str, page: int, page_size: int) -> None:
        name = "get_paginated_user_conversations"
        answer = self.ask(spelling, name, user_id=user_id, page=page, page_size=page_size)
        self.compare(answer, lambda: self.model.page(user_id, page, page_size))

    @rule(
        spelling=spellings,
        user_id=users,
        steps=builder_steps,
        ending=st.sampled_from([executed, awaited, walked]),
    )
    def get_user_conversations(self, spelling: Spelling, user_id: str, steps: list[Step], ending: Ending) -> None:
        builder = self.call(spelling, "get_user_conversations", user_id=user_id)
        asked: dict[str, Any] = {"limit": None}
        for name, *values in steps:
            builder = getattr(builder, to_camel(name) if spelling == "camelCase" else name)(*values)
            asked.update(zip(BUILDER_STEPS[name], values, strict=True))

        answer = self.world.run(ending(builder))
        self.compare(answer, lambda: self.model.query(user_id=user_id, **asked))

    # --- messages ---------------------------------------------------------------------------------------------

    @rule(target=message_ids, spelling=spellings, conversation_id=conversation_ids, caller=callers, given=new_messages)
    def add_message(
        self, spelling: Spelling, conversation_id: str, caller: Caller, given: Given
    ) -> MultipleResults[str]:
        user_id = self.user_id(caller, conversation_id)
        message = spelled(Message, given, spelling)
        answer = self.ask(spelling, "add_message", message=message, user_id=user_id, conversation_id=conversation_id)
        known = self.learn_from_adding([given], answer, conversation_id)
        self.compare(answer, lambda: self.model.add(known, user_id, conversation_id)[0])
        return multiple(*(each["id"] for each in known if "id" in each))

    @rule(
        target=message_ids,
        spelling=spellings,
        conversation_id=conversation_ids,
        caller=callers,
        given=st.lists(new_messages, max_size=12),
    )
    def add_messages(
        self, spelling: Spelling, conversation_id: str, caller: Caller, given: list[Given]
    ) -> MultipleResults[str]:
        user_id = self.user_id(caller, conversation_id)
        messages = [spelled(Message, each, spelling) for each in given]
        answer = self.ask(spelling, "add_messages", messages=messages, user_id=user_id, conversation_id=conversation_id)
        known = self.learn_from_adding(given, answer, conversation_id)
        self.compare(answer, lambda: self.model.add(known, user_id, conversation_id))
        return multiple(*(each["id"] for each in known if "id" in each))

    def learn_from_adding(self, given: list[Given], answer: object, conversation_id: str) -> list[Given]:
        """
        Return the messages with the ids under which they were stored.

        The first one without a time of its own has the time of the beginning, and the conversation that of the end.
        """
        answers = answer if isinstance(answer, list) else [answer]
        stored = [each for each in answers if isinstance(each, Message)]
        if not stored:
            return given
        self.changed = True
        there = set(self.model.conversations[conversation_id].messages)
        for number, (message, each) in enumerate(zip(stored, given, strict=True)):
            if "created_at" not in each and message.id not in there:
                self.model.learn_beginning(message.created_at - timedelta(microseconds=number))
                break
            there.add(message.id)  # one that is added twice in the call has the time of the first
        self.model.learn(self.ask("snake_case", "get_conversation", conversation_id=conversation_id).updated_at)
        return [{"id": message.id, **each} for message, each in zip(stored, given, strict=True)]

    @rule(
        spelling=spellings,
        conversation_id=conversation_ids,
        caller=callers,
        ids=st.lists(some_message_ids, max_size=3),
    )
    def delete_messages(self, spelling: Spelling, conversation_id: str, caller: Caller, ids: list[str]) -> None:
        user_id = self.user_id(caller, conversation_id)
        answer = self.ask(spelling, "delete_messages", ids=ids, user_id=user_id, conversation_id=conversation_id)
        self.compare(answer, lambda: self.model.delete_messages(ids, user_id, conversation_id))
        self.changed = True

    @precondition(has_much_to_lose)
    @rule(spelling=spellings, conversation_id=conversation_ids, caller=callers, all_of_the_user=st.booleans())
    def clear_messages(self, spelling: Spelling, conversation_id: str, caller: Caller, all_of_the_user: bool) -> None:
        user_id = self.user_id(caller, conversation_id)
        where = {} if all_of_the_user and user_id is not None else {"conversation_id": conversation_id}
        answer = self.ask(spelling, "clear_messages", user_id=user_id, **where)
        self.compare(answer, lambda: self.model.clear(user_id, **where))
        self.changed = True

    @precondition(has_messages)
    @rule(spelling=spellings, conversation_id=conversation_ids | with_messages, caller=callers, given=readings)
    def get_messages(self, spelling: Spelling, conversation_id: str, caller: Caller, given: Given) -> None:
        user_id = self.user_id(caller, conversation_id)
        answer = self.ask(spelling, "get_messages", user_id=user_id, conversation_id=conversation_id, **given)
        self.compare(answer, lambda: self.model.newest(user_id, conversation_id, **given))

    @precondition(has_messages)
    @rule(spelling=spellings, conversation_id=conversation_ids | with_messages, caller=callers, given=parts)
    def get_conversation_messages(self, spelling: Spelling, conversation_id: str, caller: Caller, given: Given) -> None:
        owner = self.user_id(caller, conversation_id)
        answer = self.ask(spelling, "get_conversation_messages", conversation_id=conversation_id, owner=owner, **given)
        self.compare(answer, lambda: self.model.oldest(conversation_id, owner, **given))


@pytest.fixture
def world(storage_limit: int | None, on_limit: OnLimit) -> Iterator[World]:
    world = World(storage_limit, on_limit)
    yield world
    world.close()


@pytest.mark.hypothesis
@pytest.mark.parametrize("on_limit", ["delete", "archive"])
@pytest.mark.parametrize("storage_limit", [None, 0, 1, 3, 10])
def test_a_storage_and_its_model_never_differ(world: World) -> None:
    """The storage returns the same as the model for any calls in any order and spelling."""
    # The name is the seed where the suite is derandomised: each world has steps of its own.
    name = f"{world.storage_limit} {world.on_limit}"
    machine = type(name, (StorageAndModel,), {"world": world})
    run_state_machine_as_test(machine, settings=examples(8, steps=50, more=3))
