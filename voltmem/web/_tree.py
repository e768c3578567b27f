"""A conversation with all its branches, as a front end that keeps branches itself is shown it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from voltmem._values import JsonObject
from voltmem.models import NativeMessage
from voltmem.parts import ToolResult, parts
from voltmem.web._sent_back import as_in_javascript, is_copy


def _as_it_is(content: JsonObject) -> JsonObject:
    return content


@dataclass(frozen=True)
class Format:
    """How a front end is given messages."""

    convert: Callable[[Sequence[NativeMessage]], dict[str, JsonObject]]
    """Converts the messages of one branch: the content of each message that the front end has, by its id."""
    compared: Callable[[JsonObject], JsonObject] = _as_it_is
    """Makes of a content what is compared, since a front end may add to a message that it has loaded."""
    metadata: Callable[[JsonObject], JsonObject] = lambda _: {}
    """Returns the metadata in a content. It is not compared with the rest if *compared* leaves it out."""
    together: Callable[[Sequence[JsonObject]], Sequence[JsonObject]] = lambda contents: contents
    """Makes of the contents of all branches, in order, what they are among each other."""
    family: str = ""
    """What the names of formats begin with whose messages the front end itself has stored."""


class Tree:
    """
    The newest messages of a conversation in all branches, in a front end's form.

    A tool's result that the front end has in the message of the call is a message of its own in the storage. Each
    message is converted once, with the line or with the first branch that has it, so that many branches of a long
    conversation cost no more than its messages.

    Args:
        found: The messages in the order of adding, each with whether it is off the line.
        format: How the front end's form is made.
    """

    def __init__(self, found: Sequence[tuple[NativeMessage, bool]], format: Format) -> None:
        self._messages = {message.id: message for message, _ in found}
        self._parents = dict(_parents(found))
        self._format = format
        self._places = {id: place for place, id in enumerate(self._messages)}
        line = [message for message, is_aside in found if not is_aside]
        self._line = {message.id for message in line}
        self.contents: dict[str, JsonObject] = {}
        self._shown: dict[str, str | None] = {}
        self._add(line)
        for message, _ in reversed(found):  # the end of a branch before its beginning
            self._add(self._new_of_branch(message.id))
        ids = sorted(self.contents, key=self._places.__getitem__)
        self.contents = dict(zip(ids, format.together([self.contents[id] for id in ids]), strict=True))
        self.head_id = self._shown[line[-1].id] if line else None

    def _add(self, branch: Sequence[NativeMessage]) -> None:
        """Convert messages that follow each other, and were not converted with another branch."""
        if not branch:
            return
        before = self._parents[branch[0].id]
        contents = self._format.convert([*self._callers(branch), *branch])
        shown = None if before is None else self._shown.get(before)
        for message in branch:
            if message.id in contents:
                shown = message.id
                self.contents[message.id] = contents[message.id]
            self._shown[message.id] = shown

    def _new_of_branch(self, id: str) -> list[NativeMessage]:
        branch: list[NativeMessage] = []
        place: str | None = id
        while place in self._messages and place not in self._shown:
            self._shown[place] = None  # parents may form a circle
            branch.append(self._messages[place])
            place = self._parents[place]
        return branch[::-1]

    def _callers(self, branch: Sequence[NativeMessage]) -> list[NativeMessage]:
        """Return the message before a branch if its first message answers calls, which may be in that message."""
        before = self._messages.get(self._parents[branch[0].id] or "")
        answers = any(isinstance(part, ToolResult) for part in parts(branch[0]))
        return [before] if answers and before is not None else []

    def is_unchanged(self, id: str, content: JsonObject) -> bool:
        """Return whether a front end sends a message back as it was given it, or as it stored it."""
        # A call that was abandoned since is given otherwise than it was stored.
        given = self._compared(content)
        return any(is_copy(given, self._compared(each)) for each in self._known(id))

    def unknown_metadata(self, id: str, content: JsonObject) -> JsonObject | None:
        """
        Return what the metadata of a message that comes back gets: the fields that it has not. None: store the message.

        A field that the message has is not replaced: it may have been set after the front end loaded the message. A
        message that the front end itself has stored is stored again if its metadata was changed.
        """
        message = self._messages.get(id)
        if message is None or not self.is_unchanged(id, content):
            return None
        given = self._metadata(content)
        if any(given == self._metadata(each) for each in self._known(id)):
            return {}
        if self._is_front_ends(message):
            return None
        return {name: value for name, value in given.items() if name not in message.metadata}

    def merged_metadata(self, id: str, content: JsonObject) -> JsonObject | None:
        """Return the metadata of a stored message with that of its new content; None: the message is new."""
        message = self._messages.get(id)
        if message is None:
            return None
        given = self._format.metadata(content)
        if self.is_unchanged(id, content) and isinstance(message.payload, dict):
            before = self._format.metadata(message.payload)
            given = {
                name: value
                for name, value in given.items()
                if name not in message.metadata or before.get(name, value) != value
            }
        return {**message.metadata, **given}

    def _known(self, id: str) -> list[JsonObject]:
        message = self._messages.get(id)
        known = [] if message is None else [self.contents.get(id), message.payload]
        return [each for each in known if isinstance(each, dict)]

    def _is_front_ends(self, message: NativeMessage) -> bool:
        return bool(self._format.family) and (message.format or "").startswith(self._format.family)

    def _metadata(self, content: JsonObject) -> JsonObject:
        return as_in_javascript(self._format.metadata(content))

    def _compared(self, content: JsonObject) -> JsonObject:
        return as_in_javascript(self._format.compared(content))

    def parent_of(self, id: str) -> str | None:
        """Return the message before one of the front end's, in the front end's form; None: it is a first one."""
        before = self._parents[id]
        # The parent may be gone, and a message without content in this form has none.
        return self._shown.get(before) if before is not None else None

    def last_known(self, ids: Sequence[str]) -> str | None:
        """Return the last of the front end's messages that is stored; None: none is."""
        return next((id for id in reversed(ids) if id in self._messages), None)

    def last_of(self, id: str) -> str:
        """Return the last stored message that belongs to one of the front end's: the one that the next one follows."""
        own = [each for each, shown in self._shown.items() if shown == id]
        on_line = [each for each in own if each in self._line]
        return max(on_line or own or [id], key=lambda each: self._places.get(each, 0))


def _parents(found: Sequence[tuple[NativeMessage, bool]]) -> Iterator[tuple[str, str | None]]:
    """
    Yield each message's id with its parent's; None: it is a first message.

    The same rule as in list_siblings(): a message of the line follows the message before it. A message off the line
    whose parent is gone is a first one.
    """
    there = {message.id for message, _ in found}
    before: str | None = None
    for message, is_aside in found:
        if is_aside:
            yield message.id, message.parent_id if message.parent_id in there else None
        else:
            yield message.id, before
            before = message.id
