"""The real dialogues, where they lie beside the checkout; they are no part of the repository."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DIALOGUES = Path(__file__).parent.parent.parent / "shared" / "data" / "dialogues.jsonl.gz"

needs_dialogues = pytest.mark.skipif(not DIALOGUES.exists(), reason="the real dialogues are not beside the checkout")


def dialogues() -> Iterator[dict[str, Any]]:
    with gzip.open(DIALOGUES, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)
