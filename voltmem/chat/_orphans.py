"""Answers whose process has died. Whoever sees one first stores what it said, as a failed answer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from voltmem._areas.answers import AnswerRows, Piece, StoredAnswer
from voltmem._postgres.driver import logger
from voltmem._user import UserStorage, access_of
from voltmem._values import JsonObject
from voltmem.chat._growing import Growing
from voltmem.chat._storing import store_answer
from voltmem.errors import InvalidInputError, QuotaExceededError

FAILED: JsonObject = {"failed": True}
UNSTORABLE: Final = (QuotaExceededError, InvalidInputError)
"""Errors that a message meets each time. The answer has failed, and what it said is lost."""


def events_of(pieces: Iterable[Piece], after: int = 0) -> list[list[JsonObject]]:
    """
    Return the events after the one with this number.

    A piece whose outcome was not known may have been stored, and its events again with the next piece.
    """
    found: list[list[JsonObject]] = []
    for piece in pieces:
        events: list[list[JsonObject]] = json.loads(piece.parts)
        first = piece.number - len(events)
        found.extend(events[max(0, after + len(found) - first) :])
    return found


async def settle(mine: UserStorage, answer: StoredAnswer) -> None:
    """Store an orphan's text as a failed answer, unless another process does. It is never resumed."""
    try:
        await _settle(mine, answer)
    except UNSTORABLE as error:
        logger.warning("what an answer said could not be stored: %r", error)
        await _settle(mine, answer, with_message=False)


async def _settle(mine: UserStorage, answer: StoredAnswer, *, with_message: bool = True) -> None:
    async with mine.transaction() as tx:
        rows = AnswerRows(access_of(tx))
        if not await rows.take_orphan(answer):
            return
        pieces = await rows.pieces(answer.conversation_id, answer.answer_id)
        before = await tx.get_message(answer.conversation_id, answer.answer_id)  # if it went on after an approval
        growing = Growing(answer.answer_id) if before is None else Growing.from_message(before)
        growing.take(chunk for event in events_of(pieces) for chunk in event)
        growing.end()
        message = growing.message(FAILED) if with_message else None
        if message is None or not await store_answer(tx, answer.conversation_id, answer.question_id, message):
            await rows.tell(answer.conversation_id)
            await rows.forget(answer.conversation_id, answer.question_id)
        await rows.clear(answer.conversation_id, answer.answer_id)


async def settle_last(mine: UserStorage, rows: AnswerRows, conversation_id: str) -> None:
    """Settle the conversation's last answer if it is an orphan."""
    last = await rows.last(mine.user_id, conversation_id)
    if last is not None and last.is_orphan:
        await settle(mine, last)
