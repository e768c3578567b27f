"""Forgetting: deleting messages with all that was derived from them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import Field

from voltmem._areas.pruning import Pruning
from voltmem._model import Model
from voltmem._tables import Tables
from voltmem._values import check_id, check_ids, check_user


class RememberedVersion(Model):
    """A version of a working memory that was written from forgotten messages, and is still stored."""

    conversation_id: str | None
    """The conversation whose memory it is; None: it is the user's."""
    version: int
    """Its number, for history() and restore()."""
    is_newest: bool
    """Whether it is the memory as it is now."""


class Forgotten(Model):
    """What forget() has deleted, and what it has found."""

    messages: int = 0
    """How many messages were deleted."""
    conversations: int = 0
    """In how many conversations, copies of forks included."""
    voltagent_vectors: int = 0
    """How many vectors of VoltAgent's were deleted."""
    voltagent_steps: int = 0
    """How many steps of VoltAgent's were deleted."""
    memory: list[RememberedVersion] = Field(default_factory=list)
    """The versions of working memory that were written from the messages, those of the user first. They stay."""


class ForgetStatements:
    """The statement of forget()."""

    def __init__(self, tables: Tables) -> None:
        self.forget = (
            f"SELECT messages, conversations, vectors, steps, memory FROM {tables.forget_messages}($1, $2, $3)"
        )


class Forgetting(Pruning):
    """The verbs that delete what is not to be kept: prune() by age, and forget() by message."""

    async def forget(self, user_id: str, message_ids: Sequence[str], conversation_id: str | None = None) -> Forgotten:
        """
        Delete messages of a user with all that was derived from them. Returns how much it was, and what remembers them.

        ::

            done = await storage.forget("ada", ["m1", "m2"])
            for each in done.memory:  # what an agent has written down of it is yours to change
                memory = storage.working_memory("ada", each.conversation_id)
                print(each.version, await memory.get())

        The messages are deleted in all conversations of the user that have messages with these ids: in forks, in
        branches that are not chosen, in the archive and in the trash, too; and so are those that the user wrote in
        another's conversation, where VoltAgent stores that. Where ids of your own repeat in another
        conversation, *conversation_id* says which one is meant. In the same transaction go the words of the search,
        what recall finds, the files that no other message shows, the titles that a model made, and, of VoltAgent's own
        tables, the vectors of the messages and the steps that quote them.

        The working memory stays, because a text cannot be divided by its sources: the result names the versions that
        were written with one of the messages as ``from_messages=``, and those that went on from them.

        Not reached are recorded runs (delete_history_entry()), the documents of frameworks beside the messages,
        VoltAgent's states of workflows, and other users' copies.

        Args:
            user_id: The user. Other users' messages with these ids stay.
            message_ids: The ids. Ids that are not there are ignored; an empty list sends nothing.
            conversation_id: Only in this conversation, and in what was forked from it. The user's memory is named
                whichever conversation the id was in.

        Raises:
            OutcomeUnknownError: The connection broke; they may have been deleted. Call it again: the versions are named
                again.

        One round trip, which looks the messages up in each of the user's conversations (without *conversation_id*, in
        all conversations if VoltAgent stores who wrote a message), and again when those that have them are locked: it
        waits for a fork that is being made, and finds the copy.
        """
        check_user("user_id", user_id, "forget() deletes what one user has")
        ids = check_ids("message_ids", message_ids)
        if conversation_id is not None:
            check_id(conversation_id=conversation_id)
        if not ids:
            return Forgotten()
        arguments = user_id, ids, conversation_id
        row = await self._executor.fetchrow(self._sql(ForgetStatements).forget, *arguments, repeatable=False)
        assert row is not None  # the function returns one row always
        messages, conversations, vectors, steps, memory = row
        return Forgotten(
            messages=messages,
            conversations=conversations,
            voltagent_vectors=vectors,
            voltagent_steps=steps,
            memory=[
                RememberedVersion(conversation_id=of, version=version, is_newest=is_newest)
                for of, version, is_newest in json.loads(memory)
            ],
        )
