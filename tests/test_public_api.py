"""public_api.txt has the public API, so that a diff shows each change."""

from __future__ import annotations

from difflib import unified_diff

from tests import public_api


def test_the_public_api_is_the_one_that_is_written_down() -> None:
    """Each public name has its line, with its signature; after a change, write the file again."""
    before = public_api.FILE.read_text(encoding="utf-8").splitlines()

    changes = list(unified_diff(before, public_api.public_api(), "public_api.txt", "the code", n=0, lineterm=""))

    assert changes == [], "\n".join([*changes, "If that was meant: python -m tests.public_api"])
