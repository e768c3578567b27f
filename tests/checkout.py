"""The path of the checkout, for tests that read its files or run programs in it."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
