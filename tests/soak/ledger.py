"""The comparison of what the clients have recorded with what is stored."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from tests.soak.load import State, sign
from voltmem import PostgresStorage

DONE: Final = "done"
UNKNOWN: Final = "OutcomeUnknownError"
KILLED: Final = "client killed"


@dataclass
class Write:
    """The last write to a conversation, and the state before it."""

    verb: str
    before: State
    after: State
    outcome: str = KILLED


@dataclass
class Report:
    """What was found, by verb."""

    done: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    """The answer was lost, and the error said so; or the client was killed."""
    refused: Counter[str] = field(default_factory=Counter)
    """Another error."""
    cut_off: Counter[str] = field(default_factory=Counter)
    """The connection was lost after a part was handed out, which nothing can repeat."""
    lost: Counter[str] = field(default_factory=Counter)
    doubled: Counter[str] = field(default_factory=Counter)
    half: Counter[str] = field(default_factory=Counter)
    """Neither as before nor as after the write; or in another order."""
    misreported: Counter[str] = field(default_factory=Counter)
    """Stored, although the error did not say that it might be; or an error of a read that says so, or hides a loss."""
    moved_back: Counter[str] = field(default_factory=Counter)
    """The time of a conversation's last activity was later before."""
    untrue: Counter[str] = field(default_factory=Counter)
    """A window, or what recall found, is not what the messages say."""
    errors: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    """The text of one error of each kind."""
    details: list[str] = field(default_factory=list)


class Ledger:
    """All records of a run."""

    def __init__(self, folder: Path) -> None:
        self.report = Report()
        self._writes: dict[str, Write] = {}
        self._shared: dict[str, tuple[str, str]] = {}
        self._orders: list[list[str]] = []
        self._notes: dict[str, str] = {}
        for path in sorted(folder.glob("client-*")):
            self._orders.append([])
            # The last line of a client that was killed may be cut.
            lines = path.read_text().splitlines(keepends=True)
            for line in lines if not lines or lines[-1].endswith("\n") else lines[:-1]:
                self._read(json.loads(line))

    def _read(self, line: dict[str, Any]) -> None:
        report = self.report
        if "refused" in line:
            report.refused[line["verb"]] += 1
            report.misreported[line["verb"]] += line["refused"] == UNKNOWN and line["verb"] != "put file"
            self._note(f"{line['verb']}: {line['refused']}", line)
        elif "cut_off" in line:
            report.cut_off[line["verb"]] += 1
            report.misreported[line["verb"]] += line["cut_off"] != "ConnectionFailedError"
            self._note(f"{line['verb']}: {line['cut_off']}", line)
        elif "remembers" in line:
            self._notes[line["remembers"]] = KILLED
        elif "note" in line:
            self._notes[line["note"]] = line["outcome"]
            self._count("append to memory", line)
        elif "embedding" in line:
            report.refused["embed"] += 1
            self._note(f"embed: {line['embedding']}", line)
        elif "wrong" in line:
            report.untrue[line["wrong"]] += 1
            report.details.append(line["reason"])
        elif "back" in line:
            report.moved_back["sidebar"] += 1
            report.details.append(line["reason"])
        elif "reads" in line:
            report.done.update(line["reads"])
        elif "adds" in line:
            id, text = line["adds"]
            self._shared[id] = KILLED, text
            self._orders[-1].append(id)
        elif "shared" in line:
            self._shared[line["shared"]] = line["outcome"], self._shared[line["shared"]][1]
            self._count("append to shared", line)
        elif "verb" in line:
            known = self._writes.get(line["conversation"])
            self._writes[line["conversation"]] = Write(line["verb"], known.after if known else None, line["after"])
        else:
            write = self._writes[line["conversation"]]
            write.outcome = line["outcome"]
            self._count(write.verb, line)

    def _count(self, verb: str, line: dict[str, Any]) -> None:
        outcome = line["outcome"]
        counter = {DONE: self.report.done, UNKNOWN: self.report.unknown}.get(outcome, self.report.refused)
        counter[verb] += 1
        if outcome != DONE:
            self._note(f"{verb}: {outcome}", line)

    def _note(self, kind: str, line: dict[str, Any]) -> None:
        self.report.errors[kind] += 1
        self.report.reasons.setdefault(kind, line["reason"])

    async def compare(self, storage: PostgresStorage) -> Report:
        """Compare every conversation with its record. Returns the report."""
        for id, write in self._writes.items():
            self.report.unknown[write.verb] += write.outcome == KILLED
            stored = await _stored(storage, id)
            self._judge(id, write, stored)
            await self._look_for_files(storage, id, write)
            if stored is not None:
                await self._look_at_window(storage, id, stored)
        self._judge_shared(await _stored(storage, "shared") or [])
        memory = await storage.working_memory("everybody").get()
        self._judge_notes("" if memory is None else str(memory.content))
        return self.report

    def _judge(self, id: str, write: Write, stored: State) -> None:
        possible = [write.after] if write.outcome == DONE else [write.before, write.after]
        if write.verb == "prune" and stored and stored[-len(write.after or []) :] == write.after:
            possible.append((write.before or [])[-len(stored) :])  # the server's clock was behind some of them
        if stored in possible:
            certain = write.outcome not in (DONE, UNKNOWN, KILLED)
            if certain and stored == write.after != write.before:
                self.report.misreported[write.verb] += 1
            return
        self._name(id, write, stored)

    def _name(self, id: str, write: Write, stored: State) -> None:
        """Count what is wrong with a conversation."""
        report = self.report
        texts = Counter(text for _, text in stored or [])
        before, after = write.before or [], write.after or []
        certain = after if write.outcome == DONE else [each for each in before if each in after]
        if max(texts.values(), default=0) > 1:
            report.doubled[write.verb] += 1
        elif any(each not in (stored or []) for each in certain):
            report.lost[write.verb] += 1
        else:
            report.half[write.verb] += 1
        states = {"stored": stored, "before": write.before, "after": write.after}
        ids = [f"{name} {None if state is None else [id for id, _ in state]}" for name, state in states.items()]
        report.details.append(f"{id}, {write.verb} ({write.outcome}): {', '.join(ids)}")

    async def _look_for_files(self, storage: PostgresStorage, id: str, write: Write) -> None:
        """Count messages whose file is gone."""
        for _, text in write.after or [] if write.outcome == DONE else []:
            if text.startswith("voltmem:file/") and await storage.get_file(_user_of(id), text.split("/")[1]) is None:
                self.report.lost["file"] += 1
                self.report.details.append(f"{id}: {text} is missing")

    async def _look_at_window(self, storage: PostgresStorage, id: str, stored: list[list[str]]) -> None:
        """Count windows in which the summary, and the messages after it, are not what is stored."""
        conversation = await storage.get_conversation(id)
        assert conversation is not None  # nobody writes any more
        window = await storage.conversation(conversation.user_id, id).messages()
        told = window.pop(0).text if window and window[0].type == "summary" else ""
        self.report.done["summary in use"] += bool(told)
        signs = [sign(id, text) for id, text in stored]
        # The limit deletes what stays summarised.
        known = [each for each in told.split() if "=" in each and (each in signs or each.split("=")[0] in dict(stored))]
        if known + [sign(each.id, str(each.content)) for each in window] != signs:
            self.report.untrue["compact"] += 1
            self.report.details.append(f"{id}: the window is {told} and {[each.id for each in window]}, not {signs}")

    def _judge_notes(self, memory: str) -> None:
        verb, times = "append to memory", Counter(memory.split())
        for note, outcome in self._notes.items():
            self.report.unknown[verb] += outcome == KILLED
            self.report.lost[verb] += outcome == DONE and times[note] == 0
            self.report.doubled[verb] += times[note] > 1
            self.report.misreported[verb] += outcome not in (DONE, UNKNOWN, KILLED) and times[note] > 0

    def _judge_shared(self, stored: list[list[str]]) -> None:
        verb = "append to shared"
        times = Counter(text for _, text in stored)
        places = {id: place for place, (id, _) in enumerate(stored)}
        for outcome, text in self._shared.values():
            self.report.unknown[verb] += outcome == KILLED
            self.report.lost[verb] += outcome == DONE and times[text] == 0
            self.report.doubled[verb] += times[text] > 1
            self.report.misreported[verb] += outcome not in (DONE, UNKNOWN, KILLED) and times[text] > 0
        # A client sends one after the other. One whose answer was lost may be stored later.
        for order in self._orders:
            found = [places[id] for id in order if id in places and self._shared[id][0] == DONE]
            self.report.half[verb] += sum(one > other for one, other in pairwise(found))


async def _stored(storage: PostgresStorage, id: str) -> State:
    if await storage.get_conversation(id) is None:
        return None
    messages = await storage.get_conversation_messages(id, limit=None)
    return [[message.id, str(message.content)] for message in messages]


def _user_of(id: str) -> str:
    return id.rpartition("-")[0]
