"""The summary of an import under way."""

from __future__ import annotations

from collections import Counter, defaultdict

from voltmem._areas.transfer.models import ImportedConversation, ImportResult, Kind, Renamed, Skipped
from voltmem._values import derived_id, to_json


class Result:
    """The summary of an import under way."""

    def __init__(self, user_id: str, *, grows: bool = False, shortest_id: int = 0) -> None:
        self.user_id = user_id
        self.shortest_id = shortest_id
        self.grows = grows
        """Whether conversations that are there get the messages that are new."""
        self.conversations = self.updated = self.messages = self.memory = self.items = self.runs = self.files = 0
        self.names: dict[str, str] = {}
        """From the id of each imported conversation to its id in the storage."""
        self.left_out: Counter[str] = Counter()
        self.skipped: list[Skipped] = []
        self._renamed: list[Renamed] = []
        self._copies: defaultdict[str, int] = defaultdict(int)

    def id_of(self, conversation: ImportedConversation) -> str:
        """Return a conversation's id, derived from its content where it has none: equal ones get different ids."""
        if conversation.id is not None:
            return conversation.id
        content = to_json(conversation.model_dump(mode="json", exclude_unset=True, exclude={"left_out"}))
        digest = derived_id(self.user_id, content)
        self._copies[digest] += 1
        return derived_id(digest, str(self._copies[digest]))

    def name(self, kind: Kind, id: str, new_id: str) -> None:
        """Record the id under which something was stored."""
        if kind == "conversation":
            self.names[id] = new_id
        if id != new_id:
            self._renamed.append(Renamed(kind=kind, id=id, new_id=new_id))

    def skip(self, kind: Kind, id: str, reason: str) -> None:
        """Record that something was skipped."""
        self.skipped.append(Skipped(kind=kind, id=id, reason=reason))

    def summary(self) -> ImportResult:
        """Return the summary."""
        return ImportResult(
            conversations=self.conversations,
            updated=self.updated,
            messages=self.messages,
            memory=self.memory,
            items=self.items,
            runs=self.runs,
            files=self.files,
            skipped=self.skipped,
            left_out=dict(self.left_out),
            renamed=self._renamed,
        )
