"""What drawing Markdown costs, counted in Node: no text takes more than its share of work."""

from __future__ import annotations

from typing import Any

from tests.checkout import ROOT
from tests.node import node

MODULES = str(ROOT / "voltmem" / "chat" / "static")
LINEAR = 2.1
"""How often the work of a text may be that of its half."""


async def counted(sizes: tuple[int, int], piece: int = 0) -> dict[str, list[dict[str, Any]]]:
    counted = await node("markdown_work.mjs", {"folder": MODULES, "sizes": list(sizes), "piece": piece})
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
