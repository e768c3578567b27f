"""The harness pins a release of Pydantic AI, so it has an environment of its own: see `make test-adapters`."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("pydantic_ai_harness") else ["test_memory_store.py"]
