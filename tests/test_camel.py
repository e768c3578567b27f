"""VoltAgent's spelling: the same names, parameters, defaults and effects as Python's, whatever is added to either."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, get_type_hints

import pytest
from pydantic import BaseModel
from pydantic.alias_generators import to_camel, to_snake

from voltmem import (
    AgentHistoryEntry,
    AgentHistoryPage,
    AgentHistoryStep,
    Conversation,
    ConversationPage,
    InvalidOptionError,
    Message,
    PostgresStorage,
    Share,
    SharedConversation,
    TimelineEvent,
    UserConversations,
    UserStorage,
)
from voltmem._voltagent import CamelOptions

# --- methods ------------------------------------------------------------------------------------------------------

ONE_SPELLING: Mapping[type, Mapping[str, str]] = {
    PostgresStorage: {
        "open": "life cycle: VoltAgent opens in its constructor and has no name for it",
        "close": "life cycle: VoltAgent's name too",
        "transaction": "a context of asyncpg's kind: VoltAgent lets no transaction out",
        "conversation": "a handle of our own for agents: VoltAgent's hand the ids over with each call",
        "search": "one word in both",
        "watch": "one word in both",
        "bind": "takes asyncpg's connection, which VoltAgent knows nothing of",
    },
    UserStorage: {
        "conversation": "a handle of our own for agents: VoltAgent's hand the ids over with each call",
        "search": "one word in both",
        "watch": "one word in both",
    },
    UserConversations: {
        "limit": "VoltAgent's name too",
        "offset": "a step of our own, named like the option",
        "resource": "a step of our own, whose argument stands without a name",
        "execute": "VoltAgent's name too",
    },
}
"""Public names of one word, with the reason why one spelling is enough."""


VOLTAGENTS_NAMES = {
    PostgresStorage: {
        "addMessage",
        "addMessages",
        "clearMessages",
        "close",
        "countConversations",
        "createConversation",
        "deleteConversation",
        "deleteMessages",
        "getConversation",
        "getConversationMessages",
        "getConversations",
        "getConversationsByUserId",
        "getMessages",
        "getPaginatedUserConversations",
        "getUserConversation",
        "getUserConversations",
        "queryConversations",
        "updateConversation",
        "addHistoryEntry",
        "addHistoryStep",
        "addTimelineEvent",
        "getAllHistoryEntriesByAgent",
        "getHistoryEntry",
        "getHistoryStep",
        "updateHistoryEntry",
        "updateHistoryStep",
    },
    UserConversations: {"limit", "orderBy", "execute"},
}


class Pair(NamedTuple):
    """A method's two names."""

    owner: type
    snake: str
    camel: str

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.snake}"


def public_names(owner: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(owner, callable) if not name.startswith("_")}


def is_snake_case(name: str) -> bool:
    return "_" in name and name.islower()


PAIRS = [
    Pair(owner, name, to_camel(name))
    for owner in ONE_SPELLING
    for name in sorted(public_names(owner))
    if is_snake_case(name)
]
every_pair = pytest.mark.parametrize("pair", PAIRS, ids=str)


@pytest.mark.parametrize("owner", ONE_SPELLING)
def test_every_public_name_has_its_twin_in_the_other_spelling(owner: type) -> None:
    """Each snake_case method has a camelCase one and the other way round; names of one word are listed above."""
    names = public_names(owner) - ONE_SPELLING[owner].keys()

    twins = {to_camel(name) if is_snake_case(name) else to_snake(name) for name in names}

    assert twins == names
    assert {name for name in public_names(owner) if to_camel(name) == to_snake(name)} == ONE_SPELLING[owner].keys()


@pytest.mark.parametrize("owner", VOLTAGENTS_NAMES)
def test_every_name_of_voltagent_is_there(owner: type) -> None:
    """A VoltAgent program's calls all exist, whatever else is renamed."""
    assert VOLTAGENTS_NAMES[owner] <= public_names(owner)


def parameters_of(method: Callable[..., object], spelled: Callable[[str], str]) -> list[tuple[object, ...]]:
    """Name, kind, default and type of each parameter, and the type of what comes back."""
    hints = get_type_hints(method)
    parameters = inspect.signature(method).parameters.values()
    return [
        *((spelled(each.name), each.kind, each.default, hints.get(each.name)) for each in parameters),
        ("return", inspect.iscoroutinefunction(method), hints["return"]),
    ]


@every_pair
def test_both_spellings_take_and_return_the_same(pair: Pair) -> None:
    """Parameters have the same names (camelised), kinds, defaults and types, in the same order."""
    snake, camel = getattr(pair.owner, pair.snake), getattr(pair.owner, pair.camel)

    expected = parameters_of(snake, to_camel)

    assert parameters_of(camel, str) == expected


ANSWER = object()


def recording(pair: Pair) -> tuple[Any, list[Mapping[str, object]]]:
    """An instance of a subclass that overrides the snake_case method alone, and the arguments that this one hears."""
    overridden = getattr(pair.owner, pair.snake)
    signature = inspect.signature(overridden)
    heard: list[Mapping[str, object]] = []

    def override(*arguments: object, **named: object) -> object:
        heard.append(signature.bind(*arguments, **named).arguments)
        return ANSWER

    async def override_to_await(*arguments: object, **named: object) -> object:
        return override(*arguments, **named)

    is_async = inspect.iscoroutinefunction(overridden)
    subclass: Any = type("Recording", (pair.owner,), {pair.snake: override_to_await if is_async else override})
    return subclass.__new__(subclass), heard  # not initialised: nothing else of it is used


async def called(method: Callable[..., object], named: Mapping[str, object]) -> object:
    answer = method(**named)
    return await answer if inspect.isawaitable(answer) else answer


def a_value_for_each_parameter(pair: Pair) -> dict[str, object]:
    parameters = inspect.signature(getattr(pair.owner, pair.snake)).parameters
    return {name: f"a value for {name}" for name in parameters if name != "self"}


@every_pair
async def test_overriding_the_snake_case_method_changes_the_camel_case_one(pair: Pair) -> None:
    """A subclass that overrides the one has overridden both."""
    instance, _ = recording(pair)
    named = {to_camel(name): value for name, value in a_value_for_each_parameter(pair).items()}

    answer = await called(getattr(instance, pair.camel), named)

    assert answer is ANSWER


@every_pair
async def test_the_camel_case_method_passes_every_argument_on(pair: Pair) -> None:
    """What the camelCase parameters are given arrives in the snake_case parameters of the same names, once."""
    instance, heard = recording(pair)
    values = a_value_for_each_parameter(pair)

    await called(getattr(instance, pair.camel), {to_camel(name): value for name, value in values.items()})

    assert heard == [{"self": instance, **values}]


# --- options ------------------------------------------------------------------------------------------------------

OPTIONS: Mapping[str, tuple[str, object]] = {
    "maxConnections": ("max_connections", 3),
    "tablePrefix": ("table_prefix", "sidebar"),
    "storageLimit": ("storage_limit", None),
    "onLimit": ("on_limit", "archive"),
    "connectTimeout": ("connect_timeout", 1.5),
    "commandTimeout": ("command_timeout", 2.5),
    "retryTimeout": ("retry_timeout", 3.5),
}
"""Each option of two words in both spellings, with a value that is not its default."""

every_option = pytest.mark.parametrize(("camel", "snake", "value"), [(name, *pair) for name, pair in OPTIONS.items()])


def storage_with(**options: Any) -> PostgresStorage:
    """A storage made as by a program that no type checker has seen."""
    return PostgresStorage("postgresql://localhost/app", **options)


def test_every_option_of_two_words_is_spelled_twice() -> None:
    """CamelOptions has the options of PostgresStorage that have two words, of the same types, and no others."""
    hints = get_type_hints(PostgresStorage.__init__, localns={"Pool": object})  # imported for type checkers only

    expected = {to_camel(name): kind for name, kind in hints.items() if is_snake_case(name)}

    assert get_type_hints(CamelOptions) == expected
    assert expected.keys() == OPTIONS.keys()
    assert not CamelOptions.__required_keys__


@every_option
def test_an_option_does_the_same_in_both_spellings(camel: str, snake: str, value: object) -> None:
    """VoltAgent's name for an option sets what Python's sets."""
    in_camel_case = storage_with(**{camel: value})
    in_snake_case = storage_with(**{snake: value})

    assert in_camel_case._options == in_snake_case._options
    assert in_camel_case._options != storage_with()._options


@every_option
def test_an_option_in_both_spellings_is_refused(camel: str, snake: str, value: object) -> None:
    """One option with two values is an error that names both spellings."""
    with pytest.raises(InvalidOptionError, match=f"{camel} and {snake}"):
        storage_with(**{camel: value, snake: value})


@every_option
def test_an_option_in_both_spellings_is_refused_when_one_is_the_default(camel: str, snake: str, value: object) -> None:
    """An option that was given counts as given, also where its value is the one it would have had anyway."""
    default = inspect.signature(PostgresStorage).parameters[snake].default

    with pytest.raises(InvalidOptionError, match=f"{camel} and {snake}"):
        storage_with(**{camel: value, snake: default})


@pytest.mark.parametrize("name", ["maxConnection", "TablePrefix", "table_Prefix", "storagelimit", "Schema", "poolSize"])
def test_an_unknown_option_is_refused_by_its_name(name: str) -> None:
    """An option that neither spelling knows is an error that names it, and never ignored."""
    with pytest.raises(InvalidOptionError, match=f"unknown option '{name}'"):
        storage_with(**{name: "x"})


def test_the_error_for_an_unknown_option_names_all_that_are_known() -> None:
    """Who misspells an option finds the right spelling in the error, whichever option it is."""
    known = {*inspect.signature(PostgresStorage).parameters, *OPTIONS} - {"camel"}

    with pytest.raises(InvalidOptionError) as caught:
        storage_with(shema="app")

    named = set(str(caught.value).partition("known are ")[2].split(", "))
    assert named == known


async def test_voltagents_options_and_dicts_work_in_a_real_storage(dsn: str, schema: str) -> None:
    """A program in VoltAgent's spelling throughout stores, limits and reads, in the tables of its tablePrefix."""
    options: dict[str, Any] = {"maxConnections": 2, "tablePrefix": "sidebar", "storageLimit": 2, "onLimit": "archive"}
    time = datetime(2026, 1, 1, tzinfo=UTC)
    messages = [{"id": f"m{number}", "role": "user", "content": "hi", "createdAt": time} for number in range(3)]
    async with PostgresStorage(connection=dsn, schema=schema, connectTimeout=20.0, **options) as storage:
        await storage.createConversation({"id": "c1", "userId": "ada", "resourceId": "work", "createdAt": time})

        await storage.addMessages(messages, userId="ada", conversationId="c1")

        kept = await storage.getMessages(userId="ada", conversationId="c1")
        all_of_them = await storage.getMessages(userId="ada", conversationId="c1", limit=None, includeArchived=True)
        (conversation,) = await storage.queryConversations(userId="ada", resourceId="work", orderBy="created_at")
    assert [message.id for message in kept] == ["m1", "m2"]
    assert [message.id for message in all_of_them] == ["m0", "m1", "m2"]
    assert {message.createdAt for message in all_of_them} == {conversation.createdAt} == {time}
    async with PostgresStorage(dsn, schema=schema, table_prefix="sidebar", migrate="check") as same_tables:
        assert await same_tables.count_conversations() == 1


# --- models -------------------------------------------------------------------------------------------------------

MORNING = datetime(2026, 1, 1, 8, tzinfo=UTC)
EVENING = datetime(2026, 1, 1, 20, tzinfo=UTC)
CONVERSATION: Mapping[str, Any] = {
    "id": "c1",
    "resource_id": "work",
    "user_id": "ada",
    "title": "Engines",
    "metadata": {"pinned": True},
    "created_at": MORNING,
    "updated_at": EVENING,
}
MESSAGE: Mapping[str, Any] = {
    "id": "m1",
    "role": "tool",
    "content": [{"text": "42"}],
    "type": "tool-result",
    "metadata": {"tokens": 7},
    "created_at": EVENING,
}
PAGE: Mapping[str, Any] = {"conversations": [Conversation(**CONVERSATION)], "page": 2, "page_size": 5, "has_more": True}
STEP: Mapping[str, Any] = {"id": "s1", "type": "tool_call", "name": "add", "content": [0], "arguments": {"a_b": 1}}
EVENT: Mapping[str, Any] = {
    "id": "e1",
    "type": "tool",
    "name": "tool:add",
    "start_time": MORNING,
    "end_time": EVENING,
    "status": "error",
    "status_message": {"message": "too large"},
    "level": "ERROR",
    "version": "2",
    "parent_event_id": "e0",
    "tags": ["sum"],
    "input": 0,
    "output": False,
    "error": "",
    "metadata": [],
    "trace_id": "h1",
}
ENTRY: Mapping[str, Any] = {
    "id": "h1",
    "agent_id": "adder",
    "timestamp": MORNING,
    "status": "error",
    "input": "1 + 1",
    "output": 0,
    "usage": {"totalTokens": 3},
    "metadata": {},
    "user_id": "ada",
    "conversation_id": "c1",
    "steps": [AgentHistoryStep(**STEP)],
    "events": [TimelineEvent(**EVENT)],
}
HISTORY_PAGE: Mapping[str, Any] = {"entries": [AgentHistoryEntry(**ENTRY)], "next_cursor": "x", "has_more": True}
SHARE: Mapping[str, Any] = {"token": "t1", "conversation_id": "c1", "up_to": "m1", "created_at": EVENING}
SHARED: Mapping[str, Any] = {"title": "Engines", "messages": [Message(**MESSAGE)], "next_cursor": "x"}
MODELS: Mapping[type[BaseModel], Mapping[str, Any]] = {
    Conversation: CONVERSATION,
    Message: MESSAGE,
    ConversationPage: PAGE,
    AgentHistoryStep: STEP,
    TimelineEvent: EVENT,
    AgentHistoryEntry: ENTRY,
    AgentHistoryPage: HISTORY_PAGE,
    Share: SHARE,
    SharedConversation: SHARED,
}

every_model = pytest.mark.parametrize(("model", "fields"), MODELS.items(), ids=[each.__name__ for each in MODELS])


def in_camel_case(fields: Mapping[str, object]) -> dict[str, object]:
    return {to_camel(name): value for name, value in fields.items()}


@every_model
def test_a_model_is_built_from_either_spelling(model: type[BaseModel], fields: Mapping[str, object]) -> None:
    """Every field may be given by both of its names, and the results are equal."""
    snake, camel = model(**fields), model(**in_camel_case(fields))

    assert camel == snake
    assert model.model_fields.keys() == camel.model_fields_set == fields.keys()


@every_model
def test_a_models_fields_are_read_in_either_spelling(model: type[BaseModel], fields: Mapping[str, object]) -> None:
    """Every field has both names on the model, with the value that was given."""
    value = model(**fields)

    for name, given in fields.items():
        assert getattr(value, name) == given
        assert getattr(value, to_camel(name)) == given


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (
            Conversation(**CONVERSATION),
            ["id", "resourceId", "userId", "title", "metadata", "createdAt", "updatedAt"],
        ),
        (Message(**MESSAGE), ["id", "role", "content", "type", "metadata", "createdAt"]),
        (ConversationPage(**PAGE), ["conversations", "page", "pageSize", "hasMore"]),
        (AgentHistoryStep(**STEP, role="tool"), ["id", "type", "name", "content", "arguments", "role"]),
        (TimelineEvent(**EVENT), [to_camel(name) for name in EVENT]),
        (AgentHistoryEntry(**ENTRY), ["id", "_agentId", *(to_camel(name) for name in [*ENTRY][2:])]),
        (AgentHistoryPage(**HISTORY_PAGE), ["entries", "nextCursor", "hasMore"]),
        (Share(**SHARE), ["token", "conversationId", "upTo", "createdAt"]),
        (SharedConversation(**SHARED), ["title", "messages", "nextCursor"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseModel) else "",
)
def test_dumping_a_model_by_alias_gives_voltagents_names(value: BaseModel, names: list[str]) -> None:
    """model_dump(by_alias=True) has VoltAgent's names, all the way down, and makes an equal model again."""
    dumped = value.model_dump(by_alias=True)

    assert list(dumped) == names
    assert all("user_id" not in conversation for conversation in dumped.get("conversations", []))
    assert type(value).model_validate(dumped) == value
    assert type(value).model_validate_json(value.model_dump_json(by_alias=True)) == value
