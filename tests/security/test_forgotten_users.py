"""A missing user or an empty id is an error, never "all users", in every verb with such a parameter."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import AsyncIterator, Awaitable
from copy import deepcopy
from datetime import timedelta
from typing import Any, Final, get_type_hints

import pytest

from tests.calls import UNUSED_FILE, Rows
from tests.conftest import Connection
from voltmem import (
    ANY_USER,
    AgentHistoryEntry,
    AgentHistoryStep,
    AnyUser,
    Conversation,
    ImportedConversation,
    InvalidInputError,
    Message,
    NativeMemory,
    PostgresStorage,
    TimelineEvent,
    list_payloads,
)
from voltmem._model import Model
from voltmem.models import Owner

# The parameters that name a user, in both spellings, and those that name other objects with an id.
USERS: Final = ("user_id", "owner", "userId")
IDS: Final = (
    *(
        "conversation_id",
        "message_id",
        "file_id",
        "resource_id",
        "agent_id",
        "history_id",
        "key",
        "id",
        "up_to",
        "before",
        "after",
    ),
    *("conversationId", "resourceId", "agentId", "historyId"),
)
# A run may have no user.
FOR_NOBODY: Final = {("record_run", "user_id")}
# The values of required parameters. A verb with a new required parameter needs a line here.
VALUES: Final[dict[str, Any]] = {
    "agent_id": "a1",
    "agentId": "a1",
    "by": "trip",
    "conversation_id": "c1",
    "conversationId": "c1",
    "content": b"words",
    "conversations": [],
    "file_id": UNUSED_FILE,
    "history_id": "h1",
    "historyId": "h1",
    "ids": ["m1"],
    "key": "h1",
    "lines": [],
    "message": {"role": "user", "content": "words"},
    "message_id": "m1",
    "message_ids": ["m1"],
    "messages": [{"role": "user", "content": "words"}],
    "metadata": {"n": 2},
    "fencing_token": 7,
    "older_than": timedelta(days=1),
    "purpose": "answer",
    "resource_id": "docs",
    "resourceId": "docs",
    "scope": "conversation",
    "tag": "work",
    "tags": ["work"],
    "text": "words",
    "title": "Mine",
    "token": "t1",
    "user_id": "ada",
    "userId": "ada",
    "value": {"type": "agent", "name": "agent:start"},
}


def verbs_with(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return each public method of a storage with one of these parameters, in both spellings, and the parameter."""
    methods = inspect.getmembers(PostgresStorage, inspect.isfunction)
    public = [(name, method) for name, method in methods if not name.startswith("_")]
    return [(name, each) for name, method in public for each in inspect.signature(method).parameters if each in names]


def annotation(verb: str, parameter: str) -> object:
    return get_type_hints(getattr(PostgresStorage, verb))[parameter]


async def called(storage: PostgresStorage, verb: str, **given: Any) -> object:
    """Call a verb with its required arguments and these. Awaits the result, enters it, or takes its first item."""
    needed = [
        name
        for name, each in inspect.signature(getattr(storage, verb)).parameters.items()
        if each.default is each.empty and name not in given
    ]
    answer: Any = getattr(storage, verb)(**{name: VALUES[name] for name in needed}, **given)
    if isinstance(answer, Awaitable):
        return await answer
    if isinstance(answer, AsyncIterator):
        return await anext(answer)
    return answer


async def refusal(storage: PostgresStorage, verb: str, **given: Any) -> str:
    """Call a verb that refuses its arguments. Returns the message of the error."""
    try:
        await called(storage, verb, **given)
    except InvalidInputError as error:
        return str(error)
    return pytest.fail(f"{verb}() accepts {given}")


# --- users --------------------------------------------------------------------------------------------------------


def test_there_is_one_any_user() -> None:
    """ANY_USER is the enum's only member, its repr is its name, and a copy of it is the same object."""
    assert list(AnyUser) == [ANY_USER]
    assert repr(ANY_USER) == "voltmem.ANY_USER"
    assert deepcopy(ANY_USER) is ANY_USER


def test_no_verb_accepts_none_as_a_user() -> None:
    """A user is typed as a string, or as a string or ANY_USER, and only ANY_USER as a default means all users."""
    for verb, parameter in verbs_with(USERS):
        if (verb, parameter) in FOR_NOBODY or verb in ("update_conversation", "updateConversation"):
            continue
        default = inspect.signature(getattr(PostgresStorage, verb)).parameters[parameter].default
        assert (annotation(verb, parameter), default) in [
            (str, inspect.Parameter.empty),
            (Owner, inspect.Parameter.empty),
            (Owner, ANY_USER),
        ], (verb, parameter)


@pytest.mark.parametrize("forgotten", [None, ""], ids=repr)
async def test_a_forgotten_user_is_an_error(forgotten: Any, storage: PostgresStorage, rows: Rows) -> None:
    """In every verb, None and "" as a user are an error that says what to pass; nothing is read or written."""
    before = await rows.all()

    for verb, parameter in sorted(set(verbs_with(USERS)) - FOR_NOBODY):
        said = await refusal(storage, verb, **{parameter: forgotten})

        name = "owner" if parameter == "owner" else "user_id"
        assert said.startswith(f"{name} is {forgotten!r}: pass the signed-in user's id"), verb
        takes_any = annotation(verb, parameter) == Owner and verb not in ("clear_messages", "clearMessages")
        assert ("or voltmem.ANY_USER in trusted code" in said) is takes_any, verb
        assert await rows.all() == before, verb


async def test_what_works_for_one_user_refuses_any_user(storage: PostgresStorage, rows: Rows) -> None:
    """for_user(), conversation(), watch(), search() and others refuse ANY_USER, and say why."""
    before = await rows.all()

    for verb, parameter in verbs_with(USERS):
        if annotation(verb, parameter) == Owner or (verb, parameter) in FOR_NOBODY:
            continue
        said = await refusal(storage, verb, **{parameter: ANY_USER})

        assert re.match(r"user_id is voltmem\.ANY_USER, but .*: pass that user's id", said), verb
        assert await rows.all() == before, verb


@pytest.mark.parametrize(("verb", "parameter"), [each for each in verbs_with(USERS) if annotation(*each) == Owner])
async def test_any_user_is_not_checked(verb: str, parameter: str, storage: PostgresStorage, rows: Rows) -> None:
    """With ANY_USER, in both spellings, a verb works as it does for the owner."""
    conversation = {"conversationId" if "userId" in parameter else "conversation_id": "c1"}
    given: dict[str, Any] = {}
    if verb.startswith("clear") or verb.lower().endswith(("workingmemory", "working_memory")):
        given = {**conversation, "content": "words"} if verb.startswith("set") else conversation
    if verb == "restore_conversation":
        given = {"conversation_id": "gone"}

    answer = await called(storage, verb, **{parameter: ANY_USER}, **given)

    # There is nothing to purge, the conversation has no branches, and branching returns nothing.
    assert answer or verb.startswith(("purge", "branch", "list_branches"))


async def test_clearing_messages_of_everybody_is_refused(storage: PostgresStorage, rows: Rows) -> None:
    """clear_messages() takes ANY_USER only with a conversation; add_message() creates no conversation for it."""
    before = await rows.all()

    with pytest.raises(InvalidInputError, match="without a conversation_id all of one user's messages are deleted"):
        await storage.clear_messages(ANY_USER)
    with pytest.raises(InvalidInputError, match="the conversation is made if absent, for one user"):
        await storage.add_message({"role": "user", "content": "words"}, ANY_USER, "new", resource_id="docs")

    assert await rows.all() == before


async def test_leaving_the_user_out_means_everybody(storage: PostgresStorage, rows: Rows) -> None:
    """query, count and purge without user_id are for all users, as VoltAgent documents."""
    await rows.seed()

    assert await storage.count_conversations() == 3
    assert {each.user_id for each in await storage.queryConversations()} == {"ada", "bob"}
    assert await storage.count_conversations(user_id="bob") == 1
    assert await storage.purge_deleted_conversations("bob") == 0
    assert await storage.purge_deleted_conversations() == 1


async def test_a_run_may_have_no_user(storage: PostgresStorage, rows: Rows) -> None:
    """record_run(user_id=None) records a run without a user: lists of all users have it, and no user's list."""
    async with storage.record_run("a1", user_id=None, id="nobodys"):
        pass

    listed = [each.id for each in (await storage.list_history_entries()).entries]
    assert set(listed) == {"nobodys", "h1"}
    assert [each.id for each in (await storage.list_history_entries(user_id="ada")).entries] == ["h1"]
    with pytest.raises(InvalidInputError, match="user_id is an empty string"):
        storage.record_run("a1", user_id="")


@pytest.mark.parametrize("forgotten", [None, ""], ids=repr)
async def test_an_adapters_memory_needs_a_user(forgotten: Any, storage: PostgresStorage) -> None:
    """NativeMemory belongs to one user; list_payloads() lists one user's or, with ANY_USER, all."""
    users: list[Any] = [forgotten, ANY_USER]
    for user in users:
        with pytest.raises(InvalidInputError, match="user_id is "):
            NativeMemory(storage, user, "c1")
    with pytest.raises(InvalidInputError, match=r"user_id is .*voltmem\.ANY_USER"):
        await list_payloads(storage, ["agno"], user_id=forgotten)
    assert await list_payloads(storage, ["agno"]) == await list_payloads(storage, ["agno"], user_id=ANY_USER) == []


# --- empty ids ----------------------------------------------------------------------------------------------------


async def test_an_empty_id_is_an_error(storage: PostgresStorage, rows: Rows) -> None:
    """An empty id is an error in every verb, as is an empty cursor; nothing is read or written."""
    before = await rows.all()

    for verb, parameter in verbs_with(IDS):
        await refusal(storage, verb, **{parameter: ""})

        assert await rows.all() == before, verb


async def test_an_id_that_is_none_is_an_error_with_a_way_out(storage: PostgresStorage) -> None:
    """None as a conversation's id is an error that says what to pass."""
    for call in (storage.get_conversation(None), storage.get_messages("ada", None)):  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="conversation_id is None: pass an id"):
            await call


async def test_an_empty_id_among_others_is_an_error(storage: PostgresStorage, rows: Rows) -> None:
    """An empty id in a list is an error: delete_messages() deletes nothing, and a memory reads nothing."""
    with pytest.raises(InvalidInputError, match="ids contains an empty string"):
        await storage.delete_messages(["m1", ""], "ada", "c1")
    with pytest.raises(InvalidInputError, match="ids contains an empty string"):
        await NativeMemory(storage, "ada", "c1").messages_by_id(["m1", ""])

    assert len(await storage.get_messages("ada", "c1")) == 3


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (Conversation, {"user_id": "ada"}),
        (Conversation, {"id": "c1", "user_id": "ada", "resource_id": "docs"}),
        (Message, {"id": "m1", "role": "user", "content": ""}),
        (AgentHistoryEntry, {"id": "h1", "agent_id": "a1", "user_id": "ada", "conversation_id": "c1"}),
        (AgentHistoryStep, {"id": "s1"}),
        (TimelineEvent, {"id": "e1", "type": "agent", "name": "agent:start", "parent_event_id": "e0"}),
        (ImportedConversation, {"id": "c1", "resource_id": "docs"}),
    ],
)
def test_no_model_has_an_empty_id(model: type[Model], fields: dict[str, str]) -> None:
    """A model made with an empty id, by its constructor or from a dict, is an error that names the field."""
    for name in fields:
        if name == "id" or name.endswith("_id"):
            with pytest.raises(InvalidInputError, match=name):
                model.of({**fields, name: ""})
            with pytest.raises(ValueError, match=name):
                model(**{**fields, name: ""})


async def test_rows_with_empty_ids_are_read(storage: PostgresStorage, rows: Rows, connection: Connection) -> None:
    """Rows with empty ids from another program are shown by lists, pages, messages, the search and the export."""
    await connection.execute(f"""
        INSERT INTO {rows.conversations} (id, user_id, resource_id) VALUES ('', 'ada', ''), ('nobodys', '', '');
        INSERT INTO {rows.messages} (conversation_id, message_id, role, content, type)
        VALUES ('', 'm0', 'user', 'hidden words', 'text'), ('c1', '', 'user', 'hidden words', 'text');
        INSERT INTO {rows.entries} (id, agent_id, "timestamp", status, userid) VALUES ('', '', now(), '', 'ada')""")
    await storage.index_messages()

    assert {each.id for each in await storage.query_conversations()} == {"", "nobodys", "c1", "c2", "b1"}
    page = await storage.list_conversations("ada", limit=1)
    assert page.items[0].id == ""
    assert [each.id for each in (await storage.list_conversations("ada", after=page.next_cursor)).items] == ["c2", "c1"]
    assert "" in [each.id for each in await storage.get_messages("ada", "c1")]
    hits = (await storage.search("ada", "hidden")).hits
    assert {(hit.conversation.id, hit.message_id) for hit in hits} == {("", "m0"), ("c1", "")}
    share = await storage.share_conversation("c1")
    assert share.up_to == ""
    runs = await storage.list_history_entries(user_id="ada", limit=1)
    assert [each.id for each in runs.entries] == [""]
    assert [each.id for each in (await storage.list_history_entries(after=runs.next_cursor)).entries] == ["h1"]
    lines = [line async for line in storage.export_user("ada")]
    assert "" in [json.loads(line)["id"] for line in lines if '"kind":"conversation"' in line]


async def test_import_user_gives_ids_to_what_has_empty_ones(
    storage: PostgresStorage, rows: Rows, connection: Connection
) -> None:
    """Rows with empty ids are exported, and imported with new ids, the same each time."""
    await connection.execute(f"""
        INSERT INTO {rows.conversations} (id, user_id, resource_id, title) VALUES ('', 'carol', '', 'Carol''s');
        INSERT INTO {rows.messages} (conversation_id, message_id, role, content, type)
        VALUES ('', '', 'user', 'hidden words', 'text')""")
    lines = [line async for line in storage.export_user("carol")]

    result = await storage.import_user("dan", lines)
    again = await storage.import_user("dan", lines)

    assert (result.conversations, result.messages, again.conversations) == (1, 1, 0)
    (imported,) = await storage.query_conversations(user_id="dan")
    assert (imported.title, imported.resource_id, len(imported.id)) == ("Carol's", "default", 36)
    assert [each.text for each in await storage.get_messages("dan", imported.id)] == ["hidden words"]
