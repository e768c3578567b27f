"""The types of voltmem._user. Made by "python -m tests.typing.stubs": do not edit."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue

from voltmem._agents.memory import ConversationMemory
from voltmem._areas.changes import Change
from voltmem._areas.conversations import UserConversations
from voltmem._areas.search import SearchResults
from voltmem._areas.shares import Share
from voltmem._areas.sidebar import ConversationItem, ConversationList
from voltmem._areas.transfer.models import ImportedConversations, ImportResult, Lines
from voltmem._values import Unset
from voltmem.models import (
    Conversation,
    ConversationLike,
    ConversationPage,
    Message,
    MessageLike,
    OrderBy,
    OrderDirection,
)
from voltmem.storage import Storage

def own(verb: Callable[..., Any]) -> Callable[..., Any]:
    """
    Return the method of UserStorage that calls a verb of the storage, with the view's user as owner or user_id.

    It has the verb's name, docstring and signature, without what names a user: update_conversation(user_id=…) would
    give the conversation away. It calls the verb by its name, so that a subclass of the storage can override it.
    """

class UserStorage:
    """
    What ``storage.for_user("ada")`` returns: each method does what the storage's does, for this user only.

    Whose a conversation is, is checked in the statement itself. Another user's looks absent: None, an empty list,
    False, 0, or ConversationNotFoundError.
    """
    def __init__(self, storage: Storage, user_id: str) -> None: ...
    @property
    def user_id(self) -> str:
        """Whose view it is."""
    def transaction(self) -> AbstractAsyncContextManager[UserStorage]:
        """Run all calls of the block in one transaction: committed at its end, undone if it raises."""
    async def create_conversation(self, conversation: ConversationLike) -> Conversation:
        """Return the conversation as it was stored; user_id may be left out."""
    async def ensure_conversation(self, conversation: ConversationLike) -> Conversation:
        """Return the conversation with this id, made if absent; user_id may be left out."""
    async def get_conversation(self, conversation_id: str) -> Conversation | None:
        """
        Return the conversation if it is this user's; None when it is absent or another's.

        VoltAgent: ``getUserConversation`` (which fetches first and compares afterwards).
        """
    async def update_conversation(
        self,
        conversation_id: str,
        *,
        title: str | Unset | None = ...,
        metadata: Mapping[str, JsonValue] | Unset | None = ...,
        resource_id: str | Unset = ...,
        touch: bool = True,
    ) -> Conversation:
        """
        Return the conversation after the update. Only what is given changes.

        Args:
            conversation_id: Which one.
            title: The new title; None clears it.
            metadata: The new metadata, instead of the old; None empties it.
            resource_id: Moves it to another agent or project.
            touch: Whether updated_at becomes now; False keeps its place in the sidebar.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
            InvalidInputError: A value of the wrong type.

        VoltAgent: ``updateConversation``.
        """
    async def delete_conversation(self, conversation_id: str) -> bool:
        """
        Return whether there was one to delete. Its messages go with it, and there is no way back.

        One that was deleted with a way back, by soft_delete_conversation(), ends by it.

        Args:
            conversation_id: Which one.

        VoltAgent: ``deleteConversation``.
        """
    async def query_conversations(
        self,
        *,
        resource_id: str | None = None,
        limit: int | None = 50,
        offset: int = 0,
        order_by: OrderBy = "updated_at",
        order_direction: OrderDirection = "DESC",
    ) -> list[Conversation]:
        """
        Return the conversations that match; without a filter all users' (the admin's view).

        Args:
            resource_id: Only those with this agent or project.
            limit: How many at most; None: all, 0: none.
            offset: How many to skip; the database walks over them all the same.
            order_by: "created_at", "updated_at" or "title"; conversations without a title come last.
            order_direction: "ASC" or "DESC", in any case. Ties are broken by id, in the same direction.

        Raises:
            InvalidQueryError: Anything else, before any SQL runs.

        VoltAgent: ``queryConversations``.
        """
    async def count_conversations(self, *, resource_id: str | None = None) -> int:
        """
        Return how many conversations match; without a filter all.

        Counting reads every row it counts. VoltAgent: ``countConversations``.
        """
    async def get_paginated_conversations(self, page: int = 1, page_size: int = 10) -> ConversationPage:
        """
        Return one page of a user's conversations, the last active first.

        Args:
            page: 1 or more.
            page_size: 1 or more rows.

        Nothing is counted: has_more is known by reading one row more. VoltAgent: ``getPaginatedUserConversations``.
        """
    def get_conversations(self) -> UserConversations:
        """
        Return a builder over a user's conversations: all of them, the last active first, until told otherwise.

        ``await storage.get_user_conversations("ada").limit(20).order_by("title", "ASC")``

        VoltAgent: ``getUserConversations``.
        """
    async def get_last_conversation(self, *, resource_id: str | None = None) -> Conversation | None:
        """
        Return the conversation that the user was last active in, or None: the one to go on with.

        Args:
            resource_id: Only with this agent or project.

        Agno: ``get_all_session_ids(user)[0]`` (which is the last that was made).
        """
    def conversation(self, conversation_id: str | None = None, *, resource_id: str = "default") -> ConversationMemory:
        """Return a handle on one conversation, for an agent to keep as its memory; None: a new one."""
    async def add_message(
        self, message: MessageLike, conversation_id: str, *, resource_id: str | None = None
    ) -> Message:
        """
        Return the message as it was stored: with its id and its time.

        Args:
            message: A model or a dict in either spelling. An id that the conversation has already replaces that
                message in its place, so a streamed answer can be saved as it grows and a retry stores it once.
            conversation_id: Where it goes. Its updated_at becomes now.
            resource_id: Makes the conversation if there is none, with this agent or project, for the user; None:
                there must be one.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is another user's. Nothing is
                stored.
            InvalidInputError: A field is missing, unknown, or cannot be stored.

        One round trip; calls that wait at the same time share it, each with the outcome that it has alone, and the
        order within a conversation is that of the calls. Stored means committed. In the same transaction what is
        beyond storage_limit is deleted or archived. VoltAgent: ``addMessage``.
        """
    async def add_messages(
        self, messages: Iterable[MessageLike], conversation_id: str, *, resource_id: str | None = None
    ) -> list[Message]:
        """
        Return the messages as they were stored, in their order: all of them, or none and an error.

        One round trip for any number; nothing is sent for an empty list. Args and errors as in add_message().
        VoltAgent: ``addMessages``.
        """
    async def get_messages(
        self,
        conversation_id: str,
        *,
        limit: int | Unset | None = ...,
        before: datetime | str | None = None,
        after: datetime | str | None = None,
        roles: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        include_archived: bool = False,
    ) -> list[Message]:
        """
        Return the newest messages of a conversation, the oldest of them first.

        Args:
            conversation_id: Which one.
            limit: How many at most; not given: the storage's storage_limit, None: all, 0: none.
            before: Only messages earlier than this time, which must have a time zone, or than the message with this
                id: pages backwards, ties included.
            after: Only messages later than this.
            roles: Only messages by these; an empty list: none.
            types: Only messages of these types; an empty list: none.
            include_archived: Also what the storage limit put aside (on_limit="archive"). Sorts the conversation.

        Raises:
            MessageNotFoundError: The conversation has no message with the id given as before or after.

        Read by index ``{prefix}_messages_in_order``. VoltAgent: ``getMessages`` (which returned the oldest until
        its 2.1.0).
        """
    async def get_conversation_messages(
        self,
        conversation_id: str,
        *,
        limit: int | None = 100,
        offset: int = 0,
        before: datetime | str | None = None,
        after: datetime | str | None = None,
        include_archived: bool = False,
    ) -> list[Message]:
        """
        Return a conversation's messages from the oldest on.

        Args:
            conversation_id: Which one; the list is empty when there is none.
            limit: How many at most; None: all, 0: none.
            offset: How many to skip.
            before: Only messages earlier than this time, or than the message with this id.
            after: Only messages later than this time, or than the message with this id: pages forwards.
            include_archived: Also what the storage limit put aside (on_limit="archive"). Sorts the conversation.

        VoltAgent: ``getConversationMessages``.
        """
    async def rewind_conversation(self, conversation_id: str, message_id: str) -> int:
        """
        Return how many messages were dropped: those that follow this one, archived ones included.

        To answer once more, rewind to the question. To edit it, store it again with its id, then rewind to it. What the
        storage limit put aside (on_limit="archive") comes back, as far as the limit allows.

        Args:
            conversation_id: Which one.
            message_id: The last message that stays.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
            MessageNotFoundError: It has no such message. Nothing is dropped.
        """
    async def delete_messages(self, ids: Sequence[str], conversation_id: str) -> int:
        """
        Return how many of these messages were there and are deleted, archived ones included.

        Args:
            ids: Which; ids that are not in the conversation do not matter. Nothing is sent for an empty list.
            conversation_id: Where they are.

        VoltAgent: ``deleteMessages``.
        """
    async def clear_messages(self, conversation_id: str | None = None) -> int:
        """
        Return how many messages were deleted, archived ones included. The conversations stay.

        Args:
            conversation_id: Only those of this conversation; None: all of the user's.

        VoltAgent: ``clearMessages``.
        """
    async def list_conversations(
        self,
        *,
        limit: int = 20,
        after: str | None = None,
        before: str | None = None,
        archived: bool = False,
        pinned: bool | None = None,
        resource_id: str | None = None,
        tag: str | None = None,
        preview: bool = True,
    ) -> ConversationList:
        """
        Return a stretch of a user's sidebar: the pinned conversations first, then by activity, the last first.

        Args:
            limit: How many at most.
            after: A next_cursor: what follows. It holds whatever is added, deleted or moved meanwhile: nothing is shown
                twice, and nothing is missed but what moved to the front.
            before: A next_cursor of the item to go back from: what stands right before it, in the list's order.
            archived: The archived ones instead.
            pinned: Only those that are pinned, or only those that aren't.
            resource_id: Only those with this agent or project.
            tag: Only those with this tag.
            preview: Whether each comes with the beginning of what was said last.

        Raises:
            InvalidQueryError: A cursor that is none of ours, a limit below 1.

        Reads no more rows than it returns, and one, by index ``{prefix}_conversations_in_sidebar``, and of each the
        last message; with a resource or a tag also those in between that have it not.
        """
    async def get_conversation_item(self, conversation_id: str) -> ConversationItem:
        """Read one conversation as the sidebar shows it. Args and errors as in rename_conversation()."""
    async def rename_conversation(
        self, conversation_id: str, title: str, *, automatic: bool = False
    ) -> ConversationItem:
        """
        Return the conversation with its title. Its place in the list stays, as with every mark.

        Args:
            conversation_id: Which one.
            title: What the sidebar shows.
            automatic: A model made the title: it replaces none that a person, or the application, gave.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
        """
    async def pin_conversation(self, conversation_id: str, pinned: bool = True) -> ConversationItem:
        """Return the conversation, pinned or not. Args and errors as in rename_conversation()."""
    async def archive_conversation(self, conversation_id: str, archived: bool = True) -> ConversationItem:
        """Return the conversation, archived or not. Args and errors as in rename_conversation()."""
    async def tag_conversation(self, conversation_id: str, tags: Sequence[str]) -> ConversationItem:
        """Return the conversation with these tags instead of those it had. Otherwise as rename_conversation()."""
    async def mark_conversation_read(self, conversation_id: str, *, at: datetime | None = None) -> ConversationItem:
        """
        Return the conversation, read up to what was said last, or up to *at*; never less far than before.

        Args and errors as in rename_conversation().
        """
    async def soft_delete_conversation(self, conversation_id: str) -> ConversationItem:
        """
        Return the conversation, which from now on looks absent: to every method but those that name the deleted.

        Its messages stay with it until it is purged, and its id is not free for another. Args and errors as in
        rename_conversation().
        """
    async def restore_conversation(self, conversation_id: str) -> ConversationItem:
        """
        Return the conversation, which is no more deleted, in its place in the list.

        Raises:
            ConversationNotFoundError: There is none with this id, deleted or not, or it is not the owner's.
        """
    async def list_deleted_conversations(self, *, limit: int | None = None) -> list[ConversationItem]:
        """
        Return what a user deleted and can restore, the last deleted first.

        Args:
            limit: How many at most; None: all.

        Reads all of the user's conversations.
        """
    async def purge_deleted_conversations(self, *, older_than: timedelta | None = None) -> int:
        """
        Return how many of the deleted conversations are now gone for good, with their messages.

        Args:
            older_than: Only those that were deleted longer ago; None: all.
        """
    async def fork_conversation(
        self, conversation_id: str, *, up_to: str | None = None, id: str | None = None
    ) -> Conversation:
        """
        Return a new conversation with the same messages, up to one of them, that remembers where it came from.

        Of what the storage limit put aside (on_limit="archive") the copy shows what led to its last message.

        Args:
            conversation_id: Which one is copied: messages with their ids and times, title, tags and metadata. The copy
                is read.
            up_to: The id of the last message of the copy; None: all.
            id: The id of the new conversation; None: a UUIDv7.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
            MessageNotFoundError: It has no such message.
            ConversationExistsError: The new id is taken.
        """
    async def search(self, text: str, *, limit: int = 20, after: str | None = None) -> SearchResults:
        """
        Return a user's conversations that have the words, best first, each with the message that fits best.

        Args:
            text: Words, ``"phrases"`` and ``-exclusions``, as on the web. The last word may still be being typed: it
                finds longer ones, unless a space follows. Accents, vowel points and capitals don't matter (in titles,
                accents do on PostgreSQL 12, and so do other capitals than ASCII's in a database with LC_CTYPE C, before
                PostgreSQL 17, without ICU); scripts without spaces, and emoji, are searched by pairs of characters. Of
                a long query the first 64 words or pairs are searched for, what follows is passed over.
            limit: How many at most.
            after: The next_cursor of a search for the same: what follows.

        Raises:
            InvalidOptionError: The storage was made without search=True.

        Only a message counts that has all the words, or a title that has them. One statement; reads the index of words
        for what this user wrote, and the messages found. Archived messages and deleted conversations are left out.

        Of a very long message the first 16,000 words are indexed, or the first different ones that take a megabyte; its
        snippet is its beginning where the words stand after its first 20,000 characters.
        """
    def watch(self, *, poll_interval: float = 2.0) -> AsyncGenerator[Change]:
        """
        Return an iterator of what changes in a user's conversations, whoever changes it, in whatever process.

        ::

            async for change in storage.watch("ada"):
                if change.kind == "ready":
                    show(await storage.list_conversations("ada"))
                elif change.conversation is not None:
                    show_again(change.conversation)

        The first is "ready": list the conversations then, for from there on nothing is missed. What is found together
        comes in order of activity, what was deleted first. It ends when the storage is closed; leave it as any other
        iterator.

        Args:
            poll_interval: Seconds between two looks where no notification arrives (behind a pooler in transaction
                mode, on a standby, with Citus, or while the connection that listens is lost).

        Raises:
            InvalidInputError: On a storage that is bound to a connection, or in a transaction.
            ConnectionFailedError: No server there at the beginning. One that goes away later is waited for.

        One connection of its own for all who watch on a storage, from the first to the last; a pool that was given
        lends one. A look is one round trip, on a notification and every half a minute, at most ten a second, and reads
        the user's conversations by index. A change that another program makes to messages only, not to the row of
        their conversation, is not seen.
        """
    async def share_conversation(self, conversation_id: str, *, up_to: str | None = None) -> Share:
        """
        Return a new link, with which strangers read the conversation: what was said so far, and nothing that follows.

        Args:
            conversation_id: Which one. It may have any number of links.
            up_to: The id of the last message that is shown; None: the newest.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
            MessageNotFoundError: It has no such message, or the storage limit put it aside.

        It is no copy: a message that is changed or deleted is so for strangers, too. It ends when the conversation is
        given to another user. Reads all of the conversation.
        """
    async def list_shares(self, *, conversation_id: str | None = None) -> list[Share]:
        """
        Return the links to a user's conversations, or to one of them, the newest first; none to deleted ones.

        Reads all of the user's conversations, or the one.
        """
    async def revoke_share(self, token: str) -> bool:
        """
        Return whether there was such a link; from now on it leads nowhere. Also to a deleted conversation.

        Args:
            token: Which one.
        """
    def export_user(self) -> AsyncIterator[str]:
        """
        Export everything stored of a user: yields lines of JSON, each with its line end.

        ::

            with open("ada.jsonl", "w", encoding="utf-8") as file:
                async for line in storage.export_user("ada"):
                    file.write(line)

        Included are all conversations, also archived and deleted ones, with their marks, messages and the payloads of
        frameworks, and the recorded runs of agents. Public links are not: a token is a key. import_user() reads the
        lines; the first lines of ``voltmem/_areas/transfer/lines.py`` document their format.

        The export is a snapshot of one moment. About a hundred conversations are in memory at a time. It holds one
        connection, in a transaction, until the last line is read or the iterator is closed.
        """
    async def import_user(self, lines: Lines) -> ImportResult:
        """
        Import the lines of an export for a user. Returns a summary.

        Args:
            lines: An open file, a list, or an asynchronous iterator of lines: strings, or bytes in UTF-8.

        Raises:
            InvalidLineError: A line is malformed; .line is its number. The conversations and runs before it are stored.

        Each conversation with everything in it is one transaction, and so is each run. Times, order and the place in
        the sidebar stay. What the user has already is skipped, so a failed import can be repeated. An id that is taken
        is replaced by another, the same in each import; .renamed lists them. A run that refers to another user's
        conversation loses that reference.

        Nothing is deleted: messages beyond storage_limit stay until the next message is added. With search=True the
        words are indexed. One conversation is in memory at a time, and no connection is held while waiting for lines.
        """
    async def import_conversations(self, conversations: ImportedConversations) -> ImportResult:
        """
        Import conversations from another program for a user. Returns a summary.

        ::

            conversations = from_chatgpt(Path("conversations.json").read_bytes())
            result = await storage.import_conversations("ada", conversations)

        Args:
            conversations: From ``voltmem.importers``, or your own.

        A conversation without messages is skipped. If read_at is not given the conversation counts as read; None means
        never read. Otherwise as import_user(): one transaction each, what is there already is skipped, ids that are
        taken are replaced, and nothing is deleted.
        """
    async def delete_user(self) -> int:
        """
        Return how many conversations and recorded runs of a user were deleted: all, with everything that is in them.

        Deleted and archived conversations, too, and runs in a conversation of the user's that name nobody. Nothing of
        the user is left in the tables, nor in a backup that migrate_conversation_schema() made; what somebody else has
        that points there, a copy of a conversation or a run in it, stays and points nowhere. Whoever is watching the
        user is told, and hears of what comes later in half a minute or less.

        One statement, which reads all conversations for such copies; another where there is a backup.
        """
