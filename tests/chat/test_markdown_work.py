"""What drawing Markdown costs, counted in Node: no text takes more than its share of work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import JsonValue

from tests.checkout import ROOT
from tests.node import node

MODULES = str(ROOT / "voltmem" / "chat" / "static")
LINEAR = 2.1
"""How often the work of a text may be that of its half."""


async def counted(
    sizes: Sequence[int], piece: int = 0, only: Sequence[str] | None = None
) -> dict[str, list[dict[str, Any]]]:
    texts: JsonValue = None if only is None else [*only]
    given: dict[str, JsonValue] = {"folder": MODULES, "sizes": [*sizes], "piece": piece, "only": texts}
    counted = await node("markdown_work.mjs", given)
    assert isinstance(counted, dict)
    return counted


async def test_no_text_takes_more_than_linear_work() -> None:
    """Twice as much of any text takes at most twice as much work, and every letter of it is shown."""
    for name, (half, whole) in (await counted((4000, 8000))).items():
        assert whole["work"] <= LINEAR * half["work"], name
        assert half["isWhole"], name
        assert whole["isWhole"], name


async def test_an_answer_that_grows_takes_linear_work() -> None:
    """An answer that is twice as long takes at most twice as much work while it streams, also as one long block."""
    for name, (half, whole) in (await counted((15_000, 30_000), piece=100)).items():
        assert whole["work"] <= LINEAR * half["work"], name


async def test_a_text_may_have_more_pieces_than_a_call_takes_arguments() -> None:
    """A text of half a megabyte that is all marks, or all paragraphs, is drawn whole."""
    texts = ["codes", "paragraphs"]
    found = await counted([500_000], only=texts)
    assert {name: each["isWhole"] for name, [each] in found.items()} == dict.fromkeys(texts, True)
