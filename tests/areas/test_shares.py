"""Public links: what they show, what they never show, and how they end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calls import migrated_schema, wait_until_blocked, waiting_for, with_parameters
from tests.conftest import Connection, MakeStorage
from tests.properties import examples
from voltmem import (
    ANY_USER,
    ConversationNotFoundError,
    InvalidInputError,
    InvalidQueryError,
    MessageNotFoundError,
    PostgresStorage,
    Share,
    UserStorage,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def message(number: int, second: int = 0, **fields: object) -> dict[str, object]:
    return {
        "id": f"m{number}",
        "role": "user",
        "content": str(number),
        "created_at": START + timedelta(seconds=second),
        **fields,
    }


@pytest.fixture
async def talk(storage: PostgresStorage) -> PostgresStorage:
    """A conversation of five messages, three of them with equal times."""
    messages = [message(n, n // 3) for n in range(5)]
    await storage.add_messages(messages, "ada", "c1", resource_id="docs")
    return storage


async def walk(storage: PostgresStorage, token: str, limit: int = 100) -> list[str]:
    """Return the texts of all messages that a link shows, page by page."""
    texts: list[str] = []
    after: str | None = None
    while True:
        page = await storage.get_shared_conversation(token, limit=limit, after=after)
        assert page is not None
        assert len(page.messages) <= limit
        texts += [str(message.content) for message in page.messages]
        assert page.model_dump_json()
        if page.next_cursor is None:
            return texts
        assert page.next_cursor != after, "the cursor does not advance"
        after = page.next_cursor


# --- the content of a link ----------------------------------------------------------------------------------------


async def test_share_conversation_shows_what_was_said_so_far(talk: PostgresStorage) -> None:
    """share_conversation() makes a link to the messages up to now; a later link also shows later messages."""
    share = await talk.share_conversation("c1")

    await talk.add_messages([message(5, 1), message(6, 9), message(7, -9)], "ada", "c1")

    assert (share.conversation_id, share.up_to) == ("c1", "m4")
    assert await walk(talk, share.token) == ["0", "1", "2", "3", "4"]
    assert len(await walk(talk, (await talk.share_conversation("c1")).token)) == 8


async def test_share_conversation_shows_what_was_said_up_to_a_message(talk: PostgresStorage) -> None:
    """share_conversation() up to a message respects the order of adding where times are equal."""
    share = await talk.share_conversation("c1", up_to="m1", owner="ada")

    assert share.up_to == "m1"
    assert await walk(talk, share.token) == ["0", "1"]


async def test_the_place_outlives_its_message(talk: PostgresStorage) -> None:
    """When the last message that a link shows is deleted, no later message is shown instead."""
    share = await talk.share_conversation("c1", up_to="m2")

    await talk.delete_messages(["m2"], "ada", "c1")
    await talk.add_message(message(2, 0, content="said again"), "ada", "c1")

    assert await walk(talk, share.token) == ["0", "1"]
    assert (await talk.list_shares("ada")) == [share]


async def test_a_link_is_no_copy(talk: PostgresStorage) -> None:
    """A link shows the current state: changed and deleted messages, and today's title."""
    share = await talk.share_conversation("c1")

    await talk.rename_conversation("c1", "Trip")
    await talk.add_message({"id": "m1", "role": "user", "content": "mended"}, "ada", "c1")
    await talk.delete_messages(["m3"], "ada", "c1")

    shown = await talk.get_shared_conversation(share.token)
    assert shown is not None
    assert shown.title == "Trip"
    assert await walk(talk, share.token) == ["0", "mended", "2", "4"]


async def test_links_end_when_the_conversation_is_given_away(talk: PostgresStorage, connection: Connection) -> None:
    """
    Links are deleted when the conversation is given away, since their creator could not revoke them.

    So is a link that is being created at the same time.
    """
    share = await talk.share_conversation("c1", owner="ada")
    await talk.update_conversation("c1", user_id="ada", title="Still ada's")
    assert await walk(talk, share.token) == ["0", "1", "2", "3", "4"]

    async with talk.transaction() as tx:
        late = await tx.share_conversation("c1", owner="ada")
        giving = asyncio.create_task(talk.update_conversation("c1", user_id="bob", owner="ada"))
        await wait_until_blocked(connection, tx.connection)

    assert (await giving).user_id == "bob"
    for token in (share.token, late.token):
        assert await talk.get_shared_conversation(token) is None
    assert await talk.list_shares("bob") == []


async def test_a_conversation_without_messages_is_shared_as_it_is(storage: PostgresStorage) -> None:
    """A link to an empty conversation shows its title, and no later messages."""
    await storage.create_conversation({"id": "c1", "user_id": "ada", "title": "Nothing yet"})
    share = await storage.share_conversation("c1")
    await storage.add_message(message(1), "ada", "c1")

    shown = await storage.get_shared_conversation(share.token)

    assert share.up_to is None
    assert shown is not None
    assert (shown.title, shown.messages, shown.next_cursor) == ("Nothing yet", [], None)


async def test_what_the_limit_put_aside_is_not_shown(make_storage: MakeStorage) -> None:
    """A link does not show archived messages, which its owner does not see either."""
    storage = make_storage(storage_limit=2, on_limit="archive")
    await storage.add_messages([message(n) for n in range(4)], "ada", "c1", resource_id="docs")

    assert await walk(storage, (await storage.share_conversation("c1")).token) == ["2", "3"]
    with pytest.raises(MessageNotFoundError):
        await storage.share_conversation("c1", up_to="m0")


# --- content that is never shown ----------------------------------------------------------------------------------

SECRET = "secret"
CALL = {"type": "tool-call", "toolCallId": SECRET, "toolName": SECRET, "args": {"q": SECRET}}
# Content that a link never shows, in the forms in which it is stored.
HIDDEN: list[dict[str, Any]] = [
    {"role": "system", "content": SECRET},
    {"role": "developer", "content": SECRET},
    {"role": "tool", "content": SECRET},
    {"role": "critic", "content": SECRET},
    {"role": "assistant", "type": "tool-call", "content": SECRET},
    {"role": "user", "type": "tool-result", "content": SECRET},
    {"role": "assistant", "type": "reasoning", "content": [{"type": "reasoning", "text": SECRET}]},
    {"role": "assistant", "type": "a kind of the application's", "content": SECRET},
    {"role": "assistant", "content": [CALL]},
    {"role": "assistant", "content": CALL},
    {"role": "assistant", "content": [{"type": "thinking", "text": SECRET}]},
    {"role": "assistant", "content": [{"text": SECRET, "thought": True}]},
    {"role": "assistant", "content": {"tool_calls": [{"id": SECRET, "function": {"arguments": SECRET}}]}},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": SECRET, "content": SECRET}]},
    {"role": "user", "content": [{"type": "function_call_output", "call_id": SECRET, "output": SECRET}]},
    {"role": "user", "content": [{"type": ["text"], "text": SECRET}, {"type": "text", "text": {"": SECRET}}]},
    {"role": "user", "content": ""},
    {"role": "user", "content": None},
    {"role": "user", "content": 1},
]


@pytest.mark.parametrize("hidden", HIDDEN, ids=lambda hidden: repr(hidden)[:60])
async def test_get_shared_conversation_shows_only_what_was_said(
    hidden: dict[str, Any], storage: PostgresStorage
) -> None:
    """
    get_shared_conversation() shows no instructions, tools or reasoning, nor a message that has only these.
    """
    beside = [{"type": "text", "text": "seen"}, *(hidden["content"] if isinstance(hidden["content"], list) else [CALL])]
    said = {"role": "assistant", "content": beside, "metadata": {"tool_calls": SECRET}}
    await storage.add_messages([message(1), hidden, said], "ada", "c1", resource_id="docs")

    shown = await storage.get_shared_conversation((await storage.share_conversation("c1")).token)

    assert shown is not None
    assert [(each.role, each.content, each.metadata) for each in shown.messages] == [
        ("user", "1", {}),
        ("assistant", "seen", {}),
    ]
    assert SECRET not in shown.model_dump_json()


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ({"type": "image", "image": SECRET}, "image"),
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{SECRET}"}}, "image/png"),
        ({"type": "file", "mediaType": "application/pdf", "filename": "a.pdf", "url": "data:;base64,AAAA"}, "a.pdf"),
        ({"type": "file", "mediaType": "image/png", "url": f"file:///home/{SECRET}.png"}, "image/png"),
        ({"type": "input_file", "file_id": SECRET}, "file"),
    ],
    ids=lambda file: str(file)[:40],
)
async def test_get_shared_conversation_names_a_file_that_it_cannot_show(
    file: dict[str, Any], named: str, storage: PostgresStorage
) -> None:
    """A picture whose bytes are in its message leaves its name, and neither bytes nor an address."""
    alone, beside = [file], [{"type": "text", "text": "And this?"}, file]
    await storage.add_messages([message(1, content=alone), message(2, content=beside)], "ada", "c1", resource_id="docs")
    share = await storage.share_conversation("c1")

    assert await walk(storage, share.token) == [f"[file: {named}]", f"And this?\n[file: {named}]"]
    shown = await storage.get_shared_conversation(share.token)
    assert shown is not None
    assert SECRET not in shown.model_dump_json()


async def test_get_shared_conversation_has_no_user(storage: PostgresStorage) -> None:
    """get_shared_conversation() has no user, resource, conversation id, metadata or tag."""
    names = {"id": "the-id", "user_id": "the-user", "resource_id": "the-resource"}
    await storage.create_conversation({**names, "title": "Hello", "metadata": {"the-key": "the-value"}})
    await storage.tag_conversation("the-id", ["the-tag"])
    await storage.add_messages([message(n) for n in range(3)], ANY_USER, "the-id")
    share = await storage.share_conversation("the-id")

    shown = await storage.get_shared_conversation(share.token, limit=1)

    assert shown is not None
    assert "the-" not in shown.model_dump_json()
    assert "the-" not in repr(shown)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[typed]", "[typed]"),
        ([{"type": "input_text", "text": "one"}, "two", {"type": "output_text", "text": "three"}], "one\ntwo\nthree"),
        ({"text": "one"}, "one"),
        ("\x00 and \ud800", " and \N{REPLACEMENT CHARACTER}"),
    ],
)
async def test_what_was_said_is_shown_as_text(content: Any, text: str, storage: PostgresStorage) -> None:
    """The text has a line for each text part; lone surrogates are removed, so that any page can show it."""
    await storage.add_message(message(1, content=content), "ada", "c1", resource_id="docs")

    assert await walk(storage, (await storage.share_conversation("c1")).token) == [text]


async def test_what_voltagent_stored_is_shown(talk: PostgresStorage, connection: Connection) -> None:
    """VoltAgent 2's messages are shown, with the text in their parts and without a type."""
    table = talk._options.tables.messages
    await connection.execute(f"ALTER TABLE {table} ALTER COLUMN type DROP NOT NULL, ALTER COLUMN content DROP NOT NULL")
    parts = '[{"type": "step-start"}, {"type": "reasoning", "text": "secret"}, {"type": "text", "text": "parts"}]'
    await connection.execute(
        f"UPDATE {table} SET content = NULL, type = NULL, parts = $1::text::jsonb WHERE message_id = 'm1'", parts
    )

    assert await walk(talk, (await talk.share_conversation("c1")).token) == ["0", "parts", "2", "3", "4"]


# --- pages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 2**63 - 1])
async def test_get_shared_conversation_is_read_in_pages(limit: int, talk: PostgresStorage) -> None:
    """get_shared_conversation() returns every message once, for any page size."""
    share = await talk.share_conversation("c1")

    assert await walk(talk, share.token, limit) == ["0", "1", "2", "3", "4"]


async def test_a_page_follows_whatever_was_deleted(talk: PostgresStorage) -> None:
    """A page after a cursor is right even if the message of the cursor, or the one after it, was deleted."""
    share = await talk.share_conversation("c1")
    first = await talk.get_shared_conversation(share.token, limit=2)
    assert first is not None

    await talk.delete_messages(["m1", "m2"], "ada", "c1")

    second = await talk.get_shared_conversation(share.token, limit=2, after=first.next_cursor)
    assert second is not None
    assert [each.id for each in second.messages] == ["m3", "m4"]
    assert second.next_cursor is None


async def test_pages_of_one_time_follow_whatever_was_deleted(storage: PostgresStorage) -> None:
    """So it is with many messages of one time, as in an import: no page skips or repeats one."""
    await storage.add_messages([message(n) for n in range(40)], "ada", "c1", resource_id="docs")
    share = await storage.share_conversation("c1")
    read: list[str] = []
    after: str | None = None
    for removed in ([], ["m2", "m3"], ["m7", "m9"], *[[]] * 20):
        page = await storage.get_shared_conversation(share.token, limit=3, after=after)
        assert page is not None
        read += [each.id for each in page.messages]
        after = page.next_cursor
        if after is None:
            break
        await storage.delete_messages(removed, "ada", "c1")

    assert after is None
    assert read == [f"m{n}" for n in range(40) if n != 9]


async def test_a_cursor_says_nothing_of_the_storage(storage: PostgresStorage) -> None:
    """The cursor of a link has what its page shows, and not the number that the storage gave the message."""
    cursors = []
    for count in (0, 30):
        await storage.add_messages([message(n) for n in range(count)], "bob", f"b{count}", resource_id="docs")
        await storage.delete_user("ada")
        await storage.add_messages([message(n) for n in range(3)], "ada", "c1", resource_id="docs")
        page = await storage.get_shared_conversation((await storage.share_conversation("c1")).token, limit=2)
        assert page is not None
        cursors.append(page.next_cursor)

    assert cursors[0] is not None
    assert cursors[0] == cursors[1]


@pytest.mark.parametrize("after", ["", "x", "WzFd", "WyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsOTIyMzM3MjAzNjg1NDc3NTgwOF0"])
async def test_an_invalid_cursor_is_refused(after: str, talk: PostgresStorage) -> None:
    """An invalid cursor is refused, also one with a number beyond bigint."""
    share = await talk.share_conversation("c1")

    with pytest.raises(InvalidQueryError, match="after"):
        await talk.get_shared_conversation(share.token, after=after)


@pytest.fixture(scope="module")
def shared_schema() -> Iterator[str]:
    with migrated_schema() as schema:
        yield schema


@pytest.fixture
async def shared_storage(dsn: str, shared_schema: str) -> AsyncIterator[PostgresStorage]:
    async with PostgresStorage(dsn, schema=shared_schema, storage_limit=None) as storage:
        yield storage


# One message per second, from any role; those of tools are not shown.
SAID = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["user", "assistant", "tool"])), max_size=8)


@examples(50)
@given(before=SAID, later=SAID, deleted=st.sets(st.integers(0, 7)), place=st.integers(0, 7), limit=st.integers(1, 9))
async def test_a_link_shows_that_part_and_no_other(
    before: list[tuple[int, str]],
    later: list[tuple[int, str]],
    deleted: set[int],
    place: int,
    limit: int,
    shared_storage: PostgresStorage,
) -> None:
    """For any times, last message, additions and deletions, a link shows exactly the messages up to its end."""
    storage = shared_storage
    conversation = await storage.create_conversation({"user_id": "ada"})
    made = [message(n, second, role=role) for n, (second, role) in enumerate(before)]
    await storage.add_messages(made, "ada", conversation.id)
    up_to = f"m{place}" if place < len(made) else None
    in_order = sorted(made, key=lambda each: (each["created_at"], int(str(each["content"]))))
    last = next((n for n, each in enumerate(in_order) if each["id"] == up_to), len(in_order))

    share = await storage.share_conversation(conversation.id, up_to=up_to)
    added = [message(n + 100, second, role=role) for n, (second, role) in enumerate(later)]
    await storage.add_messages(added, "ada", conversation.id)
    await storage.delete_messages([f"m{n}" for n in deleted], "ada", conversation.id)

    assert await walk(storage, share.token, limit) == [
        each["content"]
        for each in in_order[: last + 1]
        if each["role"] != "tool" and int(str(each["content"])) not in deleted
    ]


# --- invalid links ------------------------------------------------------------------------------------------------


async def test_get_shared_conversation_of_an_invalid_link_is_none(talk: PostgresStorage) -> None:
    """get_shared_conversation() is None for a token that is unknown, revoked, or of a deleted conversation."""
    revoked, deleted = await talk.share_conversation("c1"), await talk.share_conversation("c1")
    await talk.revoke_share(revoked.token)
    await talk.soft_delete_conversation("c1")

    for token in (
        revoked.token,
        deleted.token,
        "",
        "x",
        "c1",
        "%",
        deleted.token[:-1],
        deleted.token + "A",
        "é" * 9999,
    ):
        assert await talk.get_shared_conversation(token) is None
        assert await talk.get_shared_conversation(token, after=None, limit=1) is None

    await talk.restore_conversation("c1")
    assert len(await walk(talk, deleted.token)) == 5
    await talk.delete_conversation("c1")
    assert await talk.get_shared_conversation(deleted.token) is None


async def test_a_token_is_text(storage: PostgresStorage) -> None:
    """A token that is not a valid string is refused."""
    no_text: Any = b"token"
    for token in ("\x00", "\ud800", no_text):
        with pytest.raises(InvalidInputError, match="token"):
            await storage.get_shared_conversation(token)


async def test_no_link_outlives_its_conversation(talk: PostgresStorage, connection: Connection) -> None:
    """When a conversation is deleted or purged, no row of its links is left."""
    count = f"SELECT count(*) FROM {talk._options.tables.shares}"
    await talk.create_conversation({"id": "c2", "user_id": "ada"})
    for conversation_id in ("c1", "c1", "c2"):
        await talk.share_conversation(conversation_id)

    await talk.delete_conversation("c1")
    assert await connection.fetchval(count) == 1
    await talk.soft_delete_conversation("c2")
    await talk.purge_deleted_conversations()
    assert await connection.fetchval(count) == 0


# --- creating, listing, revoking ----------------------------------------------------------------------------------


async def test_a_token_cannot_be_guessed(talk: PostgresStorage) -> None:
    """A token has 256 random bits, in characters that are safe in a URL."""
    shares = await asyncio.gather(*(talk.share_conversation("c1") for _ in range(20)))

    assert len({share.token for share in shares}) == 20
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", share.token) for share in shares)


async def test_share_conversation_that_fails_leaves_no_link(talk: PostgresStorage) -> None:
    """share_conversation() of a missing message or conversation, or of another user's, creates no link."""
    with pytest.raises(MessageNotFoundError):
        await talk.share_conversation("c1", up_to="nowhere")
    with pytest.raises(InvalidInputError, match="up_to"):
        await talk.share_conversation("c1", up_to="")
    with pytest.raises(ConversationNotFoundError):
        await talk.share_conversation("nowhere")
    with pytest.raises(ConversationNotFoundError):
        await talk.share_conversation("c1", owner="bob")

    assert await talk.list_shares("ada") == []


async def test_share_conversation_waits_for_a_deletion(
    talk: PostgresStorage, make_storage: MakeStorage, dsn: str, connection: Connection, schema: str
) -> None:
    """share_conversation() waits for a concurrent deletion of the conversation, and then does not find it."""
    sharing = make_storage(with_parameters(dsn, application_name=schema))
    await sharing.open()
    async with talk.transaction() as tx:
        await tx.delete_conversation("c1")
        process = await tx.connection.fetchval("SELECT pg_backend_pid()")  # a pooler answers with its own
        share = asyncio.create_task(sharing.share_conversation("c1"))
        while not share.done() and not await waiting_for(connection, process):
            pass

    with pytest.raises(ConversationNotFoundError):
        await share


async def test_list_shares_has_the_users_links_newest_first(talk: PostgresStorage) -> None:
    """list_shares() returns the user's links, the newest first, of all conversations or of one."""
    for conversation_id, user_id in (("c2", "ada"), ("b1", "bob")):
        await talk.create_conversation({"id": conversation_id, "user_id": user_id})
    made = [await talk.share_conversation(each) for each in ("c1", "c2", "b1", "c1")]

    assert await talk.list_shares("ada") == [made[3], made[1], made[0]]
    assert await talk.list_shares("ada", conversation_id="c1") == [made[3], made[0]]
    assert await talk.list_shares("bob", conversation_id="c1") == []
    await talk.soft_delete_conversation("c1")
    assert await talk.list_shares("ada") == [made[1]]


async def test_revoke_share_ends_one_link_once(talk: PostgresStorage) -> None:
    """revoke_share() ends one link, for its owner only; the others stay."""
    first, second = await talk.share_conversation("c1"), await talk.share_conversation("c1")

    assert await talk.revoke_share(first.token, owner="bob") is False
    assert await talk.revoke_share(first.token, owner="ada") is True
    assert await talk.revoke_share(first.token) is False
    assert await talk.get_shared_conversation(first.token) is None
    assert await talk.list_shares("ada") == [second]
    await talk.soft_delete_conversation("c1")
    assert await talk.revoke_share(second.token) is True


async def test_share_conversation_does_not_move_it(talk: PostgresStorage) -> None:
    """share_conversation() does not change the order of the sidebar."""
    before = await talk.get_conversation("c1")

    share = await talk.share_conversation("c1")
    await talk.revoke_share(share.token)

    assert await talk.get_conversation("c1") == before


async def test_for_user_shares_what_is_the_users(talk: PostgresStorage) -> None:
    """for_user() lists and revokes only the user's links, and has no get_shared_conversation()."""
    ada, bob = talk.for_user("ada"), talk.for_user("bob")
    with pytest.raises(ConversationNotFoundError):
        await bob.share_conversation("c1")
    share = await ada.share_conversation("c1", up_to="m3")

    assert isinstance(share, Share)
    assert await ada.list_shares(conversation_id="c1") == [share] == await ada.list_shares()
    assert await bob.list_shares() == []
    assert await bob.revoke_share(share.token) is False
    assert await ada.revoke_share(share.token) is True
    assert not hasattr(UserStorage, "get_shared_conversation")
