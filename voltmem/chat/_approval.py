"""Answers that wait for a person's approval of calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from voltmem import parts
from voltmem._areas.answers import AnswerRows, StoredAnswer
from voltmem._user import UserStorage
from voltmem.chat._parts import Decision, ToolCall
from voltmem.errors import InvalidInputError
from voltmem.models import Message

Decided: TypeAlias = Mapping[str, tuple[bool, str]]
"""By the id of a call: whether it is approved, and why not."""


class NotWaitingError(Exception):
    """An answer waits for no approval."""


async def waiting_answer(
    mine: UserStorage, rows: AnswerRows, conversation_id: str, answer_id: str
) -> tuple[Message, StoredAnswer]:
    """Return an answer that waits for approval, as it is stored. Raises NotWaitingError."""
    found = await rows.growth(mine.user_id, conversation_id, answer_id, 0)
    message = await mine.get_message(conversation_id, answer_id)
    if found is None or message is None or found[0].status != "approval":
        raise NotWaitingError
    return message, found[0]


def decisions_of(message: Message, decided: Decided) -> list[Decision]:
    """Return what was decided about the calls of a message that wait. InvalidInputError if that is not all of them."""
    waiting = {
        part.id: ToolCall(part.id, part.name, part.arguments)
        for part in parts.parts(message)
        if isinstance(part, parts.ToolCall) and part.state == "waiting"
    }
    if waiting.keys() != decided.keys():
        raise InvalidInputError(f"decide about all calls that wait, and no others: {', '.join(sorted(waiting))}")
    return [Decision(call, *decided[id]) for id, call in waiting.items()]
