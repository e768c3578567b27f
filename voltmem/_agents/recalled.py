"""What was recalled, before a window of messages: not what the window has, and not more than there is room for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from voltmem._areas.area import Access
from voltmem._areas.moments import Moment, quote_moments
from voltmem._areas.recall import Shown, recall_others
from voltmem._areas.token_counts import tokens_of
from voltmem._values import is_storable, short_repr, storable_text
from voltmem.errors import InvalidInputError
from voltmem.tokens import CountTokens

_SHARE: Final = 4
"""Of the tokens of a window, at most one part in so many is for what was recalled."""


def that_fit(moments: Sequence[Moment], tokens: int, count: CountTokens) -> tuple[list[Moment], int]:
    """Return the best moments that have a part of the tokens at most when they are quoted, and how many they have."""
    fitting: list[Moment] = []
    taken = 0
    for moment in moments:
        quote = quote_moments([*fitting, moment])
        needed = 0 if quote is None else tokens_of(quote, count)
        if needed > tokens // _SHARE:
            break
        fitting, taken = [*fitting, moment], needed
    return fitting, taken


def recalled_text(text: object) -> str:
    """Return a question without what PostgreSQL cannot store, which a message may have. InvalidInputError: no text."""
    if not isinstance(text, str):
        raise InvalidInputError(f"recall must be a string, not {short_repr(text)}")
    return storable_text(text)


async def recall_unseen(
    access: Access, user_id: str, text: str, conversation_id: str, shown: Iterable[str | None]
) -> list[Moment]:
    """Return what a user's conversations have about a text, without the messages of this one with these ids."""
    ids = [id for id in shown if id is not None and is_storable(id)]
    return await recall_others(access, user_id, recalled_text(text), Shown(conversation_id, ids) if ids else None)


def unseen(moments: Iterable[Moment], conversation_id: str, shown: Iterable[str | None]) -> Iterator[Moment]:
    """Yield the moments without the messages of this conversation that are shown anyway: these have their ids."""
    ids = set(shown)
    for moment in moments:
        if moment.conversation.id != conversation_id:
            yield moment
        elif moment.message_id not in ids:
            yield moment.model_copy(update={"messages": [each for each in moment.messages if each.id not in ids]})
