"""``python -m voltmem prune|purge|delete|forget``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.command_line.commands import Command

if TYPE_CHECKING:
    from tests.conftest import MakeStorage


async def test_prune_of_the_command_line_deletes_what_is_older(
    command_here: Command, make_storage: MakeStorage
) -> None:
    """The command prune says what it would delete, or has deleted, of one user or of all."""
    storage = make_storage()
    old = {"role": "user", "content": "old", "created_at": datetime.now(UTC) - timedelta(days=40)}
    for user in ("ada", "bob"):
        await storage.add_messages([old, {"role": "user", "content": "new"}], user, user, resource_id="docs")

    for words, printed in (
        (["--older-than", "30d", "--dry-run"], "would delete 2 messages, 0 conversations, 0 runs\n"),
        (["--older-than", "30d", "--keep-last", "2"], "deleted 0 messages, 0 conversations, 0 runs\n"),
        (["--older-than", "720h", "--user", "ada", "--runs"], "deleted 1 messages, 0 conversations, 0 runs\n"),
        (["--older-than", "1000000m"], "deleted 0 messages, 0 conversations, 0 runs\n"),
        (["--older-than", "30d", "--resource", "docs"], "deleted 1 messages, 0 conversations, 0 runs\n"),
    ):
        assert await command_here("prune", *words) == (0, printed, "")


@pytest.mark.parametrize("age", ["30", "d", "", "30y", "x d", "999999999999d"])
async def test_prune_of_the_command_line_refuses_what_is_no_age(age: str, command_here: Command) -> None:
    """An age without a unit, or without a number, is an invalid argument."""
    for words in (["--older-than", age], []):
        with pytest.raises(SystemExit, match="2"):
            await command_here("prune", *words)


async def test_purge_of_the_command_line_empties_the_trash(command_here: Command, make_storage: MakeStorage) -> None:
    """The command purge deletes what is in the trash, of one user or of all, and as old as it is told."""
    storage = make_storage()
    for user in ("ada", "bob"):
        await storage.create_conversation({"id": user, "user_id": user})
        await storage.soft_delete_conversation(user)

    for words, count in ((["--older-than", "1d"], 0), (["--user", "ada"], 1), ([], 1)):
        assert await command_here("purge", *words) == (0, f"deleted {count} conversations from the trash\n", "")


async def test_delete_of_the_command_line_deletes_a_user(command_here: Command, make_storage: MakeStorage) -> None:
    """The command delete deletes everything of its user, and needs one."""
    storage = make_storage()
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    with pytest.raises(SystemExit, match="2"):
        await command_here("delete")
    done = await command_here("delete", "--user", "ada")

    assert done[:2] == (0, "deleted 1 conversations and runs, and everything else of the user\n")
    assert await storage.count_conversations() == 0


async def test_forget_of_the_command_line_names_what_remembers(
    command_here: Command, make_storage: MakeStorage
) -> None:
    """The command forget deletes the messages that it is given, and names the versions of working memory."""
    storage = make_storage()
    for conversation_id in ("c1", "c2"):
        message = {"id": "m1", "role": "user", "content": "words"}
        await storage.add_message(message, "ada", conversation_id, resource_id="docs")
    for memory in (storage.working_memory("ada"), storage.working_memory("ada", "c1")):
        await memory.set("likes tea", from_messages=["m1"])
    await storage.working_memory("ada").set("likes coffee", from_messages=["m2"])

    assert await command_here("forget", "--user", "ada", "m1", "m9") == (
        0,
        "deleted 2 messages in 2 conversations\n"
        "version 1 of the working memory of the user was written from them\n"
        "version 1, the newest, of the working memory of conversation c1 was written from them\n",
        "",
    )
    for conversation_id in ("c1", "c2"):
        message = {"id": "m3", "role": "user", "content": "words"}
        await storage.add_message(message, "ada", conversation_id)
    done = await command_here("forget", "--user", "ada", "--conversation", "c2", "m3")
    assert done == (0, "deleted 1 messages in 1 conversations\n", "")
    for words in ((), ("--user", "ada")):
        with pytest.raises(SystemExit, match="2"):
            await command_here("forget", *words)
