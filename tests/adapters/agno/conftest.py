"""Collects the tests of the installed release of Agno only, because the other tests cannot be imported."""

from tests.adapters.agno.installed import RELEASE

collect_ignore = [folder for folder in ("agno_1", "agno_3") if folder != f"agno_{RELEASE.partition('.')[0]}"]
