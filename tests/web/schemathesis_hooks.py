"""Hooks for what schemathesis cannot read in the OpenAPI document. It loads this module by name, in its own process."""

from base64 import urlsafe_b64encode
from typing import Any

import schemathesis
from hypothesis import strategies as st

# Only voltmem makes valid cursors and exports, and only known time zones are valid. test_problems.py and
# test_transfer.py test the invalid ones.
EXPORT = b'{"voltmem":1,"kind":"header","user_id":"ada","exported_at":"2026-01-01T00:00:00+00:00"}\n{"kind":"end"}\n'

MESSAGE_CURSOR = urlsafe_b64encode(b'["2026-01-01T00:00:00Z",["m1"]]').decode().rstrip("=")


def cursors(first: list[str]) -> st.SearchStrategy[str]:
    """Cursors of a list sorted by a key, the time, and the id."""
    ids = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
    places = st.builds(lambda first, last: f'[{first},"2026-01-01T00:00:00Z","{last}"]', st.sampled_from(first), ids)
    return places.map(lambda place: urlsafe_b64encode(place.encode()).decode().rstrip("="))


schemathesis.openapi.format("cursor", cursors(["true", "false"]))
schemathesis.openapi.format("search-cursor", cursors(["0.5", "1.25"]))
schemathesis.openapi.format("message-cursor", st.just(MESSAGE_CURSOR))
schemathesis.openapi.format("time-zone", st.sampled_from(["Europe/Oslo", "Asia/Tokyo", "UTC"]))
schemathesis.openapi.media_type("application/x-ndjson", st.just(EXPORT))


@schemathesis.hook
def filter_case(_: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Remove one of two parameters that exclude each other, which OpenAPI cannot express."""
    return case.operation.path != "/conversations" or not {"before", "after"} <= (case.query or {}).keys()
