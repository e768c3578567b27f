"""ChatGPT's export: conversations whose messages are nodes of a tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from voltmem._areas.transfer.models import ImportedConversation
from voltmem._values import JsonObject, check_id, is_storable, short_repr, storable_text
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
    seconds,
    storable,
    string_in,
    time_of,
)
from voltmem.models import Message
from voltmem.parts import ToolCall, ToolResult, plain
from voltmem.parts._types import arguments

# Why messages are left out.
OTHER_BRANCHES: Final = "messages of other branches"
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

    Of each conversation the branch that ChatGPT shows is read, from the first message to the current one. left_out
    counts what is not: messages of other branches, and what ChatGPT hides, such as system messages, custom instructions
    and its reasoning. What the assistant sent to a tool becomes a tool call, and the tool's answers become its result.
    Citations become links. Pictures, sounds and attachments have a text with their name, such as "[file: report.pdf]",
    and an entry in metadata["attachments"]; without a name the text has ChatGPT's address of the file.

    No message is older than the one before it, nor newer than the conversation.
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
    shown = [id for id in _branch(nodes, value.get("current_node")) if reasons.get(id, "") is None]
    others = sum(reason is None for reason in reasons.values()) - len(shown)
    kept = {name: value.get(name) for name in ("default_model_slug", "gizmo_id")}
    updated_at = time_of(value.get("update_time"))
    left_out = Counter(reason for reason in reasons.values() if reason) + Counter({OTHER_BRANCHES: others})
    return conversation(
        {"source": "chatgpt", **kept, "messages_left_out": others or None},
        value.get("title"),
        id=_own_id(value),
        resource_id=resource_id,
        created_at=time_of(value.get("create_time")),
        updated_at=updated_at,
        archived=value.get("is_archived") is True,
        pinned=value.get("is_starred") is True or time_of(value.get("pinned_time")) is not None,
        messages=list(_messages(_said((id, object_in(nodes[id], "message")) for id in shown), updated_at)),
        left_out=dict(left_out),
    )


def _branch(nodes: Mapping[str, Json], current: object) -> list[str]:
    """Return the ids from the root to the current node; without one, to the newest leaf."""
    parents: dict[str, str] = {}
    for id, node in nodes.items():
        children = node.get("children")
        parents |= {child: id for child in children if isinstance(child, str)} if isinstance(children, list) else {}
    parents |= {id: parent for id, node in nodes.items() if (parent := string_in(node, "parent"))}
    if not isinstance(current, str) or current not in nodes:
        times = {id: seconds(object_in(node, "message").get("create_time")) for id, node in nodes.items()}
        leaves = nodes.keys() - set(parents.values())
        current = max((id for id in nodes if id in leaves or not leaves), key=times.__getitem__, default=None)
    branch: dict[str, None] = {}
    while current is not None and current in nodes and current not in branch:
        branch[current] = None
        current = parents.get(current)
    return list(branch)[::-1]


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


def _said(branch: Iterable[tuple[str, Json]]) -> list[_Said]:
    found: list[_Said] = []
    waiting: list[ToolCall] = []  # without a result so far
    for id, message in branch:
        text = _text(message)
        said = _Said(id, message, None, [text])
        if name := _called(message):
            given = arguments(text)
            said.call = ToolCall(id, name, given if isinstance(given, dict) else text)
            waiting.append(said.call)
        elif said.tool is None:
            waiting.clear()
        elif not waiting and found and found[-1].tool == said.tool:
            found[-1].texts.append(text)  # a call has one result
            continue
        elif waiting:  # some tools answer under another name
            place = next((place for place, call in enumerate(waiting) if call.name == said.tool), -1)
            said.call = waiting.pop(place)
        found.append(said)
    return found


def _messages(said: Iterable[_Said], latest: datetime | None) -> Iterator[Message]:
    before: datetime | None = None
    for each in said:
        time = time_of(each.message.get("create_time"))
        if time is not None and latest is not None:
            time = min(time, latest)  # the clock of a client may be wrong
        before = max(filter(None, (time, before)), default=None)
        about = object_in(each.message, "metadata")
        kept = {"model": about.get("model_slug"), "attachments": _attachments(about) or None}
        values = {**each.fields(), "id": id_of(each.id), "created_at": before, "metadata": storable(kept)}
        yield Message.of(values)


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
