"""Summaries in imports: whatever they say, a window never misses a message that is newer than what they stand for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.areas.transfer.exported import END, conversation, header, line
from tests.properties import examples
from voltmem import ImportedConversation, ImportedSummary, InvalidInputError, InvalidLineError, Message, PostgresStorage

YEARS = [datetime(year, 1, 1, tzinfo=UTC) for year in (2, 2020, 2021, 2022, 9999)]
LAST = datetime(9999, 12, 31, 23, tzinfo=UTC)
times = st.sampled_from([*YEARS, LAST])
summaries = st.tuples(times, times).map(
    lambda pair: ImportedSummary(id="s1", content="what was said", first_at=min(pair), last_at=max(pair))
)


@examples(30)
@given(said_at=st.lists(st.none() | times, max_size=3), summary=summaries)
@example(said_at=[LAST], summary=ImportedSummary(id="s1", content="x", first_at=LAST, last_at=LAST))
async def test_an_imported_summary_hides_nothing_that_is_newer(
    storage: PostgresStorage, said_at: list[datetime | None], summary: ImportedSummary
) -> None:
    """A window has each message after the last_at that the summary came with, and each that is added afterwards."""
    given = [{"id": f"m{place}", "role": "user", "content": "x"} for place in range(len(said_at))]
    messages = [Message.of({**each, "created_at": at} if at else each) for each, at in zip(given, said_at, strict=True)]
    lines = [line("message", **each.model_dump(mode="json", exclude_unset=True)) for each in messages]
    about = line("summary", **summary.model_dump(mode="json", exclude_unset=True))
    await storage.import_user("ada", [header(), line("conversation", id="c1"), about, *lines, END])
    memory = storage.conversation("ada", "c1")

    added = await memory.add({"role": "user", "content": "new"})

    told, *window = await memory.messages()
    assert told.type == "summary"
    stored = await storage.get_messages("ada", "c1")
    assert {each.id for each in window} >= {each.id for each in stored if each.created_at > summary.last_at} | {
        added.id
    }
    await storage.delete_conversation("c1")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"content": " \n"}, "summary 's1' has no text: give it one, or leave it out"),
        ({"first_at": YEARS[3].isoformat()}, "has a first_at, 2022-01-01 .* after its last_at, 2021-01-01"),
        ({"format": "openai-agents"}, "has the format 'openai-agents' and no object as its payload"),
        ({"format": "openai-agents", "payload": [1]}, "has the format 'openai-agents' and no object as its payload"),
    ],
)
async def test_an_import_refuses_a_summary_of_nothing(
    storage: PostgresStorage, changes: dict[str, object], why: str
) -> None:
    """One without text or its format's form, or that ends before it begins, is an error with its line."""
    given = {"id": "s1", "content": "x", "first_at": YEARS[1].isoformat(), "last_at": YEARS[2].isoformat(), **changes}

    with pytest.raises(InvalidLineError, match=why):
        await storage.import_user("ada", [header(), *conversation("c1"), line("summary", **given), END])
    with pytest.raises(InvalidInputError, match=why):
        ImportedConversation.of({"id": "c1", "summaries": [given]})
