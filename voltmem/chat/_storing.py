"""Answers become messages, each after its question."""

from __future__ import annotations

from voltmem._areas.answers import AnswerRows
from voltmem._user import UserStorage, access_of
from voltmem.models import Message


async def store_answer(tx: UserStorage, conversation_id: str, question_id: str, answer: Message) -> bool:
    """
    Store an answer in the branch of its question. The branch that is chosen stays chosen.

    Returns False, and stores nothing, if the question is gone.
    """
    place = await AnswerRows(access_of(tx)).place(conversation_id, question_id)
    if place is None:
        return False
    if place.is_off_line:
        await tx.branch_conversation(conversation_id, question_id)
    await tx.add_message(answer, conversation_id)
    if place.is_off_line:
        await tx.branch_conversation(conversation_id, place.head)
    return True
