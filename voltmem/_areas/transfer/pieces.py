"""What the lines of an export say, piece by piece: models of lines, and what is made of several."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from voltmem._areas.history.models import AgentHistoryEntry, Json, TimelineEvent
from voltmem._areas.transfer.models import ImportedMemory
from voltmem._model import Id, Model, String, Time
from voltmem._values import short_repr
from voltmem.errors import InvalidInputError


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


class ImportedItem(Model):
    """An item of the user's, as a framework keeps it."""

    namespace: list[Id]
    """The labels of its namespace, the framework's name first."""
    key: Id
    """Its name there."""
    value: dict[String, Json]
    """The JSON object."""
    searched: bool = False
    """Whether a search finds it by the words of its value."""
    lifetime: float | None = None
    """For how many seconds it is kept after it was last read or written; None: for good."""
    expires_at: Time | None = None
    """When that ends."""
    created_at: Time | None = None
    """When it was stored first; None: the time of the import."""
    updated_at: Time | None = None
    """When it was stored last; None: the time of the import."""


@dataclass(frozen=True)
class ImportedItems:
    """Some items of the user's."""

    items: list[ImportedItem]


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


class FileBeingRead:
    """The file that is being read."""

    def __init__(self, values: ImportedFile) -> None:
        self.values = values
        self._digest = sha256()
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """Add some of the content."""
        self._digest.update(chunk)
        self._size += len(chunk)

    def check(self) -> None:
        """Raise InvalidInputError unless the content is complete."""
        if self._digest.hexdigest() != self.values.id or self._size != self.values.size:
            raise InvalidInputError(
                f"the chunks of file {short_repr(self.values.id)} above have {self._size} bytes with the SHA-256 "
                f"{self._digest.hexdigest()}, not the {self.values.size} bytes of the file: export again"
            )
