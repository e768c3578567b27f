"""Titles and tags: a person's title has precedence over a model's."""

from __future__ import annotations

import asyncio

import pytest

from tests.areas.sidebar.lists import make, walk
from voltmem import ImportedConversation, InvalidInputError, PostgresStorage, TagCount


async def test_rename_conversation_by_a_model_keeps_a_persons_title(storage: PostgresStorage) -> None:
    """rename_conversation() by a model sets a missing title or replaces a model's, and keeps a person's."""
    await make(storage, 1)

    async def by_model(title: str) -> str | None:
        return (await storage.rename_conversation("c0", title, automatic=True)).title

    assert await by_model("first") == "first"
    assert await by_model("second") == "second"
    await storage.update_conversation("c0", title="Mine", touch=False)
    assert await by_model("third") == "Mine"
    await storage.rename_conversation("c0", "Mine, too")
    assert await by_model("fourth") == "Mine, too"
    assert (await storage.rename_conversation("c0", "By hand")).title == "By hand"
    await storage.create_conversation({"id": "named", "user_id": "ada", "title": "By the application"})
    assert (await storage.rename_conversation("named", "x", automatic=True)).title == "By the application"


async def test_a_title_that_an_agents_memory_gave_is_a_models(storage: PostgresStorage) -> None:
    """A title set by memory.title(if_unset=True) can be replaced by a model, one set by memory.title() cannot."""
    memory = storage.conversation("ada", "c1")
    await memory.title("from the first words", if_unset=True)
    assert (await storage.rename_conversation("c1", "better", automatic=True)).title == "better"
    await memory.title("Mine")
    assert (await storage.rename_conversation("c1", "worse", automatic=True)).title == "Mine"


async def test_rename_conversation_at_once_leaves_the_persons_title(storage: PostgresStorage) -> None:
    """Concurrent rename_conversation() calls of a person and a model leave the person's title."""
    await make(storage, 1)
    await asyncio.gather(
        *(storage.rename_conversation("c0", f"auto {n}", automatic=True) for n in range(5)),
        storage.rename_conversation("c0", "Mine"),
        *(storage.rename_conversation("c0", f"auto {n}", automatic=True) for n in range(5)),
    )

    found = await storage.get_conversation("c0")
    assert found is not None
    assert found.title == "Mine"


async def test_tag_conversation_sets_the_tags(storage: PostgresStorage) -> None:
    """tag_conversation() sets the tags in the given order, without duplicates; an empty list removes all."""
    await make(storage, 1)

    assert (await storage.tag_conversation("c0", ["b", "a", "b"])).tags == ["b", "a"]
    assert (await storage.tag_conversation("c0", [])).tags == []


async def test_tag_conversation_takes_tags_that_can_be_listed(storage: PostgresStorage) -> None:
    """tag_conversation() takes tags up to the length of an id; so does an import."""
    await make(storage, 1)
    longest = "\N{GRINNING FACE}" * 250

    await storage.tag_conversation("c0", [longest])
    assert await walk(storage, 5, tag=longest) == ["c0"]
    with pytest.raises(InvalidInputError, match=r"tags .* 1000 bytes"):
        await storage.tag_conversation("c0", ["work", longest + "x"])
    with pytest.raises(InvalidInputError, match="1000 bytes"):
        ImportedConversation.of({"tags": [longest + "x"]})
    assert await walk(storage, 5, tag=longest) == ["c0"]


async def test_list_tags_counts_what_is_not_deleted(storage: PostgresStorage) -> None:
    """list_tags() counts the conversations of each tag, in the list and in the archive, of this user."""
    await make(storage, 3)
    for id, tags in (("c0", ["a", "x"]), ("c1", ["a", "b"]), ("c2", ["a"])):
        await storage.tag_conversation(id, tags)
    await storage.archive_conversation("c1")
    await storage.soft_delete_conversation("c2")

    assert await storage.list_tags("ada") == [
        TagCount(tag="a", listed=1, archived=1),
        TagCount(tag="b", listed=0, archived=1),
        TagCount(tag="x", listed=1, archived=0),
    ]
    assert await storage.list_tags("bob") == []


async def test_replace_tag_changes_all_that_have_it_or_some(storage: PostgresStorage) -> None:
    """replace_tag() replaces, adds or removes a tag, each once; the order of the list stays."""
    await make(storage, 4)
    ids = ["c0", "c1", "c2", "c3"]
    for id, tags in zip(ids, (["a", "x"], ["a", "b"], ["a"], []), strict=True):
        await storage.tag_conversation(id, tags)
    await storage.archive_conversation("c1")
    await storage.soft_delete_conversation("c2")

    assert await storage.replace_tag("bob", "a", "b") == []
    assert await storage.replace_tag("ada", "a", "b") == ["c0", "c1", "c2"]  # the deleted one, too
    assert await storage.replace_tag("ada", "a", "b") == []
    assert await storage.replace_tag("ada", None, "x", conversation_ids=["c0", "c3"]) == ["c3"]
    assert await storage.replace_tag("ada", "b", None, conversation_ids=["c1", "c3"]) == ["c1"]

    await storage.restore_conversation("c2")
    items = {item.id: item.tags for item in (await storage.list_conversations("ada")).items}
    assert items == {"c0": ["x", "b"], "c2": ["b"], "c3": ["x"]}
    assert (await storage.get_conversation_item("c1")).tags == []
    assert await walk(storage, 5) == ["c3", "c2", "c0"]
    with pytest.raises(InvalidInputError, match="tag is None"):
        await storage.replace_tag("ada", None, "b")
    with pytest.raises(InvalidInputError, match="tag is None"):
        await storage.replace_tag("ada", None, None, conversation_ids=["c0"])
