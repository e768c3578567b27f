"""The items of a user: values under a namespace and a key, in which frameworks keep their memories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeAlias

from voltmem._areas.area import Access, off_loop_if_long
from voltmem._areas.deleted_users import Elapsed, hash_of_user
from voltmem._areas.words import USER, vector, words
from voltmem._tables import Tables
from voltmem._values import (
    MAX_SECONDS,
    JsonObject,
    check_count,
    check_id,
    check_text,
    from_stored_json,
    json_value,
    short_repr,
    to_json,
    uuid7,
)
from voltmem.errors import InvalidInputError, MemoryRefusedError

if TYPE_CHECKING:
    from voltmem._postgres.driver import Record

Namespace: TypeAlias = tuple[str, ...]

MAX_ITEM_BYTES: Final = 1_000_000
"""How large the JSON of an item may be."""
# An entry of the key's index has room for 2,704 bytes, of which the user's id may need a thousand.
_MAX_NAME_BYTES: Final = 1_500
_BYTES_OF_A_LABEL: Final = 8
_MOST_ASKED: Final = 64
# No text is between a label and the same with this behind it, and no label has it.
_APART: Final = "\x01"

OPERATIONS: Final = ("voltmem-operations",)
"""The namespace of the receipts that change_items() writes."""


class Item(NamedTuple):
    """An item as it is stored."""

    namespace: Namespace
    key: str
    value: JsonObject
    version: str
    """The name of the write that stored it."""
    created_at: datetime
    updated_at: datetime
    is_kept_longer: bool
    """Whether reading it can extend its life."""
    score: float | None = None
    """How well it matches the words that were searched for; None: not at all, or none were."""

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Self:
        """Return the item of a row, in the order of the fields."""
        namespace, key, value, *rest = row
        stored: Any = from_stored_json(value)
        return cls(tuple(namespace), key, stored, *rest)


class Put(NamedTuple):
    """A value to be stored, or an item to be deleted."""

    namespace: Namespace
    key: str
    value: JsonObject | None
    """None: delete it."""
    text: str | None = None
    """The text by whose words a search finds it; None: none does."""
    seconds: float | None = None
    """For how long it is kept; None: for good."""


class Written(NamedTuple):
    """What a write has done."""

    outcome: str
    """"done", "repeated", "conflict" or "other operation"."""
    version: str | None
    existed: bool | None


_ALIVE: Final = "(i.expires_at IS NULL OR i.expires_at > pg_catalog.statement_timestamp())"
_COLUMNS: Final = "i.namespace, i.key, i.value::text AS value, i.version, i.created_at, i.updated_at"
_LABELS: Final = "ARRAY(SELECT pg_catalog.jsonb_array_elements_text({0}))"
# All names below a namespace, in the order of bytes.
_BELOW: Final = "i.user_id = $1 AND i.namespace >= $2::text[] AND i.namespace < $3::text[]"
# jsonb compares numbers as numbers and texts as texts. What is not there is null.
_FITS: Final = f"""NOT EXISTS (
                    SELECT 1 FROM pg_catalog.jsonb_array_elements($4::text::jsonb) AS given (test)
                    CROSS JOIN LATERAL (
                        SELECT coalesce(i.value #> {_LABELS.format("given.test -> 'path'::text")}, 'null') AS found,
                            given.test -> 'value'::text AS wanted
                    ) AS compared
                    WHERE NOT CASE given.test ->> 'test'::text
                        WHEN '$eq' THEN found = wanted
                        WHEN '$ne' THEN found <> wanted
                        ELSE found <> 'null'::jsonb AND pg_catalog.jsonb_typeof(found) = pg_catalog.jsonb_typeof(wanted)
                            AND CASE given.test ->> 'test'::text
                                WHEN '$gt' THEN found > wanted
                                WHEN '$gte' THEN found >= wanted
                                WHEN '$lt' THEN found < wanted
                                ELSE found <= wanted
                            END
                    END
                )"""
TESTS: Final = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")
"""The comparisons of a filter."""


class ItemStatements:
    """The statements whose text does not depend on the arguments."""

    def __init__(self, tables: Tables) -> None:
        items = tables.user_items
        self.get = f"""
            SELECT {_COLUMNS}, i.lifetime IS NOT NULL AS is_kept_longer, wanted.place
            FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS wanted (namespace, key, place)
            JOIN {items} AS i ON i.namespace = wanted.namespace::text[] AND i.key = wanted.key
            WHERE i.user_id = $1 AND {_ALIVE}"""
        # Neither by an interval nor by an array literal: Citus refuses functions of columns that are not immutable.
        self.keep_longer = f"""
            UPDATE {items} AS i SET expires_at = pg_catalog.to_timestamp(
                pg_catalog.date_part('epoch'::text, pg_catalog.statement_timestamp()) + i.lifetime
            )
            FROM unnest($2::text[], $3::text[]) AS wanted (namespace, key)
            WHERE i.user_id = $1 AND i.namespace = pg_catalog.string_to_array(wanted.namespace, E'\\x01')
                AND i.key = wanted.key AND i.lifetime IS NOT NULL AND {_ALIVE}"""
        self.search = f"""
            SELECT {_COLUMNS}, i.lifetime IS NOT NULL AS is_kept_longer, NULL::double precision AS score
            FROM {items} AS i
            WHERE {_BELOW} AND {_ALIVE} AND {_FITS}
            ORDER BY i.updated_at DESC, i.namespace, i.key LIMIT $5 OFFSET $6"""
        # BM25 among the items that are looked at, without their lengths: they are short. Those without any of the words
        # follow, newest first.
        self.search_words = f"""
            WITH item AS MATERIALIZED (
                SELECT {_COLUMNS}, i.lifetime IS NOT NULL AS is_kept_longer, i.words
                FROM {items} AS i
                WHERE {_BELOW} AND {_ALIVE} AND {_FITS}
            ), hit AS (
                SELECT item.namespace, item.key, word.lexeme,
                    pg_catalog.cardinality(word.positions)::double precision AS times
                FROM item CROSS JOIN LATERAL pg_catalog.unnest(item.words) AS word
                WHERE word.lexeme = ANY ($7::text[])
            ), rare AS (
                SELECT hit.lexeme, pg_catalog.count(*)::double precision AS found,
                    (SELECT pg_catalog.count(*) FROM item)::double precision AS seen
                FROM hit GROUP BY hit.lexeme
            ), scored AS (
                SELECT hit.namespace, hit.key, pg_catalog.sum(
                        pg_catalog.ln(1::double precision + (rare.seen - rare.found + 0.5::double precision)
                            / (rare.found + 0.5::double precision))
                        * (hit.times * 2.2::double precision) / (hit.times + 1.2::double precision)
                    ) AS score
                FROM hit JOIN rare ON rare.lexeme = hit.lexeme GROUP BY hit.namespace, hit.key
            )
            SELECT i.namespace, i.key, i.value, i.version, i.created_at, i.updated_at, i.is_kept_longer, scored.score
            FROM item AS i LEFT JOIN scored ON scored.namespace = i.namespace AND scored.key = i.key
            ORDER BY scored.score DESC NULLS LAST, i.updated_at DESC, i.namespace, i.key LIMIT $5 OFFSET $6"""
        length = "pg_catalog.jsonb_array_length(given.test -> 1)"
        before = f"CASE given.test ->> 0 WHEN 'prefix' THEN 0 ELSE own.depth - {length} END"
        self.namespaces = f"""
            SELECT DISTINCT CASE WHEN $5::integer IS NULL THEN own.labels ELSE own.labels[1:$5::integer] END AS labels
            FROM (
                SELECT DISTINCT i.namespace[2:] AS labels, pg_catalog.cardinality(i.namespace) - 1 AS depth
                FROM {items} AS i WHERE {_BELOW} AND {_ALIVE}
            ) AS own
            WHERE own.depth > 0 AND NOT EXISTS (
                SELECT 1 FROM pg_catalog.jsonb_array_elements($4::text::jsonb) AS given (test)
                WHERE own.depth < {length} OR EXISTS (
                    SELECT 1
                    FROM pg_catalog.jsonb_array_elements_text(given.test -> 1) WITH ORDINALITY AS wanted (label, place)
                    WHERE wanted.label <> '*' AND own.labels[({before} + wanted.place)::integer] <> wanted.label
                )
            )
            ORDER BY labels LIMIT $6 OFFSET $7"""
        begins = f"i.user_id = $1 AND i.namespace = $2::text[] AND i.key >= $3 AND i.key < $4 AND {_ALIVE}"
        self.keys = f"SELECT i.key FROM {items} AS i WHERE {begins} ORDER BY i.key LIMIT $5"
        # Without those in a folder below.
        self.texts = f"""
            SELECT i.key, pg_catalog.left(i.value ->> 'content'::text, $6::integer) AS content,
                pg_catalog.length(i.value ->> 'content'::text) AS length
            FROM {items} AS i
            WHERE {begins} AND pg_catalog.strpos(pg_catalog.substr(i.key, pg_catalog.length($3) + 1), '/') = 0
            ORDER BY i.key LIMIT $5"""
        # Of two imports at once, the second skips the items of the first.
        self.store = f"""
            WITH stored AS (
                INSERT INTO {items}
                    (user_id, namespace, key, value, words, lifetime, expires_at, created_at, updated_at, version)
                SELECT $1, n.namespace::text[], n.key, n.value::jsonb, n.words::tsvector,
                    n.lifetime::double precision, n.expires_at::timestamptz,
                    coalesce(n.created_at::timestamptz, pg_catalog.statement_timestamp()),
                    coalesce(n.updated_at::timestamptz, pg_catalog.statement_timestamp()), $10
                FROM unnest({", ".join(f"${number}::text[]" for number in range(2, 10))})
                    AS n (namespace, key, value, words, lifetime, expires_at, created_at, updated_at)
                ON CONFLICT DO NOTHING
                RETURNING namespace, key
            )
            SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(namespace, key)), '[]')::text AS stored
            FROM stored"""
        self.change = f"""
            SELECT outcome, version, existed
            FROM {tables.change_items}($1, $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7, $8, $9, $10,
                $11, $12)"""


def check_name(namespace: Sequence[str], key: str | None = None) -> Namespace:
    """Return a namespace as a tuple. Raises InvalidInputError if PostgreSQL could not store it, and the key."""
    if isinstance(namespace, str) or not isinstance(namespace, Sequence):
        raise InvalidInputError(f"a namespace must be a tuple of strings, not {short_repr(namespace)}")
    for label in namespace:
        check_id(**{"a label of the namespace": label})
        if _APART in label:
            raise InvalidInputError(f"a label of the namespace {short_repr(label)} has the control character U+0001")
    names = list(namespace)
    if key is not None:
        check_id(key=key)
        names.append(key)
    if sum(len(name.encode()) + _BYTES_OF_A_LABEL for name in names) > _MAX_NAME_BYTES:
        raise InvalidInputError(f"namespace and key have more than {_MAX_NAME_BYTES} bytes: use shorter ones")
    return tuple(namespace)


def check_value(value: object, where: str) -> JsonObject:
    """Return a copy of a value. Raises InvalidInputError unless it is a JSON object that PostgreSQL can store."""
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{where} must be a dict, not {short_repr(value)}")
    checked: Any = json_value(dict(value), where, for_jsonb=True)
    if len(to_json(checked).encode()) > MAX_ITEM_BYTES:
        raise InvalidInputError(f"{where} has more than {MAX_ITEM_BYTES:,} bytes of JSON: divide it into several items")
    return dict(checked)


def check_seconds_kept(name: str, minutes: float | None) -> float | None:
    """Return for how many seconds an item is kept. Raises InvalidInputError for what is no number of minutes."""
    if minutes is None:
        return None
    given: object = minutes
    if not isinstance(given, int | float) or isinstance(given, bool) or not 0 < minutes * 60 <= MAX_SECONDS:
        raise InvalidInputError(f"{name} must be a number of minutes above 0, not {short_repr(minutes)}")
    return float(minutes) * 60


def text_array(values: Sequence[str]) -> str:
    """Return an array of text, as PostgreSQL writes it."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


def _columns_of(names: Sequence[tuple[Namespace, str]]) -> tuple[list[str], list[str]]:
    return [text_array(namespace) for namespace, _ in names], [key for _, key in names]


async def get_items(access: Access, user_id: str, names: Sequence[tuple[Namespace, str]]) -> list[Item | None]:
    """Return the items of these namespaces and keys, in their order; None for one that is not there."""
    found: list[Item | None] = [None] * len(names)
    rows = await access.executor.fetch(access.sql(ItemStatements).get, user_id, *_columns_of(names))
    for row in rows:
        *columns, place = row
        found[place - 1] = Item.from_row(columns)
    return found


async def keep_items_longer(access: Access, user_id: str, items: Iterable[Item | None]) -> None:
    """Begin the lifetimes of those items anew that have one. Sends nothing if none has."""
    names = sorted({(item.namespace, item.key) for item in items if item is not None and item.is_kept_longer})
    if names:
        namespaces = [_APART.join(namespace) for namespace, _ in names]
        keys = [key for _, key in names]
        await access.executor.execute(access.sql(ItemStatements).keep_longer, user_id, namespaces, keys)


async def search_items(
    access: Access,
    user_id: str,
    below: Namespace,
    tests: Sequence[JsonObject],
    query: str | None,
    page: tuple[int, int],
) -> list[Item]:
    """
    Return the items below a namespace that pass the tests, newest first; with a query, the best matches first.

    tests: each with the "path" of a member, the "test", one of TESTS, and the "value" to compare with.
    page: how many at most, and how many to skip.
    """
    sql, arguments = access.sql(ItemStatements), (user_id, *_range(below), to_json(list(tests)), *page)
    if query is None:
        rows = await access.executor.fetch(sql.search, *arguments)
    else:
        asked = sorted({word.text for word in words(query, _MOST_ASKED)})
        rows = await access.executor.fetch(sql.search_words, *arguments, asked)
    return [Item.from_row(row) for row in rows]


def _range(below: Namespace) -> tuple[list[str], list[str]]:
    return list(below), [*below[:-1], below[-1] + _APART]


async def list_item_namespaces(
    access: Access,
    user_id: str,
    root: str,
    conditions: Sequence[tuple[str, Sequence[str]]],
    depth: int | None,
    page: tuple[int, int],
) -> list[Namespace]:
    """
    Return the namespaces below a root label, without it, in order.

    conditions: "prefix" or "suffix", and the labels that a namespace must begin or end with; "*" is any label.
    depth: After how many labels to cut them; None: never.
    """
    tests = to_json([[kind, list(labels)] for kind, labels in conditions])
    statement = access.sql(ItemStatements).namespaces
    rows = await access.executor.fetch(statement, user_id, *_range((root,)), tests, depth, *page)
    return [tuple(row["labels"]) for row in rows]


async def list_item_keys(access: Access, user_id: str, namespace: Namespace, prefix: str, limit: int) -> list[str]:
    """Return the keys in a namespace that begin with a text of ASCII characters, in order."""
    bounds = prefix, prefix + "\x7f", limit
    rows = await access.executor.fetch(access.sql(ItemStatements).keys, user_id, list(namespace), *bounds)
    return [row["key"] for row in rows]


async def list_item_texts(
    access: Access, user_id: str, namespace: Namespace, folder: str, limit: int, characters: int
) -> Sequence[Record]:
    """Return key, beginning of the content, and its length, of the items directly in a folder, by key."""
    bounds = folder, folder + "\x7f", limit, characters
    return await access.executor.fetch(access.sql(ItemStatements).texts, user_id, list(namespace), *bounds)


async def change_items(
    access: Access,
    user_id: str,
    puts: Sequence[Put],
    *,
    if_version: str | None = None,
    operation: tuple[str, str] | None = None,
    since: float | None = None,
) -> Written:
    """
    Store and delete items, all or none. Only a write of one item may expect a version, or be an operation.

    Args:
        access: The storage.
        user_id: The user.
        puts: What is stored and deleted. Of several of one item, the last counts.
        if_version: The version that it must have; "": it must not be there; None: whatever there is.
        operation: An id for this write, unique for the user, and the hash of what it is: a repeat changes nothing.
        since: The moment of time.monotonic() from which on nothing is stored of a user who was deleted; None: there is
            none.

    Raises:
        MemoryRefusedError: The user was deleted since then.
        OutcomeUnknownError: The connection was lost, and the write, which is no operation, may have happened.
    """
    chosen = {(put.namespace, put.key): put for put in puts}
    ordered = [chosen[name] for name in sorted(chosen)]
    size = sum(len(put.text or "") for put in ordered)
    run = (None, None) if since is None else (hash_of_user(access.options.tables, user_id), Elapsed(since))
    row = await access.executor.fetchrow(
        access.sql(ItemStatements).change,
        user_id,
        *_columns_of([(put.namespace, put.key) for put in ordered]),
        [None if put.value is None else to_json(put.value) for put in ordered],
        await off_loop_if_long(size, _vectors, ordered),
        [None if put.seconds is None else str(put.seconds) for put in ordered],
        *(uuid7(), if_version, *(operation or (None, None)), *run),
        repeatable=operation is not None,
    )
    assert row is not None  # the function returns one row always
    if row["outcome"] == "user deleted":
        raise MemoryRefusedError(
            f"user {user_id!r} was deleted while this run was under way: store nothing of the run. If the user has "
            "come back, begin a new run with a new store."
        )
    return Written(*row)


def _vectors(puts: Sequence[Put]) -> list[str | None]:
    # The words of messages bear the user's hash, for an index over all users. These have no such index.
    return [None if put.text is None else vector(put.text).replace(USER, "") for put in puts]


async def get_operation(access: Access, user_id: str, operation: tuple[str, str]) -> Written | None:
    """Return what an operation has done, for at least 30 days; None: it was not made."""
    id, fingerprint = operation
    (found,) = await get_items(access, user_id, [(OPERATIONS, id)])
    if found is None:
        return None
    receipt: Any = found.value
    if receipt["fingerprint"] != fingerprint:
        return Written("other operation", None, None)
    return Written("repeated", receipt.get("version"), receipt.get("existed"))


def check_page(limit: object, offset: object) -> tuple[int, int]:
    """Return both. Raises InvalidInputError unless they are numbers of rows."""
    check_count("limit", limit)
    check_count("offset", offset)
    return limit, offset  # type: ignore[return-value]  # they are int, as checked


def check_query(query: object) -> str | None:
    """Return the words that are searched for; None for none."""
    if query is not None:
        check_text(query=query)
    return query or None  # type: ignore[return-value]  # it is a string, as checked
