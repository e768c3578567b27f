"""Conversations to test with: the project's own in tests/fixtures, and real ones if they are beside the checkout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from examples.import_dialogues import read
from tests.checkout import ROOT


@dataclass(frozen=True)
class Dialogues:
    """A file of conversations: one JSON object per line, with "id", "services" and "messages"."""

    name: str
    file: Path
    conversations: int
    messages: int

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return read(self.file)

    def __str__(self) -> str:
        return self.name


OWN: Final = Dialogues("our own dialogues", ROOT / "tests/fixtures/dialogues.jsonl", conversations=52, messages=471)
REAL: Final = Dialogues(
    "real dialogues", ROOT.parent / "shared/data/dialogues.jsonl.gz", conversations=2098, messages=50_822
)
HAS_REAL: Final = REAL.file.exists()

# The project's own run everywhere; the real ones are not part of the repository.
with_dialogues = pytest.mark.parametrize("dialogues", [OWN, REAL] if HAS_REAL else [OWN], ids=str)
