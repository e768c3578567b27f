"""Forks: copies of a conversation, up to one of its messages."""

from __future__ import annotations

from voltmem._areas.area import Area
from voltmem._areas.queries import CONVERSATION_NAMES
from voltmem._areas.quotas import room
from voltmem._areas.voltagent_tables import has_voltagent, show_conversation
from voltmem._tables import Tables
from voltmem._values import (
    ANY_USER,
    check_id,
    check_id_or_none,
    check_owner,
    uuid7,
)
from voltmem.errors import (
    ConversationExistsError,
    ConversationNotFoundError,
    MessageNotFoundError,
)
from voltmem.models import Conversation, Owner


class ForkStatements:
    """The statements whose text does not depend on the arguments. Owner NULL: no check, for trusted code."""

    def __init__(self, tables: Tables) -> None:
        self.lock = f"SELECT id FROM {tables.conversations} WHERE id = $1 FOR SHARE"
        has_room = room(
            tables,
            "ARRAY[user_id]",
            before="WHERE ",
            conversations="true",
            messages="true",
            added="ARRAY[copied::text]",
            stored="CASE WHEN id IS NULL THEN 0 ELSE 1 + copied END",
        )
        self.fork = f"""
            SELECT is_found AS found, is_there, is_deleted, has_message, is_taken_by_deleted,
                {has_voltagent(tables)} AS beside_voltagent, {CONVERSATION_NAMES}
            FROM {tables.fork_conversation}($1, $2, $3, $4, $5)
            {has_room}"""


class Forks(Area):
    """The verb about forks."""

    async def fork_conversation(
        self,
        conversation_id: str,
        *,
        up_to: str | None = None,
        id: str | None = None,
        owner: Owner = ANY_USER,
    ) -> Conversation:
        """
        Copy the line of a conversation, up to one of its messages. Returns the new conversation.

        Messages are copied with their ids and times, and so are title, tags, metadata and the working memory as it is
        now. Other branches are not copied: choose_branch() first, to copy another one. The copy is marked as read, and
        its item names the original (forked_from, forked_up_to). Messages that the storage limit archived
        (on_limit="archive") are unarchived in the copy, up to the limit.

        Args:
            conversation_id: The conversation to copy.
            up_to: The id of the last message to copy, one of the line; None: all.
            id: The id of the new conversation; None: a UUIDv7.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            MessageNotFoundError: It has no such message.
            ConversationExistsError: A conversation with the new id exists.

        One round trip; four more if somebody is changing the conversation at that moment, whom the copy waits for.
        """
        check_id(conversation_id=conversation_id)
        check_id_or_none(up_to=up_to, id=id)
        owner_id = check_owner("owner", owner)
        new_id = uuid7() if id is None else id
        arguments = conversation_id, owner_id, up_to, new_id, self._options.storage_limit
        sql = self._sql(ForkStatements)
        row = await self._executor.fetchrow(sql.fork, *arguments, repeatable=False)
        if row is not None and row["is_there"] and not row["found"]:
            # Somebody is changing the conversation. A snapshot that was taken before may have messages, and files, that
            # are gone: wait, then take another one.
            async with self._executor.transaction() as bound:
                await bound.fetchrow(sql.lock, conversation_id)
                row = await bound.fetchrow(sql.fork, *arguments)
        if row is None or not row["found"]:
            raise ConversationNotFoundError(conversation_id, owner_id, is_deleted=row is not None and row["is_deleted"])
        if up_to is not None and not row["has_message"]:
            raise MessageNotFoundError(up_to, conversation_id)
        if row["id"] is None:
            raise ConversationExistsError(new_id, is_deleted=row["is_taken_by_deleted"])
        if row["beside_voltagent"]:
            await show_conversation(self._executor, self._options.tables, new_id)
        return Conversation.from_row(tuple(row)[6:])
