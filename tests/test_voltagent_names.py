"""VoltAgent's names all exist, with the parameters, defaults and effects of the snake_case methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, get_type_hints

import pytest
from pydantic import BaseModel
from pydantic.alias_generators import to_camel, to_snake

import voltmem
from voltmem import (
    AgentHistoryEntry,
    AgentHistoryPage,
    AgentHistoryStep,
    Conversation,
    ConversationPage,
    InvalidOptionError,
    Message,
    MigrationResult,
    PostgresStorage,
    Share,
    SharedConversation,
    Storage,
    TimelineEvent,
    UserConversations,
)
from voltmem._values import spelled
from voltmem._voltagent import CamelOptions

# --- methods ------------------------------------------------------------------------------------------------------

VOLTAGENTS: Mapping[type, frozenset[str]] = {
    # PostgresStorage of 0.1 and the storage adapter of 1.x and 2.x, all releases from 0.1.0 to 2.1.2.
    PostgresStorage: frozenset(
        {
            "addHistoryEntry",
            "addHistoryStep",
            "addMessage",
            "addMessages",
            "addTimelineEvent",
            "clearMessages",
            "close",
            "countConversations",
            "createConversation",
            "deleteConversation",
            "deleteMessages",
            "deleteWorkingMemory",
            "getAllHistoryEntriesByAgent",
            "getConversation",
            "getConversationMessages",
            "getConversations",
            "getConversationsByUserId",
            "getHistoryEntry",
            "getHistoryStep",
            "getMessages",
            "getPaginatedUserConversations",
            "getUserConversation",
            "getUserConversations",
            "getWorkingMemory",
            "migrateConversationSchema",
            "queryConversations",
            "setWorkingMemory",
            "updateConversation",
            "updateHistoryEntry",
            "updateHistoryStep",
        }
    ),
    UserConversations: frozenset({"execute", "limit", "orderBy"}),
}
"""The calls of VoltAgent's classes. A verb that VoltAgent lacks has one name, Python's."""

NOT_YET: Mapping[str, str] = {
    **dict.fromkeys(("getWorkflowState", "setWorkflowState", "updateWorkflowState"), "workflow states, 1.0 on"),
    **dict.fromkeys(("getSuspendedWorkflowStates", "queryWorkflowRuns"), "workflow states, 1.0 and 2.0 on"),
    **dict.fromkeys(("saveConversationSteps", "getConversationSteps"), "conversation steps, 1.1 on"),
    **dict.fromkeys(
        (
            *("storeWorkflowHistory", "getWorkflowHistory", "getWorkflowHistoryByWorkflowId", "updateWorkflowHistory"),
            *("deleteWorkflowHistory", "storeWorkflowStep", "getWorkflowStep", "getWorkflowSteps"),
            *("updateWorkflowStep", "deleteWorkflowStep", "storeWorkflowTimelineEvent", "getWorkflowTimelineEvent"),
            *("getWorkflowTimelineEvents", "deleteWorkflowTimelineEvent", "getAllWorkflowIds", "getWorkflowStats"),
            *("getWorkflowHistoryWithStepsAndEvents", "deleteWorkflowHistoryWithRelated"),
            "cleanupOldWorkflowHistories",
        ),
        "history of workflows, 0.1.8 to 0.1.12 only: 1.0 replaced it by workflow states",
    ),
}
"""VoltAgent's names that are missing here, by subject. When one is added, move it to the table above."""


class Pair(NamedTuple):
    """The two names of a method."""

    owner: type
    snake: str
    camel: str

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.camel}"


PAIRS = [
    Pair(owner, to_snake(name), name)
    for owner, names in VOLTAGENTS.items()
    for name in sorted(names)
    if to_snake(name) != name
]
every_pair = pytest.mark.parametrize("pair", PAIRS, ids=str)


def is_camel_case(name: str) -> bool:
    return name[0].islower() and not name.islower()


@pytest.mark.parametrize("owner", VOLTAGENTS, ids=lambda owner: owner.__name__)
def test_every_name_of_voltagent_is_there(owner: type) -> None:
    """All method names of VoltAgent exist."""
    assert [name for name in sorted(VOLTAGENTS[owner]) if not callable(getattr(owner, name, None))] == []


def test_what_is_not_there_yet_is_not_there() -> None:
    """The listed missing names are missing: when one is added, it must leave the list."""
    assert [name for name in NOT_YET if hasattr(PostgresStorage, name)] == []


PUBLIC_CLASSES: list[type] = [each for name in voltmem.__all__ if inspect.isclass(each := getattr(voltmem, name))]


@pytest.mark.parametrize("owner", PUBLIC_CLASSES, ids=lambda owner: owner.__name__)
def test_no_other_name_is_in_camel_case(owner: type) -> None:
    """No other name is in camelCase: verbs that VoltAgent lacks have one name, and so has everything in for_user()."""
    allowed = VOLTAGENTS[PostgresStorage] if issubclass(owner, Storage) else VOLTAGENTS.get(owner, frozenset())
    camel = {name for name in dir(owner) if not name.startswith("_") and is_camel_case(name)}
    read_in_both = {name for name in camel if isinstance(getattr(owner, name), spelled)}

    assert camel - read_in_both <= allowed


def parameters_of(method: Callable[..., object], spelled: Callable[[str], str]) -> list[tuple[object, ...]]:
    """Return name, kind, default and type of each parameter, and the type of the result."""
    hints = get_type_hints(method)
    parameters = inspect.signature(method).parameters.values()
    return [
        *((spelled(each.name), each.kind, each.default, hints.get(each.name)) for each in parameters),
        ("return", inspect.iscoroutinefunction(method), hints["return"]),
    ]


@every_pair
def test_both_names_take_and_return_the_same(pair: Pair) -> None:
    """Both names have the same parameters (camelised), kinds, defaults and types, in the same order."""
    snake, camel = getattr(pair.owner, pair.snake), getattr(pair.owner, pair.camel)

    expected = parameters_of(snake, to_camel)

    assert parameters_of(camel, str) == expected


ANSWER = object()


def recording(pair: Pair) -> tuple[Any, list[Mapping[str, object]]]:
    """Return an instance of a subclass that overrides only the snake_case method, and the arguments it receives."""
    overridden = getattr(pair.owner, pair.snake)
    signature = inspect.signature(overridden)
    received: list[Mapping[str, object]] = []

    def override(*arguments: object, **named: object) -> object:
        received.append(signature.bind(*arguments, **named).arguments)
        return ANSWER

    async def override_to_await(*arguments: object, **named: object) -> object:
        return override(*arguments, **named)

    is_async = inspect.iscoroutinefunction(overridden)
    subclass: Any = type("Recording", (pair.owner,), {pair.snake: override_to_await if is_async else override})
    return subclass.__new__(subclass), received  # not initialised: nothing else of it is used


async def called(method: Callable[..., object], named: Mapping[str, object]) -> object:
    answer = method(**named)
    return await answer if inspect.isawaitable(answer) else answer


def a_value_for_each_parameter(pair: Pair) -> dict[str, object]:
    parameters = inspect.signature(getattr(pair.owner, pair.snake)).parameters
    return {name: f"a value for {name}" for name in parameters if name != "self"}


@every_pair
async def test_overriding_the_snake_case_method_changes_the_camel_case_one(pair: Pair) -> None:
    """A subclass that overrides the snake_case method also overrides the camelCase one."""
    instance, _ = recording(pair)
    named = {to_camel(name): value for name, value in a_value_for_each_parameter(pair).items()}

    answer = await called(getattr(instance, pair.camel), named)

    assert answer is ANSWER


@every_pair
async def test_the_camel_case_method_passes_every_argument_on(pair: Pair) -> None:
    """Each argument of the camelCase method is passed on to the parameter of the same name, once."""
    instance, received = recording(pair)
    values = a_value_for_each_parameter(pair)

    await called(getattr(instance, pair.camel), {to_camel(name): value for name, value in values.items()})

    assert received == [{"self": instance, **values}]


# --- options ------------------------------------------------------------------------------------------------------

OPTIONS: Mapping[str, tuple[str, object]] = {
    "maxConnections": ("max_connections", 3),
    "tablePrefix": ("table_prefix", "sidebar"),
    "storageLimit": ("storage_limit", None),
}
"""VoltAgent's options of two words, with another value than the default; connection and debug have one name."""

every_option = pytest.mark.parametrize(("camel", "snake", "value"), [(name, *pair) for name, pair in OPTIONS.items()])


def storage_with(**options: Any) -> PostgresStorage:
    """Make a storage as an untyped program does."""
    return PostgresStorage("postgresql://localhost/app", **options)


def test_voltagents_options_have_the_types_of_ours() -> None:
    """CamelOptions has VoltAgent's options of two words, each with the type of the snake_case one, and no others."""
    hints = get_type_hints(PostgresStorage.__init__, localns={"Pool": object})  # imported for type checkers only

    assert get_type_hints(CamelOptions) == {camel: hints[snake] for camel, (snake, _) in OPTIONS.items()}
    assert not CamelOptions.__required_keys__


@every_option
def test_an_option_does_the_same_in_both_spellings(camel: str, snake: str, value: object) -> None:
    """VoltAgent's name for an option sets the same as Python's."""
    in_camel_case = storage_with(**{camel: value})
    in_snake_case = storage_with(**{snake: value})

    assert in_camel_case._options == in_snake_case._options
    assert in_camel_case._options != storage_with()._options


@every_option
def test_an_option_in_both_spellings_is_refused(camel: str, snake: str, value: object) -> None:
    """An option in both spellings is an error that names both."""
    with pytest.raises(InvalidOptionError, match=f"{camel} and {snake}"):
        storage_with(**{camel: value, snake: value})


@every_option
def test_an_option_in_both_spellings_is_refused_when_one_is_the_default(camel: str, snake: str, value: object) -> None:
    """An option counts as given in both spellings even if its value is the default."""
    default = inspect.signature(PostgresStorage).parameters[snake].default

    with pytest.raises(InvalidOptionError, match=f"{camel} and {snake}"):
        storage_with(**{camel: value, snake: default})


@pytest.mark.parametrize("name", ["maxConnection", "TablePrefix", "storagelimit", "Schema", "onLimit", "retryTimeout"])
def test_an_unknown_option_is_refused_by_its_name(name: str) -> None:
    """An unknown option is an error that names it."""
    with pytest.raises(InvalidOptionError, match=f"unknown option '{name}'"):
        storage_with(**{name: "x"})


def test_the_error_for_an_unknown_option_names_all_that_are_known() -> None:
    """The error for an unknown option names all valid options."""
    known = {*inspect.signature(PostgresStorage).parameters, *OPTIONS} - {"camel"}

    with pytest.raises(InvalidOptionError) as caught:
        storage_with(shema="app")

    named = set(str(caught.value).partition("options are ")[2].split(", "))
    assert named == known


async def test_voltagents_options_and_dicts_work_in_a_real_storage(dsn: str, schema: str) -> None:
    """A program in VoltAgent's spelling stores, limits and reads, in tables with its tablePrefix."""
    options: dict[str, Any] = {"maxConnections": 2, "tablePrefix": "sidebar", "storageLimit": 2, "on_limit": "archive"}
    time = datetime(2026, 1, 1, tzinfo=UTC)
    messages = [{"id": f"m{number}", "role": "user", "content": "hi", "createdAt": time} for number in range(3)]
    async with PostgresStorage(connection=dsn, schema=schema, **options) as storage:
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

VOLTAGENTS_MODELS = [Conversation, Message, ConversationPage, AgentHistoryEntry, AgentHistoryStep, TimelineEvent]

every_model = pytest.mark.parametrize(("model", "fields"), MODELS.items(), ids=[each.__name__ for each in MODELS])


def in_camel_case(fields: Mapping[str, object]) -> dict[str, object]:
    return {to_camel(name): value for name, value in fields.items()}


@every_model
def test_a_model_is_built_from_either_spelling(model: type[BaseModel], fields: Mapping[str, object]) -> None:
    """Every field may be given by both of its names, and the models are equal."""
    snake, camel = model(**fields), model(**in_camel_case(fields))

    assert camel == snake
    assert model.model_fields.keys() == camel.model_fields_set == fields.keys()


@pytest.mark.parametrize("model", VOLTAGENTS_MODELS, ids=lambda model: model.__name__)
def test_the_fields_of_voltagents_models_are_read_in_either_spelling(model: type[BaseModel]) -> None:
    """Every field of VoltAgent's models can be read by both names; no other attribute has two."""
    fields = MODELS[model]
    value = model(**fields)

    for name, given in fields.items():
        assert getattr(value, name) == given
        assert getattr(value, to_camel(name)) == given
    spelled_twice = {name for name in dir(model) if isinstance(getattr(model, name, None), spelled)}
    assert spelled_twice == {to_camel(name) for name in fields if to_camel(name) != name}


def test_only_voltagents_models_have_fields_with_two_names() -> None:
    """Models that VoltAgent lacks have Python's names only; their JSON is in camelCase, too."""
    twice = {each for each in PUBLIC_CLASSES if any(isinstance(member, spelled) for member in vars(each).values())}

    assert twice <= {*VOLTAGENTS_MODELS, MigrationResult}


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
    """model_dump(by_alias=True) has VoltAgent's names at all levels, and can be validated to an equal model."""
    dumped = value.model_dump(by_alias=True)

    assert list(dumped) == names
    assert all("user_id" not in conversation for conversation in dumped.get("conversations", []))
    assert type(value).model_validate(dumped) == value
    assert type(value).model_validate_json(value.model_dump_json(by_alias=True)) == value
