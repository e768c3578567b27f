"""
LangGraph's store of long-term memories in voltmem.

::

    from voltmem.adapters.langgraph import VoltMemStore

    graph = builder.compile(store=VoltMemStore(storage))  # or create_agent(model, tools, store=…)
    await graph.ainvoke(state, context=Context(user_id="ada"))

A node or a tool gets it as ``runtime.store``, with all that a BaseStore does. Each user has a store of their own: a
namespace of another user is never reached, whatever it is called.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from voltmem._areas import items
from voltmem._areas.area import access
from voltmem._areas.items import Item, Namespace, Put
from voltmem._repr import safe_repr
from voltmem._values import UNSET, JsonObject, Unset, check_count, check_user, json_value, short_repr
from voltmem.adapters._either import EitherStorage
from voltmem.errors import InvalidInputError, MissingExtraError
from voltmem.storage import Storage
from voltmem.sync import Storage as BlockingStorage

__all__ = ["VoltMemStore"]

try:
    from langgraph.runtime import get_runtime
    from langgraph.store import base
except ImportError as error:
    raise MissingExtraError("langgraph", "langgraph") from error

_ROOT: Final = "langgraph"

# --- conversion of items --------------------------------------------------------------------------------------------


class _InvalidNameError(InvalidInputError, base.InvalidNamespaceError):
    """A namespace or a key cannot be stored."""


class _Get(NamedTuple):
    name: tuple[Namespace, str]
    refreshes: bool


class _Search(NamedTuple):
    below: Namespace
    tests: list[JsonObject]
    query: str | None
    page: tuple[int, int]
    refreshes: bool


class _List(NamedTuple):
    conditions: list[tuple[str, Namespace]]
    depth: int | None
    page: tuple[int, int]


def _prepared(op: base.Op) -> _Get | _Search | _List | Put:
    """Return what an operation asks for. Raises InvalidInputError for what cannot be done."""
    if isinstance(op, base.GetOp):
        return _Get((_namespace(op.namespace, op.key), op.key), op.refresh_ttl)
    if isinstance(op, base.PutOp):
        return _put(op)
    if isinstance(op, base.SearchOp):
        tests, query = list(_tests(op.filter or {})), items.check_query(op.query)
        page = items.check_page(op.limit, op.offset)
        return _Search(_namespace(op.namespace_prefix), tests, query, page, op.refresh_ttl)
    if isinstance(op, base.ListNamespacesOp):
        if op.max_depth is not None:
            check_count("max_depth", op.max_depth, minimum=1)
        conditions = [_condition(each) for each in op.match_conditions or ()]
        return _List(conditions, op.max_depth, items.check_page(op.limit, op.offset))
    raise InvalidInputError(f"{short_repr(op)} is no operation of a store")


def _namespace(given: Sequence[str], key: str | None = None) -> Namespace:
    """Return the namespace as it is stored."""
    try:
        labels = items.check_name((_ROOT, *items.check_name(given)), key)
    except InvalidInputError as error:
        raise _InvalidNameError(str(error)) from None
    if any("." in label for label in given):
        raise _InvalidNameError(f"namespace {short_repr(given)}: LangGraph allows no '.' in a label")
    return labels


def _put(op: base.PutOp) -> Put:
    namespace = _namespace(op.namespace, op.key)
    if len(namespace) == 1:
        raise _InvalidNameError("the namespace is empty: an item needs a label")
    seconds = items.check_seconds_kept("ttl", op.ttl)
    if op.value is None:
        return Put(namespace, op.key, None)
    value = items.check_value(op.value, "the value")
    return Put(namespace, op.key, value, _text(value, op.index), seconds)


def _text(value: JsonObject, index: object) -> str | None:
    """Return the text by whose words an item is found."""
    if index is False:
        return None
    if index is None:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(index, str) or not isinstance(index, Sequence) or not all(isinstance(each, str) for each in index):
        raise InvalidInputError(f"index must be a list of paths, or False, not {short_repr(index)}")
    return "\n".join(text for path in index for text in base.get_text_at_path(value, base.tokenize_path(path)))


def _tests(filter: Mapping[str, object], path: tuple[str, ...] = ()) -> Iterator[JsonObject]:
    """Yield the comparisons of a filter: of members, and of members of those."""
    for key, wanted in filter.items():
        if not isinstance(wanted, Mapping) or not wanted:
            yield _test((*path, key), "$eq", wanted)
        elif not any(str(each).startswith("$") for each in wanted):
            yield from _tests(wanted, (*path, key))
        else:
            yield from (_test((*path, key), test, value) for test, value in wanted.items())


def _test(path: tuple[str, ...], test: str, wanted: object) -> JsonObject:
    if test not in items.TESTS:
        raise InvalidInputError(f"filter has the comparison {short_repr(test)}: use one of {', '.join(items.TESTS)}")
    value = list(wanted) if isinstance(wanted, tuple) else wanted
    checked: Any = json_value({"path": list(path), "test": test, "value": value}, "filter", for_jsonb=True)
    return dict(checked)


def _found(item: Item) -> base.Item:
    return base.Item(
        value=dict(item.value),
        key=item.key,
        namespace=item.namespace[1:],
        created_at=item.created_at,
        updated_at=item.updated_at,
    )


def _hit(item: Item) -> base.SearchItem:
    return base.SearchItem(item.namespace[1:], item.key, dict(item.value), item.created_at, item.updated_at, item.score)


def _condition(given: base.MatchCondition) -> tuple[str, Namespace]:
    if given.match_type not in ("prefix", "suffix"):
        raise InvalidInputError(f"match_type {short_repr(given.match_type)}: use prefix or suffix")
    return given.match_type, _namespace(given.path)[1:]


# --- called by the framework ----------------------------------------------------------------------------------------


class VoltMemStore(base.BaseStore):
    """
    A BaseStore of one user, or of each run's user: ``builder.compile(store=VoltMemStore(storage))``.

    Values are JSON. search() with a query puts first what shares its rarer words, each with a score, and then the
    newest of the others: it compares words, in any language, and needs no model. ``index=`` of put() names the members
    whose words count, as in LangGraph's own stores; without it all do. A filter compares numbers with numbers and texts
    with texts.

    delete_user() deletes the items, and export_user() has them. forget() does not reach them, because they do not say
    from which messages they come.

    Args:
        storage: A PostgresStorage, for the methods that begin with "a"; or a voltmem.sync.PostgresStorage, for both.
        user_id: The user. Not given: the user_id of each run's context, an attribute or a key; a run whose context has
            none is refused.
        ttl: As in LangGraph's own stores: ``default_ttl`` and ``refresh_on_read``. Expired items are never returned,
            and the user's next write deletes them: no sweeper needs to run.

    One round trip for all gets of a batch, one for all puts, which are stored together or not at all, and one for each
    search and each list of namespaces. Gets, searches and lists see what was there before the batch. Reading an item
    with a ttl takes one more, unless refresh_ttl=False.

    Raises:
        InvalidInputError: There is no user, or a value, a namespace or a filter cannot be stored or compared.
        MemoryRefusedError: The user was deleted after the store was made. A store of each run's user cannot know when
            the run began; make one for the run where that matters.
        EventLoopError: A blocking method was called with the asynchronous storage, or on an event loop.
    """

    supports_ttl = True

    def __init__(
        self,
        storage: Storage | BlockingStorage,
        user_id: str | Unset = UNSET,
        *,
        ttl: base.TTLConfig | None = None,
    ) -> None:
        if user_id is not UNSET:
            check_user("user_id", user_id, "the items of a store are one user's")
        self._storage = EitherStorage(storage)
        self._user_id = user_id
        self._since = None if user_id is UNSET else time.monotonic()
        self.ttl_config = ttl
        items.check_seconds_kept("default_ttl", (ttl or {}).get("default_ttl"))

    @safe_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {'each run' if self._user_id is UNSET else repr(self._user_id)}>"

    def batch(self, ops: Iterable[base.Op]) -> list[base.Result]:
        """Run operations and block until they are done. Returns their results."""
        work = partial(self._run, [_prepared(op) for op in ops], self._user())
        return self._storage.run(work, "abatch(), or aget(), aput() and so on")

    async def abatch(self, ops: Iterable[base.Op]) -> list[base.Result]:
        """Run operations. Returns their results."""
        return await self._storage.run_async(partial(self._run, [_prepared(op) for op in ops], self._user()))

    def _user(self) -> str:
        if self._user_id is not UNSET:
            return self._user_id
        try:
            context: Any = get_runtime().context
        except (RuntimeError, KeyError):
            raise InvalidInputError(
                "no run is under way whose context names the user: give VoltMemStore a user_id"
            ) from None
        user_id = context.get("user_id") if isinstance(context, Mapping) else getattr(context, "user_id", None)
        if user_id is None or user_id == "":
            raise InvalidInputError(
                f"the run's context has {user_id!r} as its user_id: give the run a context with the signed-in user's "
                "id, or VoltMemStore a user_id"
            )
        return check_user("user_id", user_id, "the items of a store are one user's")

    async def _run(
        self, asked: list[_Get | _Search | _List | Put], user_id: str, storage: Storage
    ) -> list[base.Result]:
        to, results = access(storage), list[base.Result]([None] * len(asked))
        gets = [(place, each) for place, each in enumerate(asked) if isinstance(each, _Get)]
        refreshed: list[Item | None] = []
        if gets:
            found = await items.get_items(to, user_id, [get.name for _, get in gets])
            for (place, get), item in zip(gets, found, strict=True):
                results[place] = None if item is None else _found(item)
                refreshed += [item] if get.refreshes else []
        for place, each in enumerate(asked):
            if isinstance(each, _Search):
                hits = await items.search_items(to, user_id, each.below, each.tests, each.query, each.page)
                results[place] = [_hit(item) for item in hits]
                refreshed += hits if each.refreshes else []
            elif isinstance(each, _List):
                listed = await items.list_item_namespaces(to, user_id, _ROOT, each.conditions, each.depth, each.page)
                results[place] = list(listed)
        await items.keep_items_longer(to, user_id, refreshed)
        if puts := [each for each in asked if isinstance(each, Put)]:
            await items.change_items(to, user_id, puts, since=self._since)
        return results
