"""
Check the types of the page's modules: ``python -m tests.typing.page``, as jsconfig.json here says.

TypeScript comes from tests/node. The libraries are served as they were released, and are not checked. What the modules
are given, such as the server's JSON, has no types, and elements are taken to be there; the rest is strict.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.node import environment

CONFIG = ROOT / "tests" / "typing" / "jsconfig.json"
_LIBRARY = re.compile(r"voltmem/chat/static/vendor/|\s")  # or a line that goes on with the problem before


def problems(config: Path = CONFIG) -> list[str]:
    """Return what TypeScript finds. Skips the test without Node or npm."""
    compiler = Path(environment()["NODE_PATH"]) / ".bin" / "tsc"
    ran = subprocess.run([compiler, "--project", config], cwd=ROOT, capture_output=True, text=True, check=False)
    return [line for line in ran.stdout.splitlines() if not _LIBRARY.match(line)]


if __name__ == "__main__":
    try:
        found = problems()
    except pytest.skip.Exception as reason:
        print(f"The types of the page's modules are not checked: {reason}")
        sys.exit()
    print("\n".join(found) or "The types of the page's modules are right.")
    sys.exit(bool(found))
