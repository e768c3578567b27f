"""The items of a user, in which frameworks keep their memories."""

from __future__ import annotations

import asyncio
import time

import pytest
from pydantic import JsonValue

from tests.areas.transfer.exported import OTHER
from tests.conftest import Connection, MakeStorage
from voltmem import InvalidInputError, InvalidLineError, MemoryRefusedError, PostgresStorage
from voltmem._areas import items
from voltmem._areas.area import Access, access
from voltmem._areas.items import Item, Put, Written, change_items, get_items, get_operation, search_items

ROOT = ("a framework",)


@pytest.fixture
def to(storage: PostgresStorage) -> Access:
    return access(storage)


def put(key: str, value: dict[str, JsonValue] | None, text: str | None = None, seconds: float | None = None) -> Put:
    return Put(ROOT, key, value, text, seconds)


async def get(to: Access, key: str, user_id: str = "ada") -> Item | None:
    [found] = await get_items(to, user_id, [(ROOT, key)])
    return found


async def rows(connection: Connection, schema: str, user_id: str = "ada") -> list[str]:
    table = f'"{schema}".voltagent_memory_user_items'
    return [row["key"] for row in await connection.fetch(f"SELECT key FROM {table} WHERE user_id = $1", user_id)]


async def test_items_of_another_user_are_not_reached(to: Access) -> None:
    """Equal namespaces and keys of two users are two items, to read, to find and to delete."""
    for user in ("ada", "bob"):
        await change_items(to, user, [put("k", {"of": user}, "tea")])
    await change_items(to, "ada", [put("k", None)])

    assert await get(to, "k") is None
    assert (await get(to, "k", "bob")).value == {"of": "bob"}  # type: ignore[union-attr]
    for query in (None, "tea"):
        assert await search_items(to, "ada", ROOT, [], query, (10, 0)) == []
    assert await items.list_item_namespaces(to, "eve", ROOT[0], [], None, (10, 0)) == []


async def test_change_items_compares_the_version(to: Access) -> None:
    """A write that expects another version changes nothing, and no two versions of an item are equal."""
    first = await change_items(to, "ada", [put("k", {"n": 1})], if_version="")
    taken = await change_items(to, "ada", [put("k", {"n": 2})], if_version="")
    second = await change_items(to, "ada", [put("k", {"n": 2})], if_version=first.version)
    puts = put("k", {"n": 3}), put("k", None)
    late = [await change_items(to, "ada", [each], if_version=first.version) for each in puts]
    deleted = await change_items(to, "ada", [put("k", None)], if_version=second.version)
    again = await change_items(to, "ada", [put("k", {"n": 1})], if_version="")

    assert (first.outcome, first.existed) == ("done", False)
    assert (second.outcome, second.existed) == ("done", True)
    assert [each.outcome for each in (taken, *late)] == ["conflict"] * 3
    assert deleted == Written("done", None, True)
    assert len({first.version, second.version, again.version}) == 3
    assert await change_items(to, "ada", [put("k", None)], if_version="") == Written("conflict", None, False)
    assert await change_items(to, "ada", [put("none", None)], if_version="") == Written("done", None, False)


async def test_change_items_lets_one_of_concurrent_writers_win(to: Access) -> None:
    """Of writers at once that expect the same version, one stores; of calls of the same operation, too."""
    version = (await change_items(to, "ada", [put("k", {"n": 0})])).version
    done = await asyncio.gather(
        *(change_items(to, "ada", [put("k", {"n": n})], if_version=version) for n in range(5)),
        *(change_items(to, "ada", [put("new", {"n": 0})], if_version="", operation=("o1", "h")) for _ in range(5)),
    )

    assert sorted(each.outcome for each in done[:5]) == ["conflict"] * 4 + ["done"]
    assert sorted(each.outcome for each in done[5:]) == ["done"] + ["repeated"] * 4
    assert len({each.version for each in done[5:]}) == 1


async def test_change_items_applies_an_operation_once(to: Access) -> None:
    """A repeat has the first one's result, also after later writes; another change under its id is told apart."""
    first = await change_items(to, "ada", [put("k", {"n": 1})], if_version="", operation=("o1", "h1"))
    await change_items(to, "ada", [put("k", {"n": 2})])
    absent = await change_items(to, "ada", [put("none", None)], if_version="", operation=("o2", "h2"))

    repeated = await change_items(to, "ada", [put("k", {"n": 1})], if_version="", operation=("o1", "h1"))
    other = await change_items(to, "ada", [put("k", {"n": 3})], operation=("o1", "another"))

    assert repeated == Written("repeated", first.version, False) == await get_operation(to, "ada", ("o1", "h1"))
    assert other.outcome == "other operation"
    assert absent == Written("done", None, False)
    assert await get_operation(to, "ada", ("o2", "h2")) == Written("repeated", None, False)
    assert await get_operation(to, "bob", ("o1", "h1")) is None
    # A conflict is no result: the same operation may be tried again with the version that it has read anew.
    late = await change_items(to, "ada", [put("k", {"n": 4})], if_version="", operation=("o3", "h3"))
    found = await get(to, "k")
    assert found is not None
    again = await change_items(to, "ada", [put("k", {"n": 4})], if_version=found.version, operation=("o3", "h3"))
    assert (late.outcome, again.outcome) == ("conflict", "done")


async def test_change_items_stores_all_or_none(to: Access, connection: Connection, schema: str) -> None:
    """If one item of a call cannot be stored, none is."""
    await change_items(to, "ada", [put("a", {"n": 1}), put("a", {"n": 2}), put("b", {"n": 3})])
    assert (await get(to, "a")).value == {"n": 2}  # type: ignore[union-attr]  # the last of one key counts
    await connection.execute(
        f"""ALTER TABLE "{schema}".voltagent_memory_user_items ADD CONSTRAINT no_d CHECK (key <> 'd')"""
    )

    with pytest.raises(Exception, match="no_d"):
        await change_items(to, "ada", [put("c", {}), put("d", {})])

    assert sorted(await rows(connection, schema)) == ["a", "b"]


async def test_an_expired_item_is_not_there(to: Access, connection: Connection, schema: str) -> None:
    """An item whose time has come is neither read nor found; the user's next write deletes it, and no other user's."""
    for user in ("ada", "bob"):
        await change_items(to, user, [put("k", {"n": 1}, "tea", seconds=60), put("stays", {}, "tea")])
    [kept] = await get_items(to, "ada", [(ROOT, "k")])
    await items.keep_items_longer(to, "ada", [kept])
    assert kept is not None
    assert kept.is_kept_longer
    table = f'"{schema}".voltagent_memory_user_items'
    await connection.execute(f"UPDATE {table} SET expires_at = now() - interval '1 second' WHERE key = 'k'")

    await items.keep_items_longer(to, "ada", [kept])  # does not bring it back
    assert await get(to, "k") is None
    for query in (None, "tea"):
        assert [each.key for each in await search_items(to, "ada", ROOT, [], query, (10, 0))] == ["stays"]
    assert await items.list_item_keys(to, "ada", ROOT, "", 10) == ["stays"]
    assert (await change_items(to, "ada", [put("k", {"n": 2})], if_version="")).outcome == "done"
    assert sorted(await rows(connection, schema)) == ["k", "stays"]
    assert sorted(await rows(connection, schema, "bob")) == ["k", "stays"]


NOTES: dict[str, tuple[dict[str, JsonValue], str | None]] = {
    "cat": ({"text": "the cat sleeps", "n": 1}, "the cat sleeps"),
    "dog": ({"text": "the dog barks", "n": 2.5, "of": {"age": 3}}, "the dog barks"),
    "both": ({"text": "cat and dog", "n": "2", "tags": ["a"]}, "cat and dog and cat"),
    "東京": ({"text": "東京に住んでいます", "n": None}, "東京に住んでいます"),
    "none": ({"text": "a cat that no search finds by its words"}, None),
}


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("Cats? the CAT!", ["cat", "both", "dog"]),
        ("cat", ["both", "cat"]),
        ("東京", ["東京"]),
        ("barking dog barks", ["dog", "both"]),
        ("nothing", []),
        ("!?", []),
    ],
)
async def test_search_items_puts_those_with_the_rarer_words_first(to: Access, query: str, first: list[str]) -> None:
    """Items that share words have a score and come first; the others follow, newest first."""
    for key, (value, text) in NOTES.items():
        await change_items(to, "ada", [put(key, value, text)])

    found = await search_items(to, "ada", ROOT, [], query, (10, 0))

    assert [each.key for each in found if each.score is not None] == first
    assert [each.key for each in found][len(first) :] == [key for key in reversed(NOTES) if key not in first]
    assert [each.key for each in await search_items(to, "ada", ROOT, [], query, (2, 1))] == [
        each.key for each in found[1:3]
    ]


@pytest.mark.parametrize(
    ("path", "test", "value", "keys"),
    [
        (["n"], "$eq", 1.0, {"cat"}),
        (["n"], "$ne", 1, {"dog", "both", "東京", "none"}),
        (["n"], "$eq", None, {"東京", "none"}),
        (["n"], "$gt", 1, {"dog"}),
        (["n"], "$gte", "2", {"both"}),
        (["n"], "$gte", None, set()),
        (["missing"], "$lte", None, set()),
        (["n"], "$lte", 2.5, {"cat", "dog"}),
        (["of", "age"], "$lt", 4, {"dog"}),
        (["tags"], "$eq", ["a"], {"both"}),
    ],
)
async def test_search_items_compares_numbers_with_numbers(
    to: Access, path: list[JsonValue], test: str, value: JsonValue, keys: set[str]
) -> None:
    """A comparison is true of values of one type; what is not there is null, which nothing is greater or less than."""
    await change_items(to, "ada", [put(key, value, text) for key, (value, text) in NOTES.items()])
    tests: list[dict[str, JsonValue]] = [{"path": path, "test": test, "value": value}]

    for query in (None, "cat"):
        assert {each.key for each in await search_items(to, "ada", ROOT, tests, query, (10, 0))} == keys


async def test_a_user_who_is_deleted_leaves_no_items(to: Access, storage: PostgresStorage) -> None:
    """delete_user() deletes the items; a run that began before stores none, and a later one does."""
    before = time.monotonic()
    await change_items(to, "ada", [put("k", {"n": 1})], since=before)
    await change_items(to, "bob", [put("k", {"n": 1})])
    await storage.delete_user("ada")

    with pytest.raises(MemoryRefusedError, match="'ada' was deleted"):
        await change_items(to, "ada", [put("k", {"n": 2})], since=before)

    assert await get(to, "k") is None
    assert await get(to, "k", "bob") is not None
    await change_items(to, "ada", [put("k", {"n": 3})], since=time.monotonic())
    assert await get(to, "k") is not None


async def test_import_user_stores_the_items(to: Access, storage: PostgresStorage, make_storage: MakeStorage) -> None:
    """An export has the items that are not expired, without receipts; an import skips those that are there."""
    other = make_storage(table_prefix=OTHER)
    await change_items(
        to, "ada", [put(str(n), {"n": n, "t": "caf\N{LATIN SMALL LETTER E WITH ACUTE}"}) for n in range(45)]
    )
    await change_items(to, "ada", [put("found", {"text": "tea"}, "tea", seconds=90)], operation=("o1", "h"))
    await change_items(to, "bob", [put("k", {"n": "bob's"})])
    lines = [line async for line in storage.export_user("ada")]

    done = await other.import_user("eve", lines)
    again = await other.import_user("eve", lines)

    assert (done.items, again.items, len(again.skipped), done.skipped) == (46, 0, 46, [])
    assert [line async for line in other.export_user("eve")][1:] == lines[1:]
    assert "bob" not in "".join(lines)
    found = await search_items(access(other), "eve", ROOT, [], "tea", (1, 0))
    assert [(each.key, each.score is not None, each.is_kept_longer) for each in found] == [("found", True, True)]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ('"namespace": [], "key": "k", "value": {}', "the namespace"),
        ('"namespace": ["a"], "key": "", "value": {}', "key"),
        ('"namespace": ["a"], "key": "k", "value": []', "value"),
        ('"namespace": ["a"], "key": "k", "value": {"a": "\\u0000"}', "value"),
        ('"namespace": ["a"], "key": "k", "value": {}, "lifetime": 0', "lifetime"),
        ('"namespace": ["voltmem-operations"], "key": "k", "value": {}', "namespace"),
    ],
)
async def test_import_user_refuses_a_malformed_item(storage: PostgresStorage, fields: str, why: str) -> None:
    """A line of an item that could not be stored is an error with its number."""
    header = '{"voltmem": 1, "kind": "header", "user_id": "u", "exported_at": "2026-01-01T00:00:00Z"}'

    with pytest.raises(InvalidLineError, match=f"line 2.*{why}"):
        await storage.import_user("ada", [header, f'{{"kind": "item", {fields}}}', '{"kind": "end"}'])


def test_check_value_refuses_what_cannot_be_stored() -> None:
    """NUL, a lone surrogate, no JSON, and more than a megabyte are errors before anything is sent."""
    for value in ("text", {"a": "\0"}, {"\ud800": 1}, {"a": float("nan")}, {"a": b""}, {"a": "x" * 1_000_000}):
        with pytest.raises(InvalidInputError):
            items.check_value(value, "the value")
    for namespace, key in (
        ("text", "k"),
        (("a", ""), "k"),
        (("a\0",), "k"),
        (("a\x01",), "k"),
        (("a",), ""),
        (("a" * 900, "b" * 600), "k"),
    ):
        with pytest.raises(InvalidInputError):
            items.check_name(namespace, key)
    for minutes in (0, -1, True, "1", float("nan"), float("inf"), 10**9):
        with pytest.raises(InvalidInputError):
            items.check_seconds_kept("ttl", minutes)  # type: ignore[arg-type]
