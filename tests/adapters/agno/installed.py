"""The installed release of Agno. Each of agno_1 and agno_3 has the tests of one of its protocols."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final


def _release() -> str:
    try:
        return version("agno")
    except PackageNotFoundError:
        return ""


RELEASE: Final = _release()
"""Empty if Agno is not installed."""
