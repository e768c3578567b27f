"""The blocks in tools' results, in any form."""

from __future__ import annotations

from voltmem.parts import pydantic_ai
from voltmem.parts._providers import Blocks
from voltmem.parts._shapes import read_block
from voltmem.parts._types import JsonObject, Part, string


def _read(block: JsonObject) -> list[Part]:
    """Return the parts of a block; Pydantic AI's have a kind in place of a type."""
    if string(block, "type") or "kind" not in block:
        return read_block(block)
    return [*pydantic_ai.said(block)]


Blocks.read = _read
