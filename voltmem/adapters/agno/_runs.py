"""Conversion between Agno's runs and voltmem's messages."""

from __future__ import annotations

import logging
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from pydantic import JsonValue

from voltmem._agents.windows import tool_turns
from voltmem._areas.shown import is_shown
from voltmem._areas.summaries import TYPE as SUMMARY
from voltmem._values import JsonObject, to_json
from voltmem.adapters.agno._documents import epoch_seconds, objects_of
from voltmem.models import Message, NativeMessage
from voltmem.parts import SYSTEM_ROLES, File, Part, Text, ToolCall, ToolResult, parts, plain
from voltmem.parts import agno as forms
from voltmem.parts._providers import arguments_object, is_named_only, references, result_text, spoken
from voltmem.parts._settled import settle
from voltmem.parts._shapes import read_block
from voltmem.parts._steps import Settled
from voltmem.parts._told import Piece, told
from voltmem.parts.ai_sdk import TOOL_RESULT

FORMAT: Final = "agno"

_log = logging.getLogger("voltmem")

# Statuses of runs that Agno does not pass to a model.
UNFINISHED: Final = frozenset({"PAUSED", "CANCELLED", "ERROR", "REGENERATED"})

# Prefix of the ids of runs converted from messages that Agno did not store. Agno reads these runs. They are never
# stored, because their messages already are.
_FOREIGN: Final = "voltmem:"

# The metadata of a run that stands for one that cannot be continued. It is never stored either.
_STOPPED: Final[JsonObject] = {"voltmem": "changed elsewhere"}

_ROLES: Final = {"model": "assistant", "developer": "system", "function": "tool"}
_MEDIA_KEYS: Final = {"image": "images", "audio": "audio", "video": "videos"}


@dataclass(frozen=True)
class Formats:
    """The formats of a session's messages and document."""

    base: str

    @property
    def session(self) -> str:
        """The session's document: the session without its runs."""
        return f"{self.base}/session"

    @property
    def run(self) -> str:
        """The first message of a run. It also holds the run without its messages."""
        return f"{self.base}/run"

    @property
    def unfinished(self) -> str:
        """The first message of a paused, failed or cancelled run, which is no part of the history."""
        return f"{self.base}/unfinished-run"

    @property
    def message(self) -> str:
        """A later message of a run."""
        return f"{self.base}/message"

    @property
    def input(self) -> str:
        """A user's message stored before its run. Agno reads it only if somebody else has answered it."""
        return f"{self.base}/input"

    def is_first_of_run(self, message: NativeMessage) -> bool:
        """Return whether the message is the first of a run."""
        return message.format in (self.run, self.unfinished)

    def is_own(self, message: NativeMessage) -> bool:
        """Return whether Agno stored the message in these sessions, and nobody else has changed it."""
        return message.format in (self.run, self.unfinished, self.message, self.input)

    def is_readable(self, message: NativeMessage) -> bool:
        """Return whether these sessions show the message. Those of the other sessions of the same release are not."""
        return self.is_own(message) or not self.is_of_agno(message)

    def is_of_agno(self, message: NativeMessage) -> bool:
        """Return whether an agent, team or workflow of the same release of Agno stored the message."""
        return message.format is not None and message.format.startswith(self.base.partition("/")[0] + "/")


def run_id_of(run: JsonObject) -> str:
    """Return the run's id; for a run without an id, a hash of its content."""
    response = run.get("response")  # the first workflows and the first memory of Agno 1 have the id here
    found = run.get("run_id") or (response.get("run_id") if isinstance(response, dict) else None)
    return found if isinstance(found, str) else blake2b(to_json(run).encode(), digest_size=16).hexdigest()


def parent_of(run: JsonObject) -> str | None:
    """Return the id of the run that this run is a part of; None if there is none."""
    parent = run.get("parent_run_id")
    return parent if isinstance(parent, str) and parent else None


def row_id(run_id: str, position: int) -> str:
    """Return the id of the run's message at this position; the first is 0."""
    return f"{run_id}/{position}"


def to_messages(run: JsonObject, members: Sequence[JsonObject], formats: Formats) -> list[NativeMessage]:
    """
    Convert a run to messages: its own messages, without system messages and without messages of earlier runs.

    A run without messages, such as a workflow's, becomes its input and its output. The first message also holds the
    rest of the run and the runs of the team's members, which take no part in the conversation.
    """
    document = _without_history(run)
    messages = messages_of(document)
    stored = [each for each in messages if each.get("role") not in SYSTEM_ROLES]
    numbers = {id(each): number for number, each in enumerate(stored)}
    document = _with_messages(document, [numbers.get(id(each), each) for each in messages])
    plain = [plain_message(each) for each in stored] or _input_and_output(run)
    status = _holder(run).get("status")
    is_finished = status not in UNFINISHED
    rows = []
    for position, (role, type, content) in enumerate(plain):
        message: JsonValue = stored[position] if stored else None
        first: JsonObject = {"run": document, "members": list(members), "rows": len(plain), "message": message}
        rows.append(
            NativeMessage(
                id=row_id(run_id_of(run), position),
                role=role,
                type=type,
                content=content,
                metadata={} if is_finished or position else {"status": status},
                format=formats.message if position else formats.run if is_finished else formats.unfinished,
                payload=message if position else first,
            )
        )
    return rows


def messages_of(run: JsonObject) -> list[JsonObject]:
    """Return the run's messages, whether the run or its response has them."""
    return objects_of(_holder(run), "messages")


def _holder(run: JsonObject) -> JsonObject:
    """Return the object with the run's messages: the run, or its response in the first memory of Agno 1."""
    response = run.get("response")
    return response if "messages" not in run and isinstance(response, dict) else run


def _with_messages(run: JsonObject, messages: list[JsonValue]) -> JsonObject:
    holder = _holder(run)
    if "messages" not in holder:
        return run
    changed: JsonObject = {**holder, "messages": messages}
    return changed if holder is run else {**run, "response": changed}


def _without_history(run: JsonObject) -> JsonObject:
    """Return the run without the messages of earlier runs, which Agno 1 repeats, and without what nobody has said."""
    run = dict(run)
    if isinstance(run.get("messages"), list):
        run["messages"] = [each for each in objects_of(run, "messages") if _is_own(each)]
    if isinstance(response := run.get("response"), dict):
        run["response"] = _without_history(response)
    return run


def _is_own(message: JsonObject) -> bool:
    role, text = message.get("role"), message.get("content")
    return not (message.get("from_history") or (isinstance(text, str) and is_shown(str(role), text)))


def own_runs(runs: Iterable[JsonObject]) -> list[JsonObject]:
    """Return Agno's own runs without repeated messages. Those that to_runs() has made are left out."""
    return [_without_history(run) for run in runs if not run_id_of(run).startswith(_FOREIGN) and not is_stopped(run)]


def is_stopped(run: JsonObject) -> bool:
    """Return whether the run stands for one that waited for somebody, and whose messages others have changed."""
    return run.get("metadata") == _STOPPED


def plain_message(message: JsonObject) -> tuple[str, str, JsonValue]:
    """Return the role, the type and the content of the plain message."""
    role = str(message.get("role") or "user")
    role = _ROLES.get(role, role)
    type, content = plain.derive(role, forms.read({**message, "role": role}, read_block))
    return "tool" if type == TOOL_RESULT else role, type, content


def text_of(message: JsonObject) -> str:
    """Return the text of a message."""
    role, type, content = plain_message(message)
    return Message(role=role, type=type, content=content).text


def _input_and_output(run: JsonObject) -> list[tuple[str, str, JsonValue]]:
    """Return the input and the output of a run without messages, as plain messages."""
    input, response = run.get("input"), run.get("response")
    input = input.get("input_content", input) if isinstance(input, dict) else input
    output = (response if isinstance(response, dict) else run).get("content")
    plain: list[tuple[str, str, JsonValue]] = []
    plain += [] if input is None else [("user", "text", input)]
    plain += [] if output is None else [("assistant", "text", output)]
    return plain or [("assistant", "text", "")]


def to_runs(messages: Sequence[NativeMessage], formats: Formats, component: JsonObject) -> list[JsonObject]:
    """
    Convert messages to runs, the oldest first. The runs of a team's members come before the team's run.

    Each turn of messages that Agno did not store becomes a run of the component. So does what is stored of a run whose
    messages are not all there as Agno stored them, because somebody else has deleted or changed some, and a question
    that Agno failed to answer and somebody else has answered. A run that waited for somebody, and of which not all is
    there as Agno stored it, cannot be continued: it is a cancelled run without messages.

    Args:
        messages: The messages of one conversation, in order.
        formats: The formats of the session.
        component: The id of the agent, team or workflow, by its key in a run. If it is empty, only runs that Agno
            stored are returned.
    """
    by_id = {each.id: each for each in messages}
    found: list[tuple[int, list[JsonObject]]] = []
    used = _without_answer(messages, formats)
    for place, message in enumerate(messages):
        of_run = _rows_of_run(message, by_id) if formats.is_first_of_run(message) else []
        group = _run_with_members(of_run, formats) if of_run else None
        if group is not None:
            used.update(each.id for each in of_run if message.format == formats.run)
            found.append((place, group))
    others = [each for each in messages if each.id not in used and formats.is_readable(each)]
    places = {each.id: place for place, each in enumerate(messages)}
    if component:
        turns = [*_turns(others, places, [place for place, _ in found])]
        found += [(places[turn[0].id], [_foreign_run(turn, component)]) for turn in turns]
        found += [
            (places[rows[0].id], [_stopped_run(rows[0], component)]) for rows in _stopped(messages, found, formats)
        ]
    return [run for _, group in sorted(found, key=lambda each: each[0]) for run in group]


def to_history(messages: Sequence[NativeMessage], formats: Formats) -> list[JsonObject]:
    """
    Convert a window of messages to those of earlier runs that a model is shown.

    A summary has the role "user", as that of Agno's own compaction: for some models, Agno takes the last message of the
    system's for the only one. Other system messages are left out, as Agno does, and so are questions without an answer.
    """
    unanswered = _without_answer(messages, formats)
    shown = [
        each
        for each in messages
        if each.type == SUMMARY or (each.id not in unanswered and formats.is_readable(each) and _is_for_models(each))
    ]
    settled = settle(shown)
    own = [_own(each.message, formats) for each in settled]
    pieces = told(settled, [each is not None for each in own])
    history: list[JsonObject] = []
    for each, as_stored, said in zip(settled, own, pieces, strict=True):
        history += [] if as_stored is None else [as_stored]
        history += _foreign_messages(each, said)
    return history


def _own(message: NativeMessage, formats: Formats) -> JsonObject | None:
    """Return Agno's form of a message that it has stored; None if another one did, or a run without messages."""
    native = message.payload if formats.is_own(message) else None
    if formats.is_first_of_run(message):
        native = native.get("message") if isinstance(native, dict) else None
    # A stored file that is not there is named.
    return None if native is None or references(native) else _native(message, native)


def _stopped(
    messages: Sequence[NativeMessage], found: Sequence[tuple[int, list[JsonObject]]], formats: Formats
) -> list[list[NativeMessage]]:
    """Return what is left of each run of Agno 2 or later that waited for somebody, and is not among those found."""
    if formats.base != FORMAT:
        return []
    read = {run_id_of(run) for _, group in found for run in group}
    left: dict[str, list[NativeMessage]] = {}
    for message in messages:
        run_id, _, number = message.id.rpartition("/")
        if run_id and number.isdecimal() and run_id not in read and message.format != formats.input:
            left.setdefault(run_id, []).append(message)
    return [rows for rows in left.values() if _waited(rows, formats)]


def _waited(rows: Sequence[NativeMessage], formats: Formats) -> bool:
    """Return whether a run was unfinished: its first message says so, or one of its calls has no result."""
    if any(row.format == formats.unfinished or row.metadata.get("status") in UNFINISHED for row in rows):
        return True
    said = [part for row in rows for part in parts(row)]
    answered = {part.call_id for part in said if isinstance(part, ToolResult)}
    is_open = any(isinstance(part, ToolCall) and part.id not in answered for part in said)
    return is_open and any(map(formats.is_own, rows))


def _stopped_run(row: NativeMessage, component: JsonObject) -> JsonObject:
    return {
        "run_id": row.id.rpartition("/")[0],
        **component,
        "content": "This run cannot be continued: its messages were changed elsewhere while it waited.",
        "created_at": epoch_seconds(row.created_at),
        "status": "CANCELLED",
        "metadata": _STOPPED,
    }


def _without_answer(messages: Sequence[NativeMessage], formats: Formats) -> set[str]:
    """Return the ids of the messages of Agno's unfinished runs, except those that somebody else has answered."""
    found: set[str] = set()
    waiting: list[str] = []
    run_id = ""
    for message in messages:
        run_of_message = message.id.rpartition("/")[0]
        if message.format in (formats.unfinished, formats.input):
            found.update(waiting)
            waiting, run_id = [message.id], run_of_message
        elif message.format == formats.message and run_of_message == run_id:
            waiting.append(message.id)
        elif waiting and message.role not in SYSTEM_ROLES:
            if formats.is_of_agno(message) or _asks(message):
                found.update(waiting)
            waiting = []
    return found.union(waiting)


def _rows_of_run(first: NativeMessage, by_id: Mapping[str, NativeMessage]) -> list[NativeMessage]:
    """Return the messages of the run with this first message; an empty list if some are missing."""
    count = first.payload.get("rows") if isinstance(first.payload, dict) else None
    run_id = first.id.rpartition("/")[0]
    ids = [row_id(run_id, position) for position in range(count if isinstance(count, int) else 0)]
    return [by_id[each] for each in ids] if all(each in by_id for each in ids) else []


def _run_with_members(rows: Sequence[NativeMessage], formats: Formats) -> list[JsonObject] | None:
    """Return the runs of the members, then the run of these messages; None if others have changed a message."""
    payload = rows[0].payload
    assert isinstance(payload, dict)
    run = payload["run"]
    assert isinstance(run, dict)
    if not all(formats.is_own(each) for each in rows):
        return None
    slots = _holder(run).get("messages")
    messages: list[JsonValue] = []
    for slot in slots if isinstance(slots, list) else []:
        native = slot
        if isinstance(slot, int):
            native = _native(rows[slot], rows[slot].payload if slot else payload["message"])
        if native is None:
            return None
        messages.append(native)
    return [*objects_of(payload, "members"), _with_messages(run, messages)]


def _native(message: NativeMessage, native: JsonValue) -> JsonObject | None:
    """Return Agno's form of the message; None if Agno cannot read it."""
    if isinstance(native, dict) and isinstance(native.get("role"), str):
        return native
    _log.warning("this Agno cannot read the message %s, which has no role: its plain form is read", message.id)
    return None


def _turns(
    messages: Sequence[NativeMessage], places: Mapping[str, int], runs: Sequence[int]
) -> Iterator[list[NativeMessage]]:
    """
    Yield the turns: a user's messages with those that follow, in an order that models accept.

    Args:
        messages: The messages that do not belong to a run of Agno's.
        places: The place of each message in the conversation, by id.
        runs: The places of Agno's runs in the conversation, in order. A turn ends before the next of them.
    """
    turn: list[NativeMessage] = []
    last = 0
    for group in tool_turns(messages):
        before = bisect(runs, places[group[0].id])
        for message in filter(_is_for_models, group):
            if turn and (before != last or (_asks(message) and turn[-1].role != "user")):
                yield turn
                turn = []
            turn.append(message)
            last = before
    if turn:
        yield turn


def _asks(message: NativeMessage) -> bool:
    """Return whether the user says something: Anthropic's and Gemini's results of tools have the user's role."""
    return message.role == "user" and not all(isinstance(part, ToolResult) for part in parts(message))


def _is_for_models(message: Message) -> bool:
    return message.role not in SYSTEM_ROLES and message.type not in ("reasoning", "thinking")


def _foreign_run(turn: Sequence[NativeMessage], component: JsonObject) -> JsonObject:
    answers = [each.text for each in turn if each.role == "assistant" and each.type == "text"]
    run: JsonObject = {
        "run_id": f"{_FOREIGN}{turn[0].id}",
        **component,
        "content": answers[-1] if answers else None,
        "created_at": epoch_seconds(turn[0].created_at),
        "status": "COMPLETED",
    }
    if "workflow_id" in component:
        return {**run, "input": turn[0].text}
    settled = settle(turn)
    pieces = told(settled, [False] * len(settled))
    return {
        **run,
        "messages": [
            message for each, said in zip(settled, pieces, strict=True) for message in _foreign_messages(each, said)
        ],
    }


def _foreign_messages(settled: Settled[NativeMessage], pieces: Iterable[Piece]) -> list[JsonObject]:
    """Convert a message that Agno did not store, piece by piece: a message, and one for each tool result."""
    created_at = epoch_seconds(settled.message.created_at)
    native: list[JsonObject] = []
    for piece in pieces:
        if any(isinstance(part, Text | File | ToolCall) for part in piece.said):
            native.append({**_said(settled.speaker, piece.said), "created_at": created_at})
        native += [{**_native_result(each), "created_at": created_at} for each in piece.results]
    return native


def _said(speaker: str, said: Sequence[Part]) -> JsonObject:
    media: dict[str, list[JsonValue]] = {}
    named: list[Part] = []
    for part in said:
        # Providers refuse files in what a model says. A file that is not there is named, too.
        if not isinstance(part, File) or is_named_only(part) or speaker == "assistant":
            named.append(part)
        else:
            media.setdefault(_MEDIA_KEYS.get(part.media_type.partition("/")[0], "files"), []).append(
                _native_media(part)
            )
    text = spoken(named)
    calls: list[JsonValue] = [_native_call(part) for part in said if isinstance(part, ToolCall)]
    if calls:
        return {"role": "assistant", "content": text or None, "tool_calls": calls}
    return {"role": "assistant" if speaker == "assistant" else "user", "content": text, **media}


def _native_media(part: File) -> JsonObject:
    where: JsonObject = {"content": part.data} if part.data else {"url": part.url} if part.url else {"id": part.id}
    named: JsonObject = {"mime_type": part.media_type if "/" in part.media_type else None, "filename": part.name}
    return {**where, **{name: value for name, value in named.items() if value}}


def _native_call(call: ToolCall) -> JsonObject:
    written = to_json(arguments_object(call))
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": written}}


def _native_result(result: ToolResult) -> JsonObject:
    native: JsonObject = {
        "role": "tool",
        "content": result_text(result),
        "tool_call_id": result.call_id,
        "tool_name": result.name,
    }
    return native if result.state == "answered" else {**native, "tool_call_error": True}
