"""What the lines of an export say, piece by piece: models of lines, and what is made of several."""

from __future__ import annotations

from dataclasses import dataclass, field

from voltmem._areas.history.models import AgentHistoryEntry, Json, TimelineEvent
from voltmem._areas.transfer.models import ImportedMemory
from voltmem._model import Id, Model, String, Time


class RunStep(Model):
    """One step of a run, as it is stored."""

    id: Id
    agent_id: Id
    value: dict[String, Json]


class RunEvent(TimelineEvent):
    """One event of a run, with its agent."""

    agent_id: Id


class VoltAgentRow(Model):
    """A row of a table of VoltAgent's own, which is not imported."""

    table: String
    row: dict[String, Json]


@dataclass(frozen=True)
class ImportedRun:
    """A run of an agent with its steps and events."""

    entry: AgentHistoryEntry
    steps: list[RunStep] = field(default_factory=list)
    events: list[RunEvent] = field(default_factory=list)


@dataclass(frozen=True)
class ImportedUserMemory:
    """The versions of the user's working memory, oldest first."""

    versions: list[ImportedMemory]


class ImportedFile(Model):
    """A file, whose content follows in chunks."""

    id: Id
    """The SHA-256 of the content."""
    size: int
    """The number of bytes."""
    created_at: Time
    """When it was stored first."""


class FileChunk(Model):
    """Some of the content of the file above."""

    data: String
    """The bytes, in base64."""


@dataclass(frozen=True)
class FilePiece:
    """The bytes of a chunk."""

    bytes: bytes


@dataclass(frozen=True)
class FileEnd:
    """The file is complete, and its content has the id."""
