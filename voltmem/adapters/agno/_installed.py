"""The installed release of Agno: VoltMemStorage is for Agno 1, VoltMemDb for Agno 2 and later."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from voltmem.errors import InvalidOptionError, MissingExtraError

try:
    import agno

    IS_AGNO_1: Final = find_spec(".storage", agno.__name__) is not None
    if TYPE_CHECKING or not IS_AGNO_1:
        from agno.db.base import AsyncBaseDb as AsyncBaseDb  # not before 2.1.5
        from agno.db.base import BaseDb as BaseDb
    else:
        AsyncBaseDb = BaseDb = object
except ImportError as error:
    raise MissingExtraError("agno (1.7 to 1.8, or 2.1.5 and later)", "agno") from error


def check_agno(name: str, other: str, *, is_supported: bool) -> None:
    """Raise InvalidOptionError if the class is for another release of Agno. The error names the class to use."""
    if not is_supported:
        installed, needed = ("Agno 2 or later", "Agno 1") if not IS_AGNO_1 else ("Agno 1", "Agno 2 or later")
        raise InvalidOptionError(f"{name} is for {needed}, and {installed} is installed: use {other}")
