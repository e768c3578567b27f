"""The filters and the order of a list of Agno's sessions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from voltmem._agents.native import Payload
from voltmem._values import JsonObject
from voltmem.adapters.agno._sessions import COMPONENT_IDS, session_name


def seconds_or_none(value: JsonValue) -> int | None:
    """Return a time of a stored document if it is a number, in whole seconds since the epoch."""
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None


@dataclass(frozen=True)
class Selection:
    """The filters and the order of get_sessions()."""

    kind: str | None = None
    component_id: str | None = None
    name: str | None = None
    start: int | None = None
    end: int | None = None
    sort_by: str | None = None
    sort_order: str | None = None

    def apply(self, sessions: Sequence[tuple[Payload, JsonObject]]) -> list[tuple[Payload, JsonObject]]:
        """Return the matching sessions in order. The sessions passed in are ordered by use, the last used first."""
        found = [each for each in sessions if self._matches(each[1])]
        if self.sort_by is not None:
            found.sort(key=lambda each: self._sort_key(each[1]), reverse=self.sort_order != "asc")
        elif self.sort_order == "asc":
            found.reverse()
        return found

    def _matches(self, session: JsonObject) -> bool:
        created_at = session["created_at"]
        assert isinstance(created_at, int)
        return (
            self.kind in (None, session["session_type"])
            and (self.component_id is None or self.component_id in (session.get(key) for key in COMPONENT_IDS))
            and (self.name is None or self.name.lower() in (session_name(session) or "").lower())
            and (self.start is None or created_at >= self.start)
            and (self.end is None or created_at <= self.end)
        )

    def _sort_key(self, session: JsonObject) -> tuple[bool, float, str, str]:
        value = session_name(session) if self.sort_by == "session_name" else session.get(self.sort_by or "")
        number, text = (value, "") if isinstance(value, int | float) else (-math.inf, value)
        return (value is not None, number, text if isinstance(text, str) else "", str(session["session_id"]))
