"""The handle on a working memory: its writes, versions and refusals, and writers at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, JsonValue

from tests.agents.conftest import content
from tests.conftest import Connection
from tests.properties import examples
from voltmem import (
    InvalidInputError,
    InvalidOptionError,
    MemoryConflictError,
    MemoryRefusedError,
    OperationConflictError,
    PostgresStorage,
    WorkingMemoryHandle,
)
from voltmem._areas.working_memory import MergeRules
from voltmem._values import uuid7

Rule = Callable[[JsonValue, JsonValue], JsonValue]

TEMPLATE = "# Person\n- Name:\n- Lives in:\n"


class Profile(BaseModel):
    """What is known of a person."""

    name: str
    age: int | None = None
    likes: list[str] = []


# --- writing ------------------------------------------------------------------------------------------------------


async def test_get_finds_nothing_at_first(memory: WorkingMemoryHandle) -> None:
    """There is no memory, and no history, before something was written."""
    assert await memory.get() is None
    assert await memory.history() == []
    assert await memory.delete() is False


async def test_set_replaces_all(memory: WorkingMemoryHandle) -> None:
    """set() stores the text as it is, as a version after the one before, with its author and time."""
    first = await memory.set("  likes tea\n", author="planner")
    second = await memory.set("likes coffee")

    assert (first.content, first.version, first.author) == ("  likes tea\n", 1, "planner")
    assert (second.content, second.version, second.author) == ("likes coffee", 2, None)
    assert isinstance(second.changed_at, datetime)
    assert await memory.get() == second
    assert second.value is None


async def test_append_adds_a_paragraph(memory: WorkingMemoryHandle) -> None:
    """append() puts the text behind what is there, after an empty line; the first text is alone."""
    await memory.append("- likes tea")
    stored = await memory.append("- lives in Oslo")

    assert stored.content == "- likes tea\n\n- lives in Oslo"


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        (None, {"a": 1}, {"a": 1}),
        ({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": None, "e": [1]}}, {"a": 1, "b": {"d": 2, "e": [1]}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": "  two\n  lines"}, {"b": "{ 3 }"}, {"a": "  two\n  lines", "b": "{ 3 }"}),
    ],
)
async def test_merge_follows_rfc_7396(memory: WorkingMemoryHandle, before: Any, patch: Any, after: object) -> None:
    """merge() merges objects, removes what is None, and replaces everything else."""
    if before is not None:
        await memory.set(before)

    stored = await memory.merge(patch)

    assert stored.value == after
    assert stored == await memory.get()


async def test_merge_is_indented_as_voltagent_does_it(memory: WorkingMemoryHandle) -> None:
    """JSON is stored as text, indented by two, whether it was set or merged."""
    was_set = await memory.set({"a": {"b": "    x"}})
    merged = await memory.merge({"a": {"b": "    x"}})

    assert was_set.content == merged.content == '{\n  "a": {\n    "b": "    x"\n  }\n}'


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        ({"a": [1, 2], "b": {"c": [{"d": 1}]}}, {"a": [2, 3], "b": {"c": [{"d": 1}, 2]}}, {"a": [1, 2, 3]}),
        ({"a": 1, "b": 1}, {"a": None}, {"a": None, "b": 1}),
        ({"a": {"b": 1}}, {"a": [1]}, {"a": [1]}),
    ],
)
async def test_merge_with_voltagents_rules_unites_arrays(
    memory: WorkingMemoryHandle, before: Any, patch: Any, after: dict[str, object]
) -> None:
    """With VoltAgent's rules, arrays are united in their order, and null is a value."""
    await memory.set(before)

    stored = await memory.merge(patch, rules="voltagent")

    assert isinstance(stored.value, dict)
    assert stored.value | after == stored.value
    assert stored.value.get("b") in (None, {"c": [{"d": 1}, 2]}, 1)


ANY: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text('ab é{}" \n', max_size=4),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.sampled_from("abc"), each, max_size=3),
    max_leaves=8,
)


def patched(target: JsonValue, patch: JsonValue) -> JsonValue:
    """Return the result of RFC 7396, as it is written there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = patched(result.get(name), value)
    return result


def united(target: JsonValue, addition: JsonValue) -> JsonValue:
    """Return what VoltAgent's simpleDeepMerge returns, with equal objects of arrays once."""
    if isinstance(target, dict) and isinstance(addition, dict):
        return {**target, **{name: united(target.get(name), value) for name, value in addition.items()}}
    if isinstance(target, list) and isinstance(addition, list):
        return list({canonical(value): value for value in [*target, *addition]}.values())
    return addition


def canonical(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True)


@examples(50)
@given(before=st.dictionaries(st.sampled_from("abc"), ANY), patch=st.dictionaries(st.sampled_from("abc"), ANY))
async def test_merge_of_any_json_is_that_of_the_rules(
    before: dict[str, JsonValue], patch: dict[str, JsonValue], storage: PostgresStorage
) -> None:
    """For any two documents, merge() has the result of RFC 7396, or of VoltAgent's rules, or refuses an empty one."""
    rules: list[tuple[MergeRules, Rule]] = [("rfc7396", patched), ("voltagent", united)]
    for name, rule in rules:
        memory = storage.working_memory(uuid7())
        if before:
            await memory.set(before)
        expected = rule(before, patch)
        if expected == {}:
            with pytest.raises(MemoryRefusedError, match="empty"):
                await memory.merge(patch, rules=name)
        else:
            assert canonical((await memory.merge(patch, rules=name)).value) == canonical(expected)


async def test_a_model_is_stored_as_json(storage: PostgresStorage) -> None:
    """A pydantic model can be set, and merged: then only the fields that were set count."""
    memory = storage.working_memory("ada", schema=Profile)

    await memory.set(Profile(name="Ada", likes=["tea"]))
    stored = await memory.merge(Profile(name="Ada", age=36))

    assert Profile.model_validate_json(stored.content) == Profile(name="Ada", age=36, likes=["tea"])


async def test_what_does_not_fit_the_schema_is_refused(storage: PostgresStorage) -> None:
    """With a schema, a write whose result does not fit is refused, and nothing of it stays."""
    memory = storage.working_memory("ada", schema=Profile)
    stored = await memory.set({"name": "Ada"})

    for invalid in (memory.set({"age": 36}), memory.set("likes tea"), memory.append("likes tea")):
        with pytest.raises(InvalidInputError, match=r"JSON|would not fit Profile: (name|age|all of it)"):
            await invalid
    for refused in (memory.merge({"name": None, "likes": []}), memory.merge({"age": "old"})):
        with pytest.raises(MemoryRefusedError, match=r"would not fit Profile: (name|age)"):
            await refused
    assert await memory.get() == stored
    assert len(await memory.history()) == 1


async def test_restore_refuses_a_version_that_does_not_fit_the_schema(storage: PostgresStorage) -> None:
    """With a schema, a version from before is restored only if it fits; otherwise nothing changes."""
    await storage.working_memory("ada").set("likes tea")
    memory = storage.working_memory("ada", schema=Profile)
    fitting = await memory.set({"name": "Ada"})
    stored = await memory.merge({"age": 36})

    with pytest.raises(MemoryRefusedError, match="would not fit Profile: all of it"):
        await memory.restore(1)
    assert await memory.get() == stored
    assert (await memory.restore(fitting.version)).value == {"name": "Ada"}


# --- versions -----------------------------------------------------------------------------------------------------


async def test_if_version_stores_nothing_if_another_is_the_newest(memory: WorkingMemoryHandle) -> None:
    """A write with if_version is refused if the memory was changed since, and the error has the newest version."""
    first = await memory.set("likes tea", if_version=0)
    await memory.append("likes coffee", if_version=first.version)

    for write in (memory.set("x", if_version=1), memory.append("x", if_version=0), memory.delete(if_version=1)):
        with pytest.raises(MemoryConflictError) as caught:
            await write
        assert caught.value.version == 2
    assert await content(memory) == "likes tea\n\nlikes coffee"


async def test_if_version_0_needs_that_there_is_none(memory: WorkingMemoryHandle) -> None:
    """if_version=0 stores where there is no memory, also after a deletion, whose version counts on."""
    await memory.set("likes tea")
    await memory.delete()
    with pytest.raises(MemoryConflictError, match="is empty, not has version 1") as caught:
        await memory.set("x", if_version=1)

    stored = await memory.set("likes coffee", if_version=0)

    assert caught.value.version == 0
    assert stored.version == 3


async def test_an_operation_is_made_once(memory: WorkingMemoryHandle) -> None:
    """A repeat of an operation returns the first result and changes nothing, whatever was written since."""
    first = await memory.append("likes tea", operation_id="call-1", author="planner")
    await memory.append("likes coffee", operation_id="call-2")

    again = await memory.append("likes tea", operation_id="call-1", if_version=0)

    assert again == first
    assert [each.operation_id for each in await memory.history()] == ["call-2", "call-1"]
    assert await memory.delete(operation_id="call-3") is True
    assert await memory.delete(operation_id="call-3") is True
    assert len(await memory.history()) == 3


async def test_an_operation_that_is_used_for_another_change_is_an_error(memory: WorkingMemoryHandle) -> None:
    """The same operation with other content, or another kind of change, raises OperationConflictError."""
    await memory.append("likes tea", operation_id="call-1")

    for write in (memory.append("likes coffee", operation_id="call-1"), memory.set("likes tea", operation_id="call-1")):
        with pytest.raises(OperationConflictError) as caught:
            await write
        assert caught.value.operation_id == "call-1"
    assert await content(memory) == "likes tea"


async def test_operations_are_those_of_one_memory(storage: PostgresStorage) -> None:
    """Another user's memory, and that of a conversation, know nothing of an operation."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    for memory in (
        storage.working_memory("ada"),
        storage.working_memory("bob"),
        storage.working_memory("ada", "c1"),
    ):
        assert (await memory.append(f"{memory!r}", operation_id="call-1")).version == 1


async def test_history_says_who_wrote_what(memory: WorkingMemoryHandle) -> None:
    """history() has the versions, newest first, with their content, change, author and time."""
    await memory.set("likes tea", author="planner")
    await memory.append("likes coffee")
    await memory.delete(author="ada")

    history = await memory.history()

    assert [(each.version, each.content, each.change, each.author) for each in history] == [
        (3, None, "delete", "ada"),
        (2, "likes tea\n\nlikes coffee", "append", None),
        (1, "likes tea", "set", "planner"),
    ]
    assert [each.created_at for each in history] == sorted((each.created_at for each in history), reverse=True)
    assert [each.version for each in await memory.history(limit=1)] == [3]
    assert [each.version for each in await memory.history(limit=None, before=3)] == [2, 1]


async def test_history_keeps_the_newest_hundred(memory: WorkingMemoryHandle) -> None:
    """The newest hundred versions are kept."""
    for number in range(103):
        await memory.set(str(number))

    kept = await memory.history(limit=None)

    assert [each.version for each in kept] == [*range(103, 3, -1)]


async def test_restore_brings_a_version_back(memory: WorkingMemoryHandle) -> None:
    """restore() makes an earlier content the newest version; one that is not there is refused."""
    await memory.set("likes tea")
    await memory.set("overwritten")
    await memory.delete()

    stored = await memory.restore(1, author="ada")

    assert (stored.content, stored.version, stored.author) == ("likes tea", 4, "ada")
    for version in (3, 9):
        with pytest.raises(MemoryRefusedError, match="not in the history, or the memory was empty"):
            await memory.restore(version)


async def test_delete_leaves_the_history(memory: WorkingMemoryHandle) -> None:
    """delete() empties the memory, once; restore() brings it back."""
    await memory.set("likes tea")

    assert await memory.delete() is True
    assert await memory.delete() is False
    assert await memory.get() is None
    assert (await memory.restore(1)).content == "likes tea"


async def test_delete_with_history_leaves_nothing(
    memory: WorkingMemoryHandle, connection: Connection, schema: str
) -> None:
    """delete(history=True) leaves no text, and the number of the next version is not one that was used."""
    await memory.set("likes tea")
    await memory.delete()

    assert await memory.delete(history=True) is True
    assert [(each.version, each.content) for each in await memory.history()] == [(3, None)]
    for table in ("user_memory", "conversation_memory"):
        rows = await connection.fetch(f'SELECT * FROM "{schema}".voltagent_memory_{table}')
        assert "likes tea" not in str(rows)
    assert (await memory.set("likes coffee")).version == 4


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", ["", " \n\t", "{}", " [] ", "null", '""'])
async def test_a_write_that_would_empty_it_is_refused(memory: WorkingMemoryHandle, empty: str) -> None:
    """Only delete() empties a memory."""
    await memory.set({"likes": "tea"})

    for write in (memory.set(empty), memory.append(empty), memory.set({}), memory.merge({"likes": None})):
        with pytest.raises((InvalidInputError, MemoryRefusedError), match=r"empty.*: delete\(\) empties it"):
            await write
    assert await content(memory) == '{\n  "likes": "tea"\n}'


async def test_the_bare_template_replaces_nothing(storage: PostgresStorage) -> None:
    """The template is stored where there is nothing, or only the template; never in place of what is filled in."""
    memory = storage.working_memory("ada", template=TEMPLATE)
    await memory.set(TEMPLATE)
    await memory.set(f"\n{TEMPLATE}")
    filled = await memory.set(TEMPLATE.replace("Name:", "Name: Ada"))

    with pytest.raises(MemoryRefusedError, match="bare template"):
        await memory.set(TEMPLATE.strip(), if_version=filled.version)
    assert await memory.get() == filled
    await memory.delete()
    assert (await memory.set(TEMPLATE)).content == TEMPLATE


async def test_a_memory_has_a_bound(storage: PostgresStorage) -> None:
    """No write makes a memory larger than the bound, in UTF-8; what is larger already can be made smaller."""
    memory = storage.working_memory("ada", max_bytes=10)
    await memory.set("ö" * 5)

    for write in (memory.set("ö" * 6), memory.append("x"), memory.set({"likes": "tea"})):
        with pytest.raises((InvalidInputError, MemoryRefusedError), match="more than 10 bytes"):
            await write
    assert await content(memory) == "ö" * 5
    with pytest.raises(MemoryRefusedError, match="more than 100,000 bytes"):
        await storage.working_memory("ada").append("x" * 99_999)
    assert (await storage.working_memory("ada", max_bytes=200_000).append("x" * 99_999)).version == 2
    assert (await storage.working_memory("ada").set("x")).version == 3


@pytest.mark.parametrize(("held", "is_json"), [("likes tea", False), ("{broken", False), ('{"a": 1}', True)])
async def test_text_and_json_do_not_mix(memory: WorkingMemoryHandle, held: str, is_json: bool) -> None:
    """JSON is not merged into text, and text is not appended to a JSON object."""
    await memory.set(held)

    refused = memory.append("x") if is_json else memory.merge({"a": 1})

    with pytest.raises(MemoryRefusedError, match=r"use merge\(\)" if is_json else r"use append\(\)"):
        await refused
    assert await content(memory) == held


async def test_a_refusal_leaves_a_transaction_intact(storage: PostgresStorage) -> None:
    """A refused write does not end the transaction in which it was made."""
    async with storage.transaction() as tx:
        memory = tx.working_memory("ada")
        await memory.set("likes tea")
        with pytest.raises(MemoryConflictError):
            await memory.set("x", if_version=0)
        with pytest.raises(MemoryRefusedError):
            await tx.working_memory("ada").merge({"age": 1})
        with pytest.raises(MemoryRefusedError):
            await tx.working_memory("bob", schema=Profile).merge({"age": 1})
        await memory.append("likes coffee")

    assert await content(storage.working_memory("ada")) == "likes tea\n\nlikes coffee"
    assert await storage.working_memory("bob").get() is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"user_id": ""},
        {"conversation_id": ""},
        {"max_bytes": 0},
        {"author": ""},
        {"template": "\x00"},
        {"schema": dict},
        {"template": TEMPLATE, "schema": Profile},
    ],
)
def test_a_handle_with_invalid_arguments_is_refused(arguments: dict[str, Any]) -> None:
    """A handle is refused at once if an argument is invalid."""
    with pytest.raises((InvalidInputError, InvalidOptionError)):
        PostgresStorage("postgresql://localhost/x").working_memory(**{"user_id": "ada", **arguments})


@pytest.mark.parametrize(
    "write",
    [
        lambda memory: memory.set("a\x00"),
        lambda memory: memory.set(["a"]),
        lambda memory: memory.set({"a": "\x00"}),
        lambda memory: memory.set({"a": float("nan")}),
        lambda memory: memory.set("a", if_version=-1),
        lambda memory: memory.set("a", operation_id=""),
        lambda memory: memory.append(1),
        lambda memory: memory.merge("{}"),
        lambda memory: memory.merge({"a": "\x00"}),
        lambda memory: memory.merge({"a": 1}, rules="mine"),
        lambda memory: memory.restore(0),
        lambda memory: memory.history(limit=-1),
    ],
)
async def test_invalid_arguments_of_a_write_are_refused(storage: PostgresStorage, write: Any) -> None:
    """An invalid argument raises InvalidInputError before anything is sent."""
    with pytest.raises(InvalidInputError):
        await write(storage.working_memory("ada"))


async def test_json_that_jsonb_cannot_hold_is_text(storage: PostgresStorage) -> None:
    """JSON that jsonb cannot hold counts as text: it can be read, replaced and deleted."""
    memory = storage.working_memory("ada")
    for held in ('{"a": "\\u0000"}', '{"a": 1e999999}', '{"a":' * 5000, "{" * 90_000):
        await memory.set(held)
        with pytest.raises(MemoryRefusedError, match=r"use append\(\)"):
            await memory.merge({"b": 1})
        assert await content(memory) == held
