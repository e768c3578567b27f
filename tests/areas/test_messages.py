"""Messages: their fields, their order, and what the limit keeps."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import MakeStorage, Numbered
from voltmem import ANY_USER, ConversationNotFoundError, InvalidInputError, InvalidQueryError, Message, PostgresStorage

LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, 789, tzinfo=UTC)


@pytest.fixture
async def storage(storage: PostgresStorage) -> PostgresStorage:
    """A storage with ada's conversation c1."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    return storage


def contents(messages: list[Message]) -> list[object]:
    return [message.content for message in messages]


async def test_add_message_returns_what_every_read_returns(storage: PostgresStorage) -> None:
    """add_message() returns the message exactly as every read returns it."""
    stored = await storage.add_message({"role": "user", "content": "hello", "metadata": {"n": 1}}, "ada", "c1")

    assert stored.created_at.tzinfo is not None
    assert await storage.get_messages("ada", "c1") == [stored]
    assert await storage.get_conversation_messages("c1") == [stored]


async def test_get_messages_shares_usual_roles_and_types(storage: PostgresStorage) -> None:
    """Messages that were read share the strings of their usual roles and types: a long history takes less memory."""
    await storage.add_messages([{"role": "assistant", "content": "hello"}] * 3, "ada", "c1")

    found = await storage.get_messages("ada", "c1")

    assert len({id(message.role) for message in found}) == len({id(message.type) for message in found}) == 1


async def test_add_messages_keeps_the_order_of_the_list(storage: PostgresStorage, numbered: Numbered) -> None:
    """add_messages() stores a list completely and in its order, and each has a time of its own."""
    stored = await storage.add_messages([numbered(number) for number in range(20)], "ada", "c1")

    assert [message.created_at for message in stored] == sorted({message.created_at for message in stored})
    assert await storage.get_messages("ada", "c1") == stored
    assert await storage.add_messages([], "ada", "c1") == []


async def test_get_messages_returns_the_newest_in_their_order(storage: PostgresStorage, numbered: Numbered) -> None:
    """get_messages() with a limit returns the end of the conversation; get_conversation_messages() its beginning."""
    stored = [await storage.add_message(numbered(number), "ada", "c1") for number in range(5)]

    assert await storage.get_messages("ada", "c1", limit=2) == stored[3:]
    assert await storage.get_conversation_messages("c1", limit=2) == stored[:2]
    assert await storage.get_conversation_messages("c1", limit=2, offset=3) == stored[3:]
    assert await storage.get_messages("ada", "c1", limit=0) == []
    assert await storage.get_messages("ada", "c1", limit=None) == stored


async def test_get_messages_filters_by_time_role_and_type(storage: PostgresStorage) -> None:
    """get_messages() excludes messages at exactly before and after; an empty list of roles or types matches nothing."""
    times = [LONG_AGO + timedelta(seconds=number) for number in range(4)]
    for time, role, type in zip(times, ("user", "assistant", "tool", "user"), ("text", "text", "x", "x"), strict=True):
        await storage.add_message(Message(role=role, content=role, type=type, created_at=time), "ada", "c1")

    async def found(**filters: Any) -> list[object]:
        return contents(await storage.get_messages("ada", "c1", **filters))

    assert await found(after=times[0], before=times[3]) == ["assistant", "tool"]
    assert await found(roles=["user"]) == ["user", "user"]
    assert await found(roles=["user", "tool"], types=["x"]) == ["tool", "user"]
    assert await found(roles=[]) == await found(types=[]) == []
    assert await found(before=times[3], limit=1) == ["tool"]


async def test_add_message_with_a_known_id_replaces_the_message_in_its_place(
    storage: PostgresStorage, numbered: Numbered
) -> None:
    """add_message() with an existing id replaces the message in its place, as for a streamed answer that grows."""
    first = await storage.add_message(numbered(1), "ada", "c1")
    await storage.add_message(numbered(2), "ada", "c1")

    grown = await storage.add_message({**numbered(1), "content": ["now", "parts"], "type": "parts"}, "ada", "c1")

    assert grown.created_at == first.created_at
    assert contents(await storage.get_messages("ada", "c1")) == [["now", "parts"], "message 2"]


async def test_add_message_with_a_time_is_placed_at_that_time(storage: PostgresStorage, numbered: Numbered) -> None:
    """add_message() with a created_at puts the message at that time, also when it is added again."""
    for number in (1, 2):
        await storage.add_message(numbered(number), "ada", "c1")
    await storage.add_message({**numbered(3), "createdAt": LONG_AGO}, "ada", "c1")
    assert [message.id for message in await storage.get_messages("ada", "c1")] == ["m3", "m1", "m2"]

    await storage.add_message({**numbered(2), "created_at": LONG_AGO - timedelta(1)}, "ada", "c1")

    assert [message.id for message in await storage.get_messages("ada", "c1")] == ["m2", "m3", "m1"]


@pytest.mark.parametrize("user_id", ["bob", "ada "])
async def test_another_users_conversation_looks_absent(storage: PostgresStorage, user_id: str) -> None:
    """Another user's conversation looks absent: reads are empty, writes raise not found, deletions delete nothing."""
    stored = await storage.add_message({"id": "m1", "role": "user", "content": "mine"}, "ada", "c1")

    assert await storage.get_messages(user_id, "c1") == []
    with pytest.raises(ConversationNotFoundError):
        await storage.add_message({"id": "m1", "role": "user", "content": "yours"}, user_id, "c1")
    assert await storage.delete_messages(["m1"], user_id, "c1") == 0
    assert await storage.clear_messages(user_id, "c1") == 0
    assert await storage.clear_messages(user_id) == 0
    assert await storage.get_messages("ada", "c1") == [stored]


async def test_any_user_as_user_is_trusted_code(storage: PostgresStorage) -> None:
    """ANY_USER skips the check of the owner, but clear_messages() never clears all users' messages."""
    stored = await storage.add_message({"role": "user", "content": "hello"}, ANY_USER, "c1")

    assert await storage.get_messages(ANY_USER, "c1") == [stored]
    with pytest.raises(InvalidInputError, match="without a conversation_id all of one user's messages"):
        await storage.clear_messages(ANY_USER)
    assert await storage.delete_messages([stored.id, "no such"], ANY_USER, "c1") == 1


async def test_a_missing_conversation_says_foreign_key_constraint(storage: PostgresStorage) -> None:
    """The error of a missing conversation has the words that VoltAgent's documented error handler looks for."""
    with pytest.raises(ConversationNotFoundError, match="foreign key constraint") as missing:
        await storage.add_message({"role": "user", "content": "hello"}, "ada", "nowhere")

    assert missing.value.conversation_id == "nowhere"


@pytest.mark.parametrize(
    "message",
    [
        {"content": "hello"},
        {"role": "user"},
        {"role": "user", "content": object()},
        {"role": "user", "content": "hello", "color": "red"},
        {"role": None, "content": "hello"},
        {"role": "user\x00", "content": "hello"},
        {"role": "user", "content": "hello", "id": 1},
        "hello",
    ],
)
async def test_add_messages_stores_all_or_nothing(message: Any, storage: PostgresStorage, numbered: Numbered) -> None:
    """add_messages() stores all messages, or none if one is invalid."""
    with pytest.raises(InvalidInputError):
        await storage.add_messages([numbered(1), message], "ada", "c1")

    assert await storage.get_messages("ada", "c1") == []


async def test_a_single_message_is_not_a_list(storage: PostgresStorage) -> None:
    """A dict or a string instead of a list of messages, ids or roles is an error, and is not iterated."""
    not_a_list: Any = {"role": "user", "content": "hello"}
    with pytest.raises(InvalidInputError):
        await storage.add_messages(not_a_list, "ada", "c1")
    with pytest.raises(InvalidInputError):
        await storage.delete_messages("m1", "ada", "c1")
    with pytest.raises(InvalidInputError):
        await storage.get_messages("ada", "c1", roles="user")
    with pytest.raises(InvalidQueryError):
        await storage.get_messages("ada", "c1", limit=-1)
    with pytest.raises(InvalidInputError, match="time zone"):
        await storage.get_messages("ada", "c1", before=datetime(2024, 1, 1))


@pytest.mark.parametrize(("limit", "kept"), [(0, []), (1, [6]), (3, [4, 5, 6]), (None, [0, 1, 2, 3, 4, 5, 6])])
async def test_the_limit_keeps_the_newest(
    limit: int | None, kept: list[int], make_storage: MakeStorage, numbered: Numbered
) -> None:
    """After every write exactly the newest storage_limit messages are stored, however they were added."""
    storage = make_storage(storage_limit=limit)
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    for number in range(3):
        await storage.add_message(numbered(number), "ada", "c1")
    await storage.add_messages([numbered(number) for number in range(3, 7)], "ada", "c1")

    found = await storage.get_messages("ada", "c1", limit=None, include_archived=True)

    assert [message.id for message in found] == [f"m{number}" for number in kept]


async def test_the_limit_counts_each_conversation(make_storage: MakeStorage, numbered: Numbered) -> None:
    """The limit applies to each conversation: a message in one does not remove any in another."""
    storage = make_storage(storage_limit=1)
    for name in ("c1", "c2"):
        await storage.create_conversation({"id": name, "user_id": "ada"})
        await storage.add_message(numbered(1), "ada", name)

    assert len(await storage.get_messages("ada", "c1") + await storage.get_messages("ada", "c2")) == 2


async def test_archived_messages_are_put_aside(make_storage: MakeStorage, numbered: Numbered) -> None:
    """Archived messages stay stored, are not read or counted by default, and are returned on request."""
    storage = make_storage(storage_limit=2, on_limit="archive")
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    for number in range(5):
        await storage.add_message(numbered(number), "ada", "c1")

    live = await storage.get_messages("ada", "c1", limit=None)
    every = await storage.get_messages("ada", "c1", limit=None, include_archived=True)

    assert [message.id for message in live] == ["m3", "m4"]
    assert [message.id for message in every] == ["m0", "m1", "m2", "m3", "m4"]
    assert await storage.get_conversation_messages("c1", include_archived=True, limit=2) == every[:2]
    assert await storage.delete_messages(["m0", "m4"], "ada", "c1") == 2
    assert [message.id for message in await storage.get_messages("ada", "c1")] == ["m3"]
    assert await storage.clear_messages("ada") == 3


async def test_clear_messages_leaves_the_conversations(storage: PostgresStorage, numbered: Numbered) -> None:
    """clear_messages() empties one conversation, or all of a user, but no other user's."""
    for name, user in (("c2", "ada"), ("c3", "bob")):
        await storage.create_conversation({"id": name, "user_id": user})
    for name in ("c1", "c2", "c3"):
        await storage.add_messages([numbered(1), numbered(2)], ANY_USER, name)

    assert await storage.clear_messages("ada", "c1") == 2
    assert await storage.clear_messages("ada") == 2
    assert len(await storage.get_messages("bob", "c3")) == 2
    assert await storage.count_conversations(user_id="ada") == 2


async def test_add_messages_takes_the_last_of_an_id(storage: PostgresStorage, numbered: Numbered) -> None:
    """add_messages() with the same id twice is equal to two calls."""
    await storage.add_messages([numbered(1), numbered(2), {**numbered(1), "content": "again"}], "ada", "c1")

    assert contents(await storage.get_messages("ada", "c1")) == ["again", "message 2"]


async def test_the_searchable_text_is_stored_beside_the_content(storage: PostgresStorage) -> None:
    """For any content, its plain text is in the column that VoltAgent reads."""
    contents: list[Any] = [
        "hello \x00\ud800",
        [{"type": "text", "text": "look"}, {"type": "image", "data": "…"}],
        [{"type": "tool-result", "toolCallId": "1", "result": {"city": "Oslo", "degrees": 4, "rain": True}}],
        None,
    ]
    await storage.add_messages([{"role": "user", "content": content} for content in contents], "ada", "c1")

    async with storage.transaction() as tx:
        rows = await tx.connection.fetch(f"SELECT content FROM {storage._options.tables.messages} ORDER BY seq")

    assert [row["content"] for row in rows] == ["hello \N{REPLACEMENT CHARACTER}", "look", "Oslo\n4", ""]


async def test_get_message_returns_the_owners_message(storage: PostgresStorage) -> None:
    """get_message() returns the message as get_messages() does; None in another user's or a deleted conversation."""
    stored = await storage.add_message({"id": "m1", "role": "user", "content": [1]}, "ada", "c1")

    assert await storage.get_message("ada", "c1", "m1") == stored
    assert await storage.get_message(ANY_USER, "c1", "m1") == stored
    assert await storage.for_user("ada").get_message("c1", "m1") == stored
    assert await storage.get_message("eve", "c1", "m1") is None
    assert await storage.get_message("ada", "c1", "m2") is None
    assert await storage.get_message("ada", "c2", "m1") is None
    await storage.soft_delete_conversation("c1")
    assert await storage.get_message("ada", "c1", "m1") is None


async def test_count_messages_counts_what_get_messages_returns(make_storage: MakeStorage) -> None:
    """count_messages() counts what get_messages() without a limit returns for the same filters."""
    storage = make_storage(storage_limit=4, on_limit="archive")
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    for role, type in [("user", "text"), ("user", "text"), ("assistant", "tool-call"), ("tool", "tool-result")] * 2:
        await storage.add_message({"role": role, "content": "words", "type": type}, "ada", "c1")

    filters: list[dict[str, Any]] = [
        {},
        {"include_archived": True},
        {"roles": ["user"]},
        {"roles": ["user", "tool"], "include_archived": True},
        {"types": ["text"], "roles": ["assistant"]},
        {"types": ["tool-call", "tool-result"]},
        {"roles": []},
        {"types": []},
    ]
    for given in filters:
        found = await storage.get_messages("ada", "c1", limit=None, **given)
        assert await storage.count_messages("ada", "c1", **given) == len(found), given
    assert await storage.count_messages("eve", "c1") == await storage.count_messages("ada", "c2") == 0
    assert await storage.count_messages(ANY_USER, "c1") == 4
    await storage.soft_delete_conversation("c1")
    assert await storage.count_messages("ada", "c1") == 0
