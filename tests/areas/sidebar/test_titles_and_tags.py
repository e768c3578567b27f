"""Titles and tags: a person's title wins over a model's."""

from __future__ import annotations

import asyncio

import pytest

from tests.areas.sidebar.lists import make, walk
from voltmem import ImportedConversation, InvalidInputError, PostgresStorage


async def test_a_model_never_renames_what_a_person_named(storage: PostgresStorage) -> None:
    """It names what has no name, and renames what a model named, in whatever way the person gave it."""
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
    """memory.title(if_unset=True) can be followed by a better one, memory.title() cannot."""
    memory = storage.conversation("ada", "c1")
    await memory.title("from the first words", if_unset=True)
    assert (await storage.rename_conversation("c1", "better", automatic=True)).title == "better"
    await memory.title("Mine")
    assert (await storage.rename_conversation("c1", "worse", automatic=True)).title == "Mine"


async def test_a_person_and_a_model_at_once_leave_the_persons(storage: PostgresStorage) -> None:
    """Whoever comes first."""
    await make(storage, 1)
    await asyncio.gather(
        *(storage.rename_conversation("c0", f"auto {n}", automatic=True) for n in range(5)),
        storage.rename_conversation("c0", "Mine"),
        *(storage.rename_conversation("c0", f"auto {n}", automatic=True) for n in range(5)),
    )

    found = await storage.get_conversation("c0")
    assert found is not None
    assert found.title == "Mine"


async def test_tags_are_what_was_given_last(storage: PostgresStorage) -> None:
    """In their order, each once; an empty list takes them all away."""
    await make(storage, 1)

    assert (await storage.tag_conversation("c0", ["b", "a", "b"])).tags == ["b", "a"]
    assert (await storage.tag_conversation("c0", [])).tags == []


async def test_a_tag_is_one_that_the_list_can_be_asked_for(storage: PostgresStorage) -> None:
    """As long as an id may be, and no longer; an import takes no other either."""
    await make(storage, 1)
    longest = "\N{GRINNING FACE}" * 250

    await storage.tag_conversation("c0", [longest])
    assert await walk(storage, 5, tag=longest) == ["c0"]
    with pytest.raises(InvalidInputError, match=r"tags .* 1000 bytes"):
        await storage.tag_conversation("c0", ["work", longest + "x"])
    with pytest.raises(InvalidInputError, match="1000 bytes"):
        ImportedConversation.of({"tags": [longest + "x"]})
    assert await walk(storage, 5, tag=longest) == ["c0"]
