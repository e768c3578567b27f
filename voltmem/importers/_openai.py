"""Lists of messages in OpenAI's forms, and in every other form of voltmem.parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final, cast

from voltmem._areas.transfer.models import ImportedConversation
from voltmem._values import JsonObject, check_id, json_value, short_repr
from voltmem.errors import InvalidInputError
from voltmem.importers._chatgpt import EMPTY
from voltmem.importers._files import File, is_file
from voltmem.importers._found import Conversations, Entry, Found, entries, parsed, skipped, unwrapped
from voltmem.importers._programs import program_of
from voltmem.importers._shapes import Json, conversation, described, id_of, storable, string_in, time_of
from voltmem.models import Message, NativeMessage
from voltmem.parts._forms import form_of

# The fields of a message that are ours, in every form.
_TIMES: Final = ("created_at", "createdAt")
_OURS: Final = frozenset({"id", "metadata", "parent_id", *_TIMES})


def from_openai(source: File | Json | Iterable[object], *, resource_id: str = "default") -> Conversations:
    """
    Read messages in OpenAI's forms, and in the others that voltmem.parts knows. Returns conversations.

    Args:
        source: A list of messages, which is one conversation; or several: lists, or objects with "messages" and
            optionally "id" and "title", as in files for fine-tuning. Values, or a file of JSON or of lines of JSON: its
            path, the open file, or its text.
        resource_id: The agent or project of the conversations.

    Raises:
        InvalidInputError: When it is read: there is no conversation in it. The message says why, and whose file it is,
            if that is known.
        OSError: When it is read: a file cannot be opened.

    A message in a form of its own is stored as it is, as a NativeMessage: Chat Completions with tool calls, items of
    the Responses API, responses of Anthropic's, UIMessages, Gemini's contents, LangChain's messages. Of any other the
    content, a text or a list of parts, stays as it is, and other fields go into its metadata. A "system" text beside
    Anthropic's messages becomes the first message. Messages without content are left out, and counted.

    A conversation with something else in it becomes Skipped, and the others follow. A file is read one conversation at
    a time. Messages without times, as most are, keep their order: each gets a time a microsecond after the one before.
    """
    check_id(resource_id=resource_id)
    return Conversations(lambda: _read(source, resource_id), in_thread=is_file(source))


def _read(source: File | Json | Iterable[object], resource_id: str) -> Generator[Found]:
    for place, entry in enumerate(_entries(source)):
        where = entry.place or f"conversation {place}"
        if entry.problem:
            yield skipped(where, entry.problem)
            continue
        try:
            yield _conversation(entry.value, resource_id)
        except InvalidInputError as error:
            own = id_of(entry.value.get("id")) if isinstance(entry.value, Mapping) else None
            yield skipped(own or where, str(error))


# --- conversations ------------------------------------------------------------------------------------------------


def _entries(source: File | Json | Iterable[object]) -> Iterator[Entry]:
    """Yield each conversation: a list of messages, or an object that has one."""
    if is_file(source):
        for _, group in groupby(entries(source), key=lambda entry: entry.group):
            yield from _in_value(group)
    elif isinstance(source, Mapping):
        yield from (Entry("", value) for value in unwrapped(source))
    elif not isinstance(source, Iterable):
        raise InvalidInputError(
            f"messages in OpenAI's form must be a list, or an object with messages, not {short_repr(source)}"
        )
    elif isinstance(source, Sequence) and source and _is_message(source[0]):
        yield Entry("", source)
    else:
        for each in source:
            if not isinstance(each, str | bytes):
                yield Entry("", each)
            elif each.strip():
                value, problem = parsed(each)
                yield Entry("", value, problem)


def _in_value(found: Iterator[Entry]) -> Iterator[Entry]:
    """Yield the conversations of an outermost value, which may be a list of them, or a single one."""
    first = next(found)
    if not first.is_element or first.problem or not _is_message(first.value):
        yield first
        yield from found
        return
    messages = [first, *found]
    broken = next((each for each in messages if each.problem), None)
    if broken is None:
        yield Entry("", [each.value for each in messages])
    else:
        yield Entry(broken.place, None, broken.problem)


def _is_message(value: object) -> bool:
    if not isinstance(value, Mapping) or "messages" in value or program_of(value) is not None:
        return False
    return not {"role", "type", "parts"}.isdisjoint(value)


def _conversation(value: object, resource_id: str) -> ImportedConversation:
    about = dict(value) if isinstance(value, Mapping) else {"messages": value}
    program = program_of(value)
    if about.get("object") == "list" and "messages" not in about:  # an answer of OpenAI's API
        about = {"messages": about.get("data")}
    messages = about.pop("messages", None)
    if program is not None:
        raise InvalidInputError(f"it is {program}; from_openai() does not read it")
    if not isinstance(messages, Iterable) or isinstance(messages, str | bytes | Mapping):
        raise InvalidInputError(f"a conversation must have a list of messages, and is {described(value)}")
    given = list(messages)
    if isinstance(about.get("system"), str | list) and not any(_has_role(each, "system") for each in given):
        given.insert(0, {"role": "system", "content": about.pop("system")})
    left_out: Counter[str] = Counter()
    id = id_of(about.get("id"))
    title = string_in(about, "title")
    used = {name for name, value in (("id", id), ("title", title)) if value}  # any other value is metadata
    return conversation(
        id=id,
        resource_id=resource_id,
        title=title,
        metadata={name: value for name, value in about.items() if name not in used},
        messages=list(_messages(given, left_out)),
        left_out=left_out,
    )


def _has_role(message: object, role: str) -> bool:
    return isinstance(message, Mapping) and message.get("role") == role


# --- messages -----------------------------------------------------------------------------------------------------


def _messages(given: Iterable[object], left_out: Counter[str]) -> Iterator[Message]:
    ids: set[str] = set()
    before: datetime | None = None
    for number, message in enumerate(given):
        where = f"message {number}"
        if not isinstance(message, Mapping):
            raise InvalidInputError(f"{where} must be an object, and is {described(message)}")
        said = cast(JsonObject, json_value(dict(message), where))
        form = form_of({name: value for name, value in said.items() if value is not None})
        if form is None and said.get("content", "") is None:
            left_out[EMPTY] += 1
            continue
        outside = set(_OURS) if form is None else _OURS & form.outside
        beside = _Beside({name: value for name, value in said.items() if name in outside}, ids, before)
        before = beside.created_at or before
        inside = {name: value for name, value in said.items() if name not in outside}
        ids.add(beside.id or "")
        if form is not None:
            yield NativeMessage.in_form(form, inside).model_copy(update=beside.fields())
        else:
            yield Message.of({**_plain(inside, beside.metadata, where), **beside.fields()})


def _plain(given: JsonObject, metadata: JsonObject, where: str) -> JsonObject:
    """Return role, type and content, and put all else into the metadata."""
    for name in ("role", "content"):
        if name not in given:
            raise InvalidInputError(f"{where} has no {name}, and no form of voltmem.parts; it is {described(given)}")
    fields: JsonObject = {name: given.pop(name) for name in ("role", "type", "content") if name in given}
    metadata.update({name: value for name, value in given.items() if name not in metadata})
    return fields


class _Beside:
    """The id, the time and the metadata of a message. What is no such value, or an id used before, is metadata."""

    def __init__(self, given: JsonObject, ids: Collection[str], before: datetime | None) -> None:
        found = given.pop("metadata", None)
        self.metadata: JsonObject = found if isinstance(found, dict) else {"metadata": found}
        self.id = id_of(given.get("id"))
        self.id = None if self.id in ids else self.id
        time = next((time for name in _TIMES if (time := time_of(given.get(name))) is not None), None)
        self.created_at = max(filter(None, (time, before)), default=None) if time is not None else None
        used = {"id"} if self.id else set[str]()
        used |= set(_TIMES) if time is not None else set()
        self.metadata.update({name: value for name, value in given.items() if name not in used})

    def fields(self) -> dict[str, object]:
        """Return the fields that have a value."""
        given = {"id": self.id, "created_at": self.created_at, "metadata": storable(self.metadata) or None}
        return {name: value for name, value in given.items() if value is not None}
