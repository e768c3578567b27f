"""
The store of the notebooks of Pydantic AI's harness in voltmem.

::

    from pydantic_ai_harness import Memory
    from voltmem.adapters.pydantic_ai_harness import VoltMemMemoryStore

    memory = Memory(store_resolver=lambda ctx: VoltMemMemoryStore(storage, ctx.deps.user_id))
    agent = Agent(model, deps_type=Deps, capabilities=[memory])

Each user has a store of their own: a path of another user is never reached, whatever namespace it names.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from voltmem._areas import items
from voltmem._areas.area import access
from voltmem._areas.items import Put, Written
from voltmem._repr import safe_repr
from voltmem._values import JsonObject, check_count, check_id, check_text, check_user, json_value, short_repr, to_json
from voltmem.errors import InvalidInputError, MissingExtraError
from voltmem.storage import Storage

if TYPE_CHECKING:
    from voltmem._postgres.driver import Record

__all__ = ["VoltMemMemoryStore"]

# The harness pins a release of Pydantic AI, so it may not be installed where voltmem is type-checked.
MemoryFile: TypeAlias = Any
MemoryMutation: TypeAlias = Any
MemoryOperation: TypeAlias = Any
MemorySearchResult: TypeAlias = Any

_ROOT: Final = ("pydantic-ai-harness",)
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_MAX_METADATA: Final = 4_096


# --- conversion of items --------------------------------------------------------------------------------------------


def _harness() -> Any:
    try:
        return import_module("pydantic_ai_harness.memory")
    except ImportError as error:
        raise MissingExtraError("pydantic-ai-harness", "pydantic-ai-harness") from error


def _path(path: object, *, is_prefix: bool = False) -> str:
    if isinstance(path, str) and is_prefix:
        if path == "":
            return path
        segments = path.removesuffix("/").split("/")
    else:
        segments = path.split("/") if isinstance(path, str) else []
    if not segments or any(not _SEGMENT.fullmatch(each) or ".." in each or each == "." for each in segments):
        raise InvalidInputError(
            f"memory path {short_repr(path)}: use segments of letters, digits, '_', '-' and '.', divided by '/', none "
            "of which is '.' or contains '..'"
        )
    items.check_name(_ROOT, None if is_prefix else str(path))
    return str(path)


def _metadata(given: Mapping[str, str] | None) -> JsonObject:
    """Return what the value has of the metadata of a write."""
    if not given:
        return {}
    if not all(isinstance(text, str) for pair in given.items() for text in pair):
        raise InvalidInputError("metadata must be a dict of strings")
    checked: Any = json_value(dict(given), "metadata", for_jsonb=True)
    if len(to_json(checked)) > _MAX_METADATA:
        raise InvalidInputError(f"metadata has more than {_MAX_METADATA:,} characters of JSON: shorten it")
    return {"metadata": checked}


def _hits(files: Sequence[Record], folder: str, words: Sequence[str]) -> list[tuple[int, str, str]]:
    """Return score, path and content of the files that have one of the words; those that have most of them first."""
    hits: list[tuple[int, str, str]] = []
    for row in files:
        path, text = row["key"].removeprefix(folder).lower(), row["content"].lower()
        score = sum(text.count(word) + 2 * path.count(word) for word in words)
        if score:
            hits.append((-score, row["key"], row["content"]))
    return [(-score, path, content) for score, path, content in sorted(hits)]


def _excerpt(content: str, words: Sequence[str], most: int) -> str:
    """Return so many characters around the first of the words; "..." stands where it is cut."""
    text = content.lower()
    first = min((place for word in words if (place := text.find(word)) >= 0), default=0)
    begin = max(0, min(first - most // 3, len(content) - most))
    piece = content[begin : begin + most]
    dots = "..."[: len(piece)]
    if begin:
        piece = dots + piece[len(dots) :]
    if begin + most < len(content):
        piece = piece[: len(piece) - len(dots)] + dots
    return piece


# --- called by the framework ----------------------------------------------------------------------------------------


class VoltMemMemoryStore:
    """
    A MemoryStore of the harness, for one user: ``Memory(store_resolver=lambda ctx: VoltMemMemoryStore(storage, …))``.

    It has all three protocols: MemoryStore, MetadataMemoryStore and SearchableMemoryStore. Writes and deletions compare
    the version and swap in one statement, and an operation is applied once: its id is known for 30 days, and is the
    user's, in all namespaces. Two versions are never equal, also after a deletion.

    delete_user() deletes the files, and export_user() has them. A store writes nothing of a user who was deleted after
    it was made, so make one for each run, as ``store_resolver`` does.

    Args:
        storage: The storage.
        user_id: The user. A namespace of Memory is a folder among this user's files, and may stay empty.

    Each call is one round trip. Creating it does no I/O.

    Raises:
        MissingExtraError: The harness is not installed.
        InvalidInputError: A path, the content or the metadata cannot be stored. It is a ValueError, as for the
            harness's own stores.
        MemoryRefusedError: The user was deleted.

    A conflict raises the harness's own MemoryConflictError or MemoryOperationConflictError, which its tools know.
    """

    def __init__(self, storage: Storage, user_id: str) -> None:
        check_user("user_id", user_id, "the files of a store are one user's")
        self._access = access(storage)
        self._user_id = user_id
        self._harness = _harness()
        self._began_at = time.monotonic()

    @safe_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._user_id!r}>"

    async def read(self, path: str, *, max_chars: int) -> MemoryFile | None:
        """Return the file of a path; None if there is none."""
        check_count("max_chars", max_chars, minimum=1)
        (found,) = await items.get_items(self._access, self._user_id, [(_ROOT, _path(path))])
        if found is None:
            return None
        value: Any = found.value
        content = value["content"]
        return self._harness.MemoryFile(
            content=content[:max_chars],
            version=found.version,
            operation_id=value.get("operation"),
            truncated=len(content) > max_chars,
            metadata=value.get("metadata"),
        )

    async def get_operation(self, operation: MemoryOperation) -> MemoryMutation | None:
        """Return what an operation has done; None if it was not made."""
        done = await items.get_operation(self._access, self._user_id, self._operation(operation))
        return None if done is None else self._mutation("", done, operation)

    async def write(
        self, path: str, content: str, *, expected_version: str | None, operation: MemoryOperation | None = None
    ) -> MemoryMutation:
        """Store a file, if its version is the expected one; None: if there is none."""
        return await self.write_with_metadata(
            path, content, expected_version=expected_version, metadata=None, operation=operation
        )

    async def write_with_metadata(
        self,
        path: str,
        content: str,
        *,
        expected_version: str | None,
        metadata: Mapping[str, str] | None,
        operation: MemoryOperation | None = None,
    ) -> MemoryMutation:
        """Store a file as write() does, and what is said of the write."""
        check_text(content=content)
        value: JsonObject = {"content": content, **_metadata(metadata)}
        if operation is not None:
            value["operation"] = self._operation(operation)[0]
        put = Put(_ROOT, _path(path), items.check_value(value, "the file"))
        return await self._change(put, expected_version, operation)

    async def delete(
        self, path: str, *, expected_version: str | None, operation: MemoryOperation | None = None
    ) -> MemoryMutation:
        """Delete a file, if its version is the expected one; None: do nothing, if there is none."""
        return await self._change(Put(_ROOT, _path(path), None), expected_version, operation)

    async def list_paths(self, prefix: str = "", *, limit: int) -> list[str]:
        """Return the paths that begin with a text, sorted."""
        check_count("limit", limit, minimum=1)
        return await items.list_item_keys(self._access, self._user_id, _ROOT, _path(prefix, is_prefix=True), limit)

    async def search(
        self, prefix: str, query: str, *, limit: int, max_files: int, max_chars: int, max_file_chars: int
    ) -> MemorySearchResult:
        """Return the files of a folder that have most of the words, in path or text, with an excerpt of each."""
        words, folder = query.lower().split(), _path(prefix, is_prefix=True)
        if not words or min(limit, max_files, max_chars, max_file_chars) <= 0:
            return self._harness.MemorySearchResult(matches=[], scanned=0, truncated=False)
        texts = await items.list_item_texts(
            self._access, self._user_id, _ROOT, folder, max_files + 1, min(max_file_chars, items.MAX_ITEM_BYTES)
        )
        found = texts[:max_files]
        is_cut = len(texts) > max_files or any(row["length"] > len(row["content"]) for row in found)
        hits = _hits(found, folder, words)
        matches = self._matches(hits[:limit], folder, words, max_chars)
        return self._harness.MemorySearchResult(
            matches=matches, scanned=len(found), truncated=is_cut or len(hits) > len(matches)
        )

    def _matches(self, hits: Sequence[tuple[int, str, str]], folder: str, words: Sequence[str], left: int) -> list[Any]:
        """Return the matches whose paths and excerpts have no more characters than are left."""
        matches: list[Any] = []
        for score, path, content in hits:
            left -= len(path) - len(folder)
            if left <= 0:
                break
            snippet = _excerpt(content, words, left)
            left -= len(snippet)
            matches.append(self._harness.MemorySearchMatch(path=path, snippet=snippet, score=float(score)))
        return matches

    async def _change(
        self, put: Put, expected_version: str | None, operation: MemoryOperation | None
    ) -> MemoryMutation:
        if expected_version is not None:
            check_id(expected_version=expected_version)
        done = await items.change_items(
            self._access,
            self._user_id,
            [put],
            if_version=expected_version or "",
            operation=None if operation is None else self._operation(operation),
            since=self._began_at,
        )
        return self._mutation(put.key, done, operation)

    def _operation(self, operation: MemoryOperation) -> tuple[str, str]:
        check_id(**{"the id of the operation": operation.id, "its fingerprint": operation.fingerprint})
        return operation.id, operation.fingerprint

    def _mutation(self, path: str, done: Written, operation: Any) -> MemoryMutation:
        if done.outcome == "conflict":
            raise self._harness.MemoryConflictError(f"memory path {path!r} has changed: read it again")
        if done.outcome == "other operation":
            raise self._harness.MemoryOperationConflictError(
                f"operation id {operation.id!r} was used before, for another change: use a new one"
            )
        return self._harness.MemoryMutation(
            version=done.version, replayed=done.outcome == "repeated", existed=bool(done.existed)
        )
