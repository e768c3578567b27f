"""Where the checkout is: tests that read its files, or run programs in it, begin here."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
