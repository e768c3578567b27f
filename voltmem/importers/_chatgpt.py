"""ChatGPT's export: conversations whose messages are nodes of a tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from voltmem._areas.transfer.growth import progress
from voltmem._areas.transfer.models import ImportedConversation, ImportedMessage
from voltmem._values import JsonObject, check_id, derived_id, is_storable, short_repr, storable_text
from voltmem.errors import InvalidInputError
from voltmem.importers._citations import link, with_links
from voltmem.importers._files import File, is_file
from voltmem.importers._found import Conversations, Entry, Found, entries, skipped, unwrapped
from voltmem.importers._programs import program_of
from voltmem.importers._shapes import (
    Json,
    conversation,
    described,
    id_of,
    object_in,
    objects_in,
    storable,
    string_in,
    time_of,
)
from voltmem.importers._tree import Tree
from voltmem.models import Message
from voltmem.parts import ToolCall, ToolResult, plain
from voltmem.parts._types import arguments

# Why messages are left out.
SYSTEM: Final = "system messages"
INSTRUCTIONS: Final = "custom instructions"
REASONING: Final = "reasoning"
HIDDEN: Final = "hidden messages"
EMPTY: Final = "empty messages"
MALFORMED: Final = "malformed messages"

# Content types that ChatGPT does not show as messages.
_NOT_SHOWN: Final = {
    "user_editable_context": INSTRUCTIONS,
    "model_editable_context": INSTRUCTIONS,
    "thoughts": REASONING,
    "reasoning_recap": REASONING,
}
# The fields with the text in content types other than lists of parts.
_TEXTS: Final = ("text", "result", "content", "output_str", "summary")
# Content types that may have no text.
_KNOWN: Final = frozenset({"", "text", "multimodal_text", "code", "execution_output"})
_LONGEST_TYPE: Final = 40
# The newest calls that may still be answered. In a broken export, none is.
_WAITING: Final = 100


def from_chatgpt(export: File | Sequence[object] | Json, *, resource_id: str = "chatgpt") -> Conversations:
    """
    Read ChatGPT's export of a user's data. Returns its conversations.

    Args:
        export: The path of the zip file, of conversations.json, or of the folder of the unpacked zip file; the same as
            an open file; the content of conversations.json as JSON text, or parsed.
        resource_id: The agent or project of the conversations from now on.

    Raises:
        InvalidInputError: When it is read: the value is not such an export. It says which program's it is, if that is
            known.
        OSError: When it is read: a file cannot be opened.

    A file is read one conversation at a time, so the memory that it takes does not depend on its size. Newer exports
    have several files, conversations-000.json and so on: all of them are read. A conversation that is broken, or
    another program's, becomes Skipped, and the others follow.

    The branch that ChatGPT shows becomes the line; edited and regenerated messages are in the other branches, which
    list_branches() and choose_branch() know. left_out counts what ChatGPT hides, such as system messages, custom
    instructions and its reasoning. What the assistant sent to a tool becomes a tool call, and the tool's answers become
    its result. Citations become links. Pictures, sounds and attachments have a text with their name, such as
    "[file: report.pdf]", and an entry in metadata["attachments"]; without a name the text has ChatGPT's address of the
    file.

    No message is older than the one that it follows, nor newer than the conversation. A newer export of the same
    conversation adds its new messages; see import_conversations().
    """
    check_id(resource_id=resource_id)
    return Conversations(lambda: _read(export, resource_id), in_thread=is_file(export))


def _read(export: File | Sequence[object] | Json, resource_id: str) -> Generator[Found]:
    for entry in _entries(export):
        if entry.problem:
            yield skipped(entry.place, entry.problem)
            continue
        try:
            yield _conversation(entry.value, resource_id)
        except InvalidInputError as error:
            value: Json = entry.value if isinstance(entry.value, Mapping) else {}
            yield skipped(_own_id(value) or entry.place, str(error))


def _entries(export: File | Sequence[object] | Json) -> Iterator[Entry]:
    if is_file(export):
        yield from entries(export)
        return
    if not isinstance(export, Sequence | Mapping):
        raise InvalidInputError(
            f"ChatGPT's export must be a path, a file, or a list of conversations, not {short_repr(export)}"
        )
    for number, value in enumerate(unwrapped(export) if isinstance(export, Mapping) else export):
        yield Entry(f"entry {number}", value)


def _own_id(conversation: Json) -> str | None:
    return id_of(conversation.get("conversation_id")) or id_of(conversation.get("id"))


def _conversation(value: object, resource_id: str) -> ImportedConversation:
    mapping = value.get("mapping") if isinstance(value, Mapping) else None
    program = program_of(value)
    is_chatgpts = program is None or program.startswith("ChatGPT")
    if not isinstance(value, Mapping) or not isinstance(mapping, Mapping) or not is_chatgpts:
        what = f"it is {program}" if not is_chatgpts else f"it has no mapping, and is {described(value)}"
        raise InvalidInputError(f"{what}; from_chatgpt() reads conversations of ChatGPT's export")
    nodes = {str(id): node if isinstance(node, Mapping) else {"message": node} for id, node in mapping.items()}
    reasons = {id: _reason(message) for id, node in nodes.items() if (message := node.get("message")) is not None}
    if reasons and set(reasons.values()) == {MALFORMED}:
        raise InvalidInputError("no message of it has an author or a content; from_chatgpt() reads ChatGPT's export")
    updated_at = time_of(value.get("update_time"))
    said = _Reader(Tree(nodes, value.get("current_node")), reasons).read(updated_at)
    own_id = _own_id(value)
    ids = {each.id: id_of(each.id) or derived_id(own_id or "", each.id) for each in said}
    head = next((ids[each.id] for each in reversed(said) if not each.aside), None)
    return conversation(
        {"source": "chatgpt", **{name: value.get(name) for name in ("default_model_slug", "gizmo_id")}},
        value.get("title"),
        id=own_id,
        resource_id=resource_id,
        created_at=time_of(value.get("create_time")),
        updated_at=updated_at,
        archived=value.get("is_archived") is True,
        pinned=value.get("is_starred") is True or time_of(value.get("pinned_time")) is not None,
        messages=[_message(each, ids) for each in said],
        payloads=[] if updated_at is None else [progress(ids.values(), head, updated_at)],
        left_out=dict(Counter(reason for reason in reasons.values() if reason)),
    )


def _reason(message: object) -> str | None:
    """Return why a message is left out; None: it is kept."""
    if not isinstance(message, Mapping) or not {"author", "content"} & {
        name for name, value in message.items() if isinstance(value, Mapping)
    }:
        return MALFORMED
    content = object_in(message, "content")
    type = string_in(content, "content_type")
    if type in _NOT_SHOWN:
        return _NOT_SHOWN[type]
    if _role(message) == "system":
        return SYSTEM
    if object_in(message, "metadata").get("is_visually_hidden_from_conversation") is True:
        return HIDDEN
    if _text(message).strip() or _role(message) == "tool" or _called(message):
        return None
    return EMPTY if type in _KNOWN else storable_text(f"messages of the type {type[:_LONGEST_TYPE]}")


def _role(message: Json) -> str:
    role = string_in(object_in(message, "author"), "role")
    return role if role and is_storable(role) else "unknown"


def _called(message: Json) -> str:
    """Return the tool that the assistant speaks to; "": none."""
    recipient = string_in(message, "recipient")
    return recipient if _role(message) == "assistant" and recipient != "all" else ""


# --- messages -----------------------------------------------------------------------------------------------------


@dataclass
class _Said:
    """A message, to which further answers of the same tool are added."""

    id: str
    message: Json
    parent: str | None
    """The id of the message that it follows."""
    aside: bool
    """Whether it is in a branch that is not shown."""
    time: datetime | None
    call: ToolCall | None = None
    """What the message calls, or what it answers."""
    texts: list[str] = field(default_factory=list)

    @property
    def tool(self) -> str | None:
        """The name of the tool that speaks."""
        return string_in(object_in(self.message, "author"), "name") if _role(self.message) == "tool" else None

    def fields(self) -> JsonObject:
        """Return role, type and content."""
        role, text = _role(self.message), "\n\n".join(filter(None, self.texts))
        if self.tool is not None:
            type = string_in(object_in(self.message, "content"), "content_type")
            call_id, name = (self.call.id, self.call.name) if self.call else ("", "")
            state: Final = "failed" if type == "system_error" and len(self.texts) == 1 else "answered"
            kind, content = plain.derive(role, [ToolResult(call_id, text, self.tool or name, state)])
        elif self.call is not None:
            kind, content = plain.derive(role, [self.call])
        else:
            kind, content = "text", text
        return {"role": role, "type": kind, "content": content}


class _Before(NamedTuple):
    """What stands before a node, on the way from the first one."""

    said: _Said | None = None
    """The message."""
    calls: tuple[ToolCall, ...] = ()
    """Those without a result so far."""
    is_shared: bool = False
    """Whether several branches follow the message."""


class _Reader:
    """Reads the messages of a tree."""

    def __init__(self, tree: Tree, reasons: Mapping[str, str | None]) -> None:
        self._tree = tree
        self._line = frozenset(tree.line)
        self._reasons = reasons
        self._said: list[_Said] = []
        self._latest: datetime | None = None

    def read(self, latest: datetime | None) -> list[_Said]:
        """Return the messages, oldest first, each after the one that it follows; none is newer than *latest*."""
        self._latest = latest
        self._tree.walk(_Before(), self._visit)
        return sorted(self._said, key=lambda each: (each.time is not None, each.time))

    def _visit(self, id: str, before: _Before) -> _Before:
        after = before
        if self._reasons.get(id, "") is None:
            after = self._take(id, object_in(self._tree.nodes[id], "message"), before)
        is_shared = after.is_shared or len(self._tree.children.get(id, [])) > 1
        return _Before(after.said, after.calls, is_shared)

    def _take(self, id: str, message: Json, before: _Before) -> _Before:
        """Add a message. Returns what stands before the next one."""
        text, calls, last = _text(message), before.calls, before.said
        parent = last.id if last else None
        said = _Said(id, message, parent, id not in self._line, self._time(message, last), texts=[text])
        if name := _called(message):
            given = arguments(text)
            said.call = ToolCall(id, name, given if isinstance(given, dict) else text)
            calls = (*calls, said.call)[-_WAITING:]
        elif said.tool is None:
            calls = ()
        elif calls:  # some tools answer under another name
            said.call = next((call for call in calls if call.name == said.tool), calls[-1])
            calls = tuple(call for call in calls if call is not said.call)
        elif last and last.tool == said.tool and last.aside == said.aside and not before.is_shared:
            last.texts.append(text)  # a call has one result
            return before
        self._said.append(said)
        return _Before(said, calls)

    def _time(self, message: Json, last: _Said | None) -> datetime | None:
        time = time_of(message.get("create_time"))
        if time is not None and self._latest is not None:
            time = min(time, self._latest)  # the clock of a client may be wrong
        return max(filter(None, (time, last.time if last else None)), default=None)


def _message(said: _Said, ids: Mapping[str, str]) -> Message:
    about = object_in(said.message, "metadata")
    kept = {"model": about.get("model_slug"), "attachments": _attachments(about) or None}
    place = {"parent_id": "" if said.parent is None else ids[said.parent], "aside": said.aside}
    values = {**said.fields(), **place, "id": ids[said.id], "created_at": said.time, "metadata": storable(kept)}
    return ImportedMessage.of({name: value for name, value in values.items() if value is not None or name == "content"})


# --- text ---------------------------------------------------------------------------------------------------------


def _text(message: Json) -> str:
    """Return the text of a message, with links, and with the names of its files."""
    content, metadata = object_in(message, "content"), object_in(message, "metadata")
    names = {string_in(each, "id"): string_in(each, "name") for each in _attachments(metadata)}
    parts = content.get("parts")
    shown: list[str] = []
    if isinstance(parts, Sequence) and not isinstance(parts, str):
        shown += [_part(part, names) for part in parts]
    else:
        shown += [_page(content), *_pictures(content, metadata, names)]
    if not any(map(str.strip, shown)):
        shown += _search_results(metadata)
    text = "\n".join(filter(None, shown))
    if _role(message) in ("assistant", "tool"):
        text = with_links(text, metadata)
    files = [_placeholder(string_in(each, "mime_type"), string_in(each, "name")) for each in _attachments(metadata)]
    named = set(shown)  # a picture is among the parts as well
    return "\n".join(filter(None, [text, *(name for name in files if name not in named)]))


def _page(content: Json) -> str:
    """Return the text of what is no list of parts; of a page with its address before it."""
    text = string_in(content, *_TEXTS)
    url, title = string_in(content, "url"), string_in(content, "title", "domain")
    return "\n".join(filter(None, [link(title, url) if url else "", text]))


def _pictures(content: Json, metadata: Json, names: Mapping[str, str]) -> Iterator[str]:
    """Yield the names of the pictures that code or a computer has shown."""
    for each in objects_in(object_in(metadata, "aggregate_result"), "messages"):
        if address := string_in(each, "image_url"):
            yield _placeholder("image", names.get(_file_id(address), ""), address)
    if screenshot := object_in(content, "screenshot"):
        yield _part(screenshot, names)


def _search_results(metadata: Json) -> Iterator[str]:
    for group in objects_in(metadata, "search_result_groups"):
        for each in objects_in(group, "entries"):
            found = link(string_in(each, "title"), string_in(each, "url"))
            yield "\n".join(filter(None, [found, string_in(each, "snippet")]))


def _part(part: object, names: Mapping[str, str]) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return ""
    if isinstance(text := part.get("text"), str):
        return text
    pointer = part.get("asset_pointer") or part.get("audio_asset_pointer")
    address = pointer.get("asset_pointer") if isinstance(pointer, Mapping) else pointer
    place = address if isinstance(address, str) else ""
    return _placeholder(str(part.get("content_type")), names.get(_file_id(place), ""), place)


def _file_id(address: str) -> str:
    return address.rpartition("://")[2].partition("#")[0]


def _placeholder(type: str, name: str, address: str = "") -> str:
    kind = next((kind for kind in ("image", "audio", "video") if kind in type), "file")
    return f"[{kind}: {name or address}]" if name or address else f"[{kind}]"


def _attachments(metadata: Json) -> list[JsonObject]:
    """Return the names, types and sizes of the files that belong to a message."""
    found: list[JsonObject] = []
    for each in objects_in(metadata, "attachments"):
        size = each.get("size")
        about: JsonObject = {
            "id": string_in(each, "id"),
            "name": string_in(each, "name"),
            "mime_type": string_in(each, "mime_type", "mimeType"),
            "size": size if isinstance(size, int) else None,
        }
        found.append({name: value for name, value in about.items() if value})
    return found
