"""Values are returned as stored: content exactly, metadata, texts and times equal; invalid ones are refused at once."""

from __future__ import annotations

import copy
import pickle
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final, TypeAlias

import asyncpg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import JsonValue, ValidationError

from tests.conftest import MakeStorage, set_json_codecs
from tests.properties import examples
from tests.values import (
    DEPTH,
    NOT_JSON,
    SURROGATE_PAIR,
    alike,
    contents,
    metadatas,
    nested,
    planted,
    scalars,
    storable_ids,
    storable_texts,
    unstorable_texts,
)
from voltmem import InvalidInputError, Message, PostgresStorage
from voltmem._values import uuid7

# --- storages -----------------------------------------------------------------------------------------------------


class DottedRecord(asyncpg.Record):
    """A record class of an application: row.id instead of row["id"]."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


@pytest.fixture(params=["a pool of its own", "a pool with JSON codecs", "a pool with records of another class"])
async def any_storage(
    request: pytest.FixtureRequest, dsn: str, schema: str, make_storage: MakeStorage
) -> AsyncIterator[PostgresStorage]:
    """A storage with ada's conversation "c1", on each kind of pool that a caller may have."""
    pool_options: dict[str, dict[str, Any]] = {
        "a pool with JSON codecs": {"init": set_json_codecs},
        "a pool with records of another class": {"record_class": DottedRecord},
    }
    if request.param not in pool_options:
        storage = make_storage()
        await storage.create_conversation({"id": "c1", "user_id": "ada"})
        yield storage
        return
    async with asyncpg.create_pool(dsn, min_size=0, **pool_options[request.param]) as pool:
        storage = PostgresStorage(pool=pool, schema=schema)
        await storage.create_conversation({"id": "c1", "user_id": "ada"})
        yield storage


@pytest.fixture
async def closed_storage() -> PostgresStorage:
    """A closed storage: it raises StorageClosedError if a call would send any SQL."""
    storage = PostgresStorage("postgresql://127.0.0.1:1/nowhere")
    await storage.close()
    return storage


# --- content ------------------------------------------------------------------------------------------------------


@examples(150)
@given(added=st.lists(contents, min_size=1, max_size=5))
@example(added=[True, 1, 1.0, False, 0, 0.0, -0.0, None, "", [], {}])
@example(added=['{"a": 1}', "null", "1", '"text"', "[]", "\\u0000", "\x00"])
@example(added=[SURROGATE_PAIR, "😀", {SURROGATE_PAIR: 1, "😀": 2}, ["\ud83d", "\ude00"], "\\" + SURROGATE_PAIR])
@example(added=[10**4000, -(10**4000), 2**63, 1e16, 1e23, 5e-324, 1.7976931348623157e308])
@example(added=[{"b": 1, "a": {"d": 1, "c": 2}}, {"a": 1, "b": 2}])
async def test_content_comes_back_exactly(any_storage: PostgresStorage, added: list[JsonValue]) -> None:
    """Any JSON value and any text is returned exactly: equal, with the same types and order of keys."""
    messages = [{"role": "user", "content": content} for content in added]

    stored = await any_storage.add_messages(messages, "ada", "c1")

    read = await any_storage.get_messages("ada", "c1", limit=len(added))
    assert repr([each.content for each in stored]) == repr(
        added
    )  # repr distinguishes types, the order of keys and -0.0
    assert repr(read) == repr(stored)


@examples(50)
@given(content=contents)
async def test_the_text_of_a_message_is_kept_beside_its_content(
    storage: PostgresStorage, schema: str, content: JsonValue
) -> None:
    """The column "content" holds Message.text for any content, so that SQL can search it."""
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})

    message = await storage.add_message({"role": "user", "content": content}, "ada", "c1")

    async with storage.transaction() as tx:
        sql = f"SELECT content FROM {schema}.voltagent_memory_messages WHERE message_id = $1"
        assert await tx.connection.fetchval(sql, message.id) == message.text


@examples(30)
@given(kinds=st.lists(st.booleans(), max_size=DEPTH))
@example(kinds=[True] * DEPTH)
@example(kinds=[False] * DEPTH)
async def test_values_of_200_levels_come_back(any_storage: PostgresStorage, kinds: list[bool]) -> None:
    """Lists and dicts may be nested up to the limit, in content and in metadata (which is the first level)."""
    content, metadata = nested(kinds), {"": nested(kinds[1:])}

    await any_storage.add_message({"role": "user", "content": content, "metadata": metadata}, "ada", "c1")

    (read,) = await any_storage.get_messages("ada", "c1", limit=1)
    assert (read.content, read.metadata) == (content, metadata)


@pytest.mark.parametrize("content", ["x" * 10_000_000, ["é\x00" * 2_000_000]], ids=["text", "JSON"])
async def test_a_message_of_ten_megabytes_comes_back(storage: PostgresStorage, content: JsonValue) -> None:
    """A message may be as large as ten megabytes."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    await storage.add_message({"role": "tool", "content": content}, "ada", "c1")

    (read,) = await storage.get_messages("ada", "c1")
    assert read.content == content


async def test_ten_thousand_messages_at_once_come_back_in_their_order(make_storage: MakeStorage) -> None:
    """One call stores ten thousand messages, in the order of the list."""
    storage = make_storage(storage_limit=None)
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    stored = await storage.add_messages([{"role": "user", "content": n} for n in range(10_000)], "ada", "c1")

    assert [each.content for each in stored] == list(range(10_000))
    assert await storage.get_messages("ada", "c1") == stored


async def test_what_is_read_is_like_what_was_checked(storage: PostgresStorage) -> None:
    """A model built unchecked from a row behaves as any other: equality, copies, pickles, dumps."""
    made = await storage.create_conversation({"id": "c1", "user_id": "ada", "metadata": {"a": [1]}})
    await storage.add_message({"id": "m1", "role": "user", "content": ["parts"], "metadata": {"a": 1}}, "ada", "c1")
    (message,) = await storage.get_messages("ada", "c1")

    for read in (made, message):
        checked = type(read).model_validate(read.model_dump())
        assert read == checked
        assert read.model_fields_set == checked.model_fields_set == set(type(read).model_fields)
        assert read.model_dump_json(by_alias=True) == checked.model_dump_json(by_alias=True)
        assert repr(read) == repr(checked)
        for twin in (read.model_copy(), copy.deepcopy(read), pickle.loads(pickle.dumps(read))):  # noqa: S301  # our own
            assert twin == read
        with pytest.raises(ValidationError, match="frozen"):
            read.id = "another"
    changed = message.model_copy(update={"role": "assistant"})
    assert (changed.role, message.role) == ("assistant", "user")


# --- metadata -----------------------------------------------------------------------------------------------------


@examples(100)
@given(metadata=metadatas)
@example(metadata={"large": 1e16, "larger": 1e23, "largest": 1.7976931348623157e308, "smallest": 5e-324})
@example(metadata={"whole": 10**4000, "truth": True, "one": 1, "empty": {"list": [], "dict": {}, "text": ""}})
async def test_metadata_comes_back_equal(any_storage: PostgresStorage, metadata: dict[str, JsonValue]) -> None:
    """Values that jsonb can hold are returned equal in metadata of messages and conversations, by any verb."""
    message = await any_storage.add_message({"role": "user", "content": "", "metadata": metadata}, "ada", "c1")
    updated = await any_storage.update_conversation("c1", metadata=metadata)
    created = await any_storage.create_conversation({"user_id": "ada", "metadata": metadata})

    (read,) = await any_storage.get_messages("ada", "c1", limit=1)
    assert all(alike(each.metadata, metadata) for each in (message, read, updated, created))


MetadataCall: TypeAlias = Callable[[PostgresStorage, dict[str, Any]], Awaitable[object]]
METADATA_CALLS: Final[dict[str, MetadataCall]] = {
    "create": lambda storage, metadata: storage.create_conversation({"user_id": "ada", "metadata": metadata}),
    "ensure": lambda storage, metadata: storage.ensure_conversation({"user_id": "ada", "metadata": metadata}),
    "update": lambda storage, metadata: storage.update_conversation("c1", metadata=metadata),
    "add": lambda storage, metadata: storage.add_message(
        {"role": "user", "content": "", "metadata": metadata}, "ada", "c1"
    ),
}


@pytest.mark.parametrize("call", METADATA_CALLS.values(), ids=METADATA_CALLS)
@examples(30)
@given(value=planted(unstorable_texts | st.dictionaries(unstorable_texts, scalars, min_size=1)))
async def test_metadata_that_jsonb_cannot_hold_is_refused(
    closed_storage: PostgresStorage, call: MetadataCall, value: JsonValue
) -> None:
    """A NUL or a lone surrogate anywhere in metadata is an InvalidInputError, before any SQL."""
    with pytest.raises(InvalidInputError, match="NUL character or a lone surrogate"):
        await call(closed_storage, {"key": value})


# --- values that are not JSON -------------------------------------------------------------------------------------


@examples(100)
@given(value=planted(st.sampled_from(NOT_JSON)))
@example(value=nested([True] * (DEPTH + 1)))
@example(value=nested([False] * (DEPTH + 1)))
async def test_what_is_not_json_leaves_nothing_stored(storage: PostgresStorage, value: object) -> None:
    """A value that JSON would change is refused, and other messages of the call are not stored either."""
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    good: dict[str, object] = {"role": "user", "content": "good"}
    bad: list[dict[str, object]] = [
        {"role": "user", "content": value},
        {"role": "user", "content": "", "metadata": {"key": value}},
    ]

    for message in bad:
        with pytest.raises(InvalidInputError):
            await storage.add_messages([good, message], "ada", "c1")
        with pytest.raises(InvalidInputError):
            await storage.add_message(message, "ada", "c1")

    assert await storage.get_messages("ada", "c1") == []


@pytest.mark.parametrize("call", METADATA_CALLS.values(), ids=METADATA_CALLS)
@examples(30)
@given(value=planted(st.sampled_from(NOT_JSON)))
async def test_metadata_that_is_not_json_is_refused(
    closed_storage: PostgresStorage, call: MetadataCall, value: object
) -> None:
    """A value that JSON would change is an InvalidInputError in metadata, before any SQL."""
    with pytest.raises(InvalidInputError):
        await call(closed_storage, {"key": value})


# --- texts --------------------------------------------------------------------------------------------------------


@examples(100)
@given(
    conversation=st.fixed_dictionaries(
        {"id": storable_ids, "user_id": storable_ids, "resource_id": storable_ids, "title": storable_texts}
    ),
    message=st.fixed_dictionaries(
        {"id": storable_ids, "role": storable_texts, "type": storable_texts, "content": storable_texts}
    ),
)
async def test_any_text_is_an_id_a_title_a_role_or_a_type(
    storage: PostgresStorage, conversation: dict[str, str], message: dict[str, str]
) -> None:
    """Every text field takes any text that PostgreSQL can hold, an id any but the empty one, and is found by it."""
    conversation_id, user_id = conversation["id"], conversation["user_id"]
    await storage.delete_conversation(conversation_id)

    created = await storage.create_conversation(conversation)
    added = await storage.add_message(message, user_id, conversation_id)

    found = await storage.query_conversations(user_id=user_id, resource_id=conversation["resource_id"], limit=None)
    assert created.model_dump(include=set(conversation)) == conversation
    assert conversation_id in [each.id for each in found]
    assert added.model_dump(include=set(message)) == message
    roles, types = [message["role"]], [message["type"]]
    assert await storage.get_messages(user_id, conversation_id, roles=roles, types=types) == [added]
    assert await storage.delete_messages([added.id], user_id, conversation_id) == 1


TextCall: TypeAlias = Callable[[PostgresStorage, Any], Awaitable[object]]
TEXT_CALLS: Final[dict[str, TextCall]] = {
    "create id": lambda storage, text: storage.create_conversation({"id": text, "user_id": "ada"}),
    "create user": lambda storage, text: storage.create_conversation({"user_id": text}),
    "create resource": lambda storage, text: storage.create_conversation({"user_id": "ada", "resource_id": text}),
    "create title": lambda storage, text: storage.create_conversation({"user_id": "ada", "title": text}),
    "ensure id": lambda storage, text: storage.ensure_conversation({"id": text, "user_id": "ada"}),
    "get": lambda storage, text: storage.get_conversation(text),
    "get of user": lambda storage, text: storage.get_user_conversation("c1", text),
    "update": lambda storage, text: storage.update_conversation(text, title="new"),
    "update title": lambda storage, text: storage.update_conversation("c1", title=text),
    "update resource": lambda storage, text: storage.update_conversation("c1", resource_id=text),
    "update user": lambda storage, text: storage.update_conversation("c1", user_id=text),
    "update owner": lambda storage, text: storage.update_conversation("c1", title="new", owner=text),
    "delete": lambda storage, text: storage.delete_conversation(text),
    "delete owner": lambda storage, text: storage.delete_conversation("c1", owner=text),
    "by resource": lambda storage, text: storage.get_conversations(text),
    "by user": lambda storage, text: storage.get_conversations_by_user_id(text),
    "query user": lambda storage, text: storage.query_conversations(user_id=text),
    "query resource": lambda storage, text: storage.query_conversations(resource_id=text),
    "count user": lambda storage, text: storage.count_conversations(user_id=text),
    "page user": lambda storage, text: storage.get_paginated_user_conversations(text),
    "builder user": lambda storage, text: storage.get_user_conversations(text).execute(),
    "builder resource": lambda storage, text: storage.get_user_conversations("ada").resource(text).execute(),
    "view user": lambda storage, text: storage.for_user(text).count_conversations(),
    "add id": lambda storage, text: storage.add_message({"id": text, "role": "user", "content": ""}, "ada", "c1"),
    "add role": lambda storage, text: storage.add_message({"role": text, "content": ""}, "ada", "c1"),
    "add type": lambda storage, text: storage.add_message({"role": "user", "content": "", "type": text}, "ada", "c1"),
    "add user": lambda storage, text: storage.add_message({"role": "user", "content": ""}, text, "c1"),
    "add conversation": lambda storage, text: storage.add_message({"role": "user", "content": ""}, "ada", text),
    "delete messages": lambda storage, text: storage.delete_messages([text], "ada", "c1"),
    "delete messages user": lambda storage, text: storage.delete_messages(["m1"], text, "c1"),
    "delete messages conversation": lambda storage, text: storage.delete_messages(["m1"], "ada", text),
    "clear user": lambda storage, text: storage.clear_messages(text),
    "clear conversation": lambda storage, text: storage.clear_messages("ada", text),
    "messages user": lambda storage, text: storage.get_messages(text, "c1"),
    "messages conversation": lambda storage, text: storage.get_messages("ada", text),
    "messages role": lambda storage, text: storage.get_messages("ada", "c1", roles=[text]),
    "messages type": lambda storage, text: storage.get_messages("ada", "c1", types=[text]),
    "all messages": lambda storage, text: storage.get_conversation_messages(text),
    "all messages owner": lambda storage, text: storage.get_conversation_messages("c1", owner=text),
}


@pytest.mark.parametrize("call", TEXT_CALLS.values(), ids=TEXT_CALLS)
@examples(20)
@given(text=unstorable_texts | st.sampled_from([0, True, b"text", ["text"]]))
async def test_text_that_postgresql_cannot_hold_is_refused(
    closed_storage: PostgresStorage, call: TextCall, text: object
) -> None:
    """A NUL, a lone surrogate or a value that is not a string is an InvalidInputError in every text field."""
    with pytest.raises(InvalidInputError):
        await call(closed_storage, text)


# --- times --------------------------------------------------------------------------------------------------------

zones = st.timezones() | st.builds(timezone, st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23)))
hours_behind = st.integers(1, 23).map(lambda hours: timezone(timedelta(hours=-hours)))
hours_ahead = st.integers(1, 23).map(lambda hours: timezone(timedelta(hours=hours)))


def exists_in_utc(time: datetime) -> bool:
    """
    Return whether it is within the years 1 to 9999, without their first and last microsecond, the driver's infinity.
    """
    try:
        return datetime.min < time.astimezone(UTC).replace(tzinfo=None) < datetime.max
    except OverflowError:
        return False


@examples(100)
@given(time=st.datetimes(max_value=datetime(2026, 1, 1), timezones=zones).filter(exists_in_utc))
@example(time=datetime.min.replace(tzinfo=UTC, microsecond=1))
@example(time=datetime(2026, 1, 1, tzinfo=UTC))
async def test_any_time_comes_back_in_utc(storage: PostgresStorage, time: datetime) -> None:
    """A time of any zone, to the microsecond, from the year 1 to the present, is returned as the same moment in UTC."""
    created = await storage.create_conversation({"user_id": "ada", "created_at": time, "updated_at": time})
    message = {"role": "user", "content": "", "created_at": time}

    added = await storage.add_message(message, "ada", created.id)

    (read,) = await storage.get_messages("ada", created.id)
    for each in (created.created_at, created.updated_at, added.created_at, read.created_at):
        assert (each, each.tzinfo) == (time.astimezone(UTC), UTC)


TimeCall: TypeAlias = Callable[[PostgresStorage, Any], Awaitable[object]]
TIME_CALLS: Final[dict[str, TimeCall]] = {
    "created": lambda storage, time: storage.create_conversation({"user_id": "ada", "created_at": time}),
    "updated": lambda storage, time: storage.ensure_conversation({"user_id": "ada", "updated_at": time}),
    "added": lambda storage, time: storage.add_message(
        {"role": "user", "content": "", "created_at": time}, "ada", "c1"
    ),
    "before": lambda storage, time: storage.get_messages("ada", "c1", before=time),
    "after": lambda storage, time: storage.get_messages("ada", "c1", after=time),
}


@pytest.mark.parametrize("call", TIME_CALLS.values(), ids=TIME_CALLS)
@examples(30)
@given(
    time=st.datetimes()
    | st.datetimes(max_value=datetime(1, 1, 1, 0, 59, 59), timezones=hours_ahead)
    | st.datetimes(min_value=datetime(9999, 12, 31, 23), timezones=hours_behind)
    | st.sampled_from([b"", [2026], {"year": 2026}])
)
async def test_an_invalid_time_is_refused(closed_storage: PostgresStorage, call: TimeCall, time: object) -> None:
    """A time without a zone, or outside the years of UTC, is an InvalidInputError, before any SQL."""
    with pytest.raises(InvalidInputError):
        await call(closed_storage, time)


# --- the plain text of a content ----------------------------------------------------------------------------------


@examples(200)
@given(content=contents)
def test_the_plain_text_of_anything_can_be_stored(content: JsonValue) -> None:
    """The plain text of any content has neither a NUL nor a lone surrogate."""
    text = Message(role="user", content=content).text

    assert "\x00" not in text
    assert text.encode().decode() == text


@examples(50)
@given(text=storable_texts)
def test_the_plain_text_of_a_text_is_itself(text: str) -> None:
    """The plain text of a string that can be stored is the string."""
    assert Message(role="user", content=text).text == text


@examples(50)
@given(texts=st.lists(storable_texts, min_size=1), others=st.dictionaries(st.just("url"), storable_texts))
def test_the_plain_text_of_parts_is_their_text(texts: list[str], others: dict[str, str]) -> None:
    """The plain text of a list of parts is the text of each, one per line."""
    parts: list[JsonValue] = [{"type": "text", "text": text} for text in texts]

    message = Message(role="user", content=[{**others}, *parts, {**others}])

    assert message.text == "\n".join(texts)


def test_the_plain_text_of_a_tool_result_is_its_strings_and_numbers() -> None:
    """The plain text of any other value is its strings and numbers, one per line."""
    weather: JsonValue = {"city": "Paris", "days": [{"high": 21.5, "rain": False}, {"high": 19, "rain": None}]}

    assert Message(role="tool", content=weather).text == "Paris\n21.5\n19"


# --- ids ----------------------------------------------------------------------------------------------------------


def test_ids_are_uuids_of_version_7() -> None:
    """A generated id is an RFC 9562 UUIDv7 in its canonical form."""
    made = uuid7()

    parsed = uuid.UUID(made)
    assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, made)


@examples(50)
@given(milliseconds=st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=2, unique=True))
def test_ids_sort_by_the_millisecond(milliseconds: list[int]) -> None:
    """Of two ids generated in different milliseconds, the later one is greater as text."""
    with pytest.MonkeyPatch.context() as patch:
        ids = []
        for each in milliseconds:
            patch.setattr(time, "time_ns", lambda now=each: now * 1_000_000 + 999_999)
            ids.append(uuid7())

    assert (ids[0] < ids[1]) == (milliseconds[0] < milliseconds[1])


def test_ids_never_repeat() -> None:
    """Ids generated in one millisecond are all different."""
    assert len({uuid7() for _ in range(100_000)}) == 100_000


async def test_what_is_stored_without_an_id_gets_such_an_id(storage: PostgresStorage) -> None:
    """A conversation and a message without an id get a UUIDv7."""
    conversation = await storage.create_conversation({"user_id": "ada"})

    message = await storage.add_message({"role": "user", "content": ""}, "ada", conversation.id)

    assert [uuid.UUID(each.id).version for each in (conversation, message)] == [7, 7]
