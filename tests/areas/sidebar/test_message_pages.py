"""Messages are paged from any message, in both directions."""

from __future__ import annotations

import pytest

from voltmem import MessageNotFoundError, PostgresStorage


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 9])
async def test_get_conversation_messages_pages_from_any_message_in_both_directions(
    limit: int, talk: PostgresStorage
) -> None:
    """get_conversation_messages() pages from any message in both directions, without repeats or gaps."""
    backwards: list[str] = []
    page = await talk.get_messages("ada", "c1", limit=limit)
    while page:
        backwards = [message.id for message in page] + backwards
        page = await talk.get_messages("ada", "c1", limit=limit, before=page[0].id)
    forwards = [(await talk.get_conversation_messages("c1", limit=1))[0].id]
    while page := await talk.get_conversation_messages("c1", limit=limit, after=forwards[-1]):
        forwards += [message.id for message in page]

    assert backwards == forwards == [f"m{n}" for n in range(5)]


async def test_get_conversation_messages_refuses_a_message_that_is_not_there(talk: PostgresStorage) -> None:
    """get_conversation_messages() from a missing message is an error, since an empty page would mean the end."""
    with pytest.raises(MessageNotFoundError):
        await talk.get_messages("ada", "c1", before="nowhere")
    with pytest.raises(MessageNotFoundError):
        await talk.get_messages("ada", "c1", after="2026-01-01")
    with pytest.raises(MessageNotFoundError):
        await talk.get_conversation_messages("c1", after="nowhere")
    assert await talk.get_messages("bob", "c1", before="m1") == []
