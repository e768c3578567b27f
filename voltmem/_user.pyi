"""The types of voltmem._user. Made by "python -m tests.typing.stubs": do not edit."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue

from voltmem._agents.compact_when import CompactWhen
from voltmem._agents.memory import ConversationMemory
from voltmem._agents.working_memory import WorkingMemoryHandle
from voltmem._areas.area import Access
from voltmem._areas.branches import BranchingPoint
from voltmem._areas.changes import Change
from voltmem._areas.conversations import UserConversations
from voltmem._areas.files import FileContent, StoredFile
from voltmem._areas.forgetting import Forgotten
from voltmem._areas.leases import HeldLease, Lease
from voltmem._areas.moments import Moment
from voltmem._areas.pruning import Pruned
from voltmem._areas.search import SearchResults
from voltmem._areas.shares import Share
from voltmem._areas.sidebar import ConversationItem, ConversationList
from voltmem._areas.tags import TagCount
from voltmem._areas.transfer.models import ImportedConversations, ImportResult, Lines
from voltmem._areas.users import Usage
from voltmem._areas.working_memory import MemorySchema, MemoryScope, WorkingMemory
from voltmem._postgres.driver import Connection
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

    It has the verb's name, docstring and signature, without the parameters that name a user: otherwise
    update_conversation(user_id=…) could give a conversation to another user. It calls the verb by name, so that a
    subclass of the storage can override it.
    """

class UserStorage:
    """
    The view that ``storage.for_user("ada")`` returns: the storage's verbs, for this user's data only.

    Each statement checks the owner itself. Another user's conversation does not exist here: the result is None, an
    empty list, False, 0, or ConversationNotFoundError.
    """
    def __init__(self, storage: Storage, user_id: str) -> None: ...
    @property
    def user_id(self) -> str:
        """The user."""
    def transaction(self) -> AbstractAsyncContextManager[UserStorage]:
        """Run all calls of the block in one transaction: committed at its end, rolled back if it raises."""
    def session(self) -> AbstractAsyncContextManager[Connection]:
        """
        Run the application's own SQL in a transaction that sees this user's rows of voltmem's tables only.

        ::

            async with storage.for_user("ada").session() as connection:
                await connection.fetch("SELECT id, title FROM voltagent_memory_conversations")  # ada's only

        Yields an asyncpg connection of the pool, within a transaction: committed at the end of the block, rolled back
        if it raises. Row-level security hides other users' rows from it, and refuses to write such rows. This guards
        against a forgotten WHERE, and not against someone who sends SQL of their own: a statement can set another user,
        or take back the role.

        The transaction has the session role of ``python -m voltmem sql --roles``, whose SQL has to be run first. The
        application's own tables must be granted to that role, and need policies of their own, which may use the setting
        ``voltmem.rls_user``.

        Raises:
            SchemaError: The policies are not there, or a table that the session could use has none; or the tables are
                distributed by Citus.
            DatabaseError: The login is not a member of the application role, or the view is of a transaction.

        Costs four round trips, besides those of the block. The verbs take no part in it.
        """
    async def create_conversation(self, conversation: ConversationLike) -> Conversation:
        """Create a conversation. Returns it as stored. user_id is optional."""
    async def ensure_conversation(self, conversation: ConversationLike) -> Conversation:
        """Create a conversation unless its id exists. Returns the existing or the new one. user_id is optional."""
    async def get_conversation(self, conversation_id: str) -> Conversation | None:
        """
        Return the conversation if it is this user's; None if it does not exist or is another user's.

        VoltAgent: ``getUserConversation`` (which fetches it first and compares the user afterwards).
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
        Update the given fields of a conversation. Returns it as stored.

        Args:
            conversation_id: The conversation.
            title: The new title; None clears it.
            metadata: The new metadata, which replaces the old; None empties it. merge_conversation_metadata() changes
                single fields.
            resource_id: The agent or project to move it to.
            touch: Whether updated_at becomes now; False keeps its place in the sidebar.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            InvalidInputError: A value has the wrong type.

        VoltAgent: ``updateConversation``.
        """
    async def merge_conversation_metadata(
        self, conversation_id: str, metadata: Mapping[str, JsonValue]
    ) -> Conversation:
        """
        Change the given fields of a conversation's metadata. Returns it as stored, in its place in the sidebar.

        Args:
            conversation_id: The conversation.
            metadata: A JSON Merge Patch (RFC 7396): a dict is merged into the one of the same name, None removes the
                field, and any other value replaces it. Of two concurrent calls with different fields, neither is lost.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            InvalidInputError: The metadata cannot be stored.

        update_conversation() replaces the metadata.
        """
    async def delete_conversation(self, conversation_id: str) -> bool:
        """
        Delete a conversation and its messages for good. Returns whether there was one.

        Also deletes a conversation that soft_delete_conversation() deleted.

        Args:
            conversation_id: The conversation.

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
        Return the conversations that match the filters.

        Args:
            resource_id: Only those with this agent or project.
            limit: The maximum number; None: all, 0: none.
            offset: How many to skip. The database reads the skipped rows, too.
            order_by: "created_at", "updated_at" or "title"; conversations without a title come last.
            order_direction: "ASC" or "DESC", upper or lower case. Ties are broken by id, in the same direction.

        Raises:
            InvalidQueryError: An argument is invalid. No SQL was run.

        VoltAgent: ``queryConversations``.
        """
    async def count_conversations(self, *, resource_id: str | None = None) -> int:
        """
        Return the number of conversations that match the filters; without filters, of all.

        Reads every row that it counts. VoltAgent: ``countConversations``.
        """
    async def get_paginated_conversations(self, page: int = 1, page_size: int = 10) -> ConversationPage:
        """
        Return one page of a user's conversations, last active first.

        Args:
            page: The page number, from 1.
            page_size: The rows of a full page, at least 1.

        No COUNT: one row more than the page is read for has_more. VoltAgent: ``getPaginatedUserConversations``.
        """
    def get_conversations(self) -> UserConversations:
        """
        Return a query builder for a user's conversations; by default all of them, last active first.

        ``await storage.get_user_conversations("ada").limit(20).order_by("title", "ASC")``

        VoltAgent: ``getUserConversations``.
        """
    async def get_last_conversation(self, *, resource_id: str | None = None) -> Conversation | None:
        """
        Return the user's last active conversation, or None.

        Args:
            resource_id: Only with this agent or project.

        Agno: ``get_all_session_ids(user)[0]`` (which is the last created).
        """
    def conversation(
        self,
        conversation_id: str | None = None,
        *,
        resource_id: str = "default",
        compact_when: CompactWhen | None = None,
    ) -> ConversationMemory:
        """Return a handle on one conversation, for an agent to keep as its memory; conversation_id None: a new one."""
    async def add_message(
        self,
        message: MessageLike,
        conversation_id: str,
        *,
        resource_id: str | None = None,
        known: Collection[str] = ...,
    ) -> Message:
        """
        Add a message to a conversation. Returns it as stored, with its id and time.

        Args:
            message: A model or a dict in either spelling. A message of the conversation with the same id is replaced in
                its place. So a streamed answer can be saved while it grows, and a retry stores a message once.
            conversation_id: The conversation. Its updated_at becomes now.
            resource_id: If the conversation does not exist, create it for the user, with this agent or project; None:
                it must exist.
            known: Ids of messages that were stored before. If the message has one of them, it is only replaced: one
                that was deleted meanwhile is not created again.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is another user's. Nothing was stored.
            MessageNotFoundError: The message is a known one, and was deleted. Nothing was stored.
            InvalidInputError: A field is missing, unknown, or cannot be stored; created_at is more than a day ahead of
                the database's clock; or the id is that of a message which VoltAgent stored there for another user.

        The message is committed when the call returns. One round trip, which concurrent calls share; each call succeeds
        or fails on its own, and the order within a conversation is that of the calls. The same transaction deletes or
        archives the messages beyond storage_limit. VoltAgent: ``addMessage``.
        """
    async def add_messages(
        self,
        messages: Iterable[MessageLike],
        conversation_id: str,
        *,
        resource_id: str | None = None,
        known: Collection[str] = ...,
    ) -> list[Message]:
        """
        Add messages to a conversation, in their order: all, or none and an error. Returns them as stored.

        One round trip for any number; an empty list sends nothing. Args and errors as in add_message(). A message comes
        after its parent, if the list has both, otherwise InvalidInputError.
        VoltAgent: ``addMessages``.
        """
    async def merge_message_metadata(
        self, metadata: Mapping[str, JsonValue], conversation_id: str, message_id: str
    ) -> Message:
        """
        Change the given fields of a message's metadata, and nothing else of the message. Returns it as stored.

        For what is said about a message, such as feedback:
        ``await storage.merge_message_metadata({"feedback": {"type": "positive"}}, "ada", "c1", "m1")``

        Args:
            metadata: A JSON Merge Patch (RFC 7396): a dict is merged into the one of the same name, None removes the
                field, and any other value replaces it. Of two concurrent calls with different fields, neither is lost.
            conversation_id: The conversation. It stays in its place in the sidebar; watchers see an "updated".
            message_id: The message, which may be archived.

        Raises:
            ConversationNotFoundError: The conversation does not exist, is deleted, or is another user's.
            MessageNotFoundError: It has no such message.
            InvalidInputError: The metadata cannot be stored.

        Adding the message again replaces its metadata. One round trip.
        """
    async def get_message(
        self, conversation_id: str, message_id: str, *, include_archived: bool = False
    ) -> Message | None:
        """
        Return the message with this id, or None.

        Args:
            conversation_id: The conversation.
            message_id: The message.
            include_archived: Also one that the storage limit archived (on_limit="archive").
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
        Return the newest messages of a conversation, oldest first.

        Args:
            conversation_id: The conversation.
            limit: The maximum number; not given: the storage's storage_limit, None: all, 0: none.
            before: Only messages before this time, which must have a time zone, or before the message with this id. An
                id pages backwards exactly, even among messages with equal times.
            after: Only messages after this time, or after the message with this id.
            roles: Only messages with these roles; an empty list: none.
            types: Only messages of these types; an empty list: none.
            include_archived: Also messages that the storage limit archived (on_limit="archive"). Sorts the whole
                conversation.

        Raises:
            MessageNotFoundError: The conversation has no message with the id given as before or after.

        Uses the index ``{prefix}_messages_in_line``. VoltAgent: ``getMessages`` (which returned the oldest messages
        before its version 2.1.0).
        """
    async def count_messages(
        self,
        conversation_id: str,
        *,
        roles: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        include_archived: bool = False,
    ) -> int:
        """
        Return the number of messages of a conversation.

        Args:
            conversation_id: The conversation. If it does not exist, the number is 0.
            roles: Only messages with these roles; an empty list: none.
            types: Only messages of these types; an empty list: none.
            include_archived: Also messages that the storage limit archived (on_limit="archive").

        Reads every row that it counts.
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
        Return the oldest messages of a conversation, oldest first.

        Args:
            conversation_id: The conversation. If it does not exist, the list is empty.
            limit: The maximum number; None: all, 0: none.
            offset: How many to skip.
            before: Only messages before this time, or before the message with this id.
            after: Only messages after this time, or after the message with this id, to page forwards.
            include_archived: Also messages that the storage limit archived (on_limit="archive"). Sorts the whole
                conversation.

        VoltAgent: ``getConversationMessages``.
        """
    async def rewind_conversation(self, conversation_id: str, message_id: str) -> int:
        """
        Delete the messages after a message. Returns how many were deleted, archived ones included.

        To regenerate an answer, rewind to the question. To edit the question, store it again with its id, then rewind
        to it. Messages that the storage limit archived (on_limit="archive") are restored, up to the limit.

        Args:
            conversation_id: The conversation.
            message_id: The last message to keep.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            MessageNotFoundError: It has no such message. Nothing was deleted.
        """
    async def delete_messages(self, ids: Sequence[str], conversation_id: str) -> int:
        """
        Delete messages of a conversation. Returns how many were deleted, archived ones included.

        Args:
            ids: Their ids. Ids that the conversation does not have are ignored; an empty list sends nothing.
            conversation_id: The conversation. Where VoltAgent lets several users write in it, it may be another's, of
                which the user's own messages are deleted.

        VoltAgent: ``deleteMessages``.
        """
    async def clear_messages(self, conversation_id: str | None = None) -> int:
        """
        Delete the messages of a conversation, or of all of a user's. Returns how many; the conversations stay.

        Args:
            conversation_id: Only this conversation's messages, as in delete_messages(); None: those of all of the
                user's conversations.

        Archived messages are deleted and counted, too.

        VoltAgent: ``clearMessages``.
        """
    def working_memory(
        self,
        conversation_id: str | None = None,
        *,
        template: str | None = None,
        schema: MemorySchema | None = None,
        max_bytes: int = 100000,
        author: str | None = None,
    ) -> WorkingMemoryHandle:
        """Return a handle on the working memory of the user, or of a conversation; arguments as in the storage's."""
    async def get_working_memory(self, *, scope: MemoryScope, conversation_id: str | None = None) -> str | None:
        """
        Return the working memory of a user or of a conversation; None if there is none.

        Args:
            scope: "user" or "conversation": whose memory.
            conversation_id: The conversation, for the scope "conversation".

        VoltAgent: ``getWorkingMemory``, which checks no owner.
        """
    async def set_working_memory(
        self, content: str, *, scope: MemoryScope, conversation_id: str | None = None
    ) -> WorkingMemory:
        """
        Replace the working memory of a user or of a conversation. Returns it as stored.

        The handle of working_memory() has more: it appends and merges, and replaces only the version that was read.

        Args:
            content: The text.
            scope: "user" or "conversation": whose memory.
            conversation_id: The conversation, for the scope "conversation".

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the user's.
            InvalidInputError: The content is empty, or has more than 100,000 bytes.

        VoltAgent: ``setWorkingMemory``.
        """
    async def delete_working_memory(self, *, scope: MemoryScope, conversation_id: str | None = None) -> bool:
        """
        Delete the working memory of a user or of a conversation. Returns whether there was one. Its history stays.

        Args:
            scope: "user" or "conversation": whose memory.
            conversation_id: The conversation, for the scope "conversation".

        VoltAgent: ``deleteWorkingMemory``.
        """
    async def branch_conversation(self, conversation_id: str, message_id: str | None) -> None:
        """
        Begin a branch after a message: set the messages after it aside. Nothing is deleted.

        To regenerate an answer and keep the old one, branch after the question. To edit a question and keep the old
        one, branch after the message before it, and add the edited one with an id of its own. The messages that are set
        aside leave every reader's view, until choose_branch() brings them back. rewind_conversation() deletes them.

        Args:
            conversation_id: The conversation.
            message_id: The last message that stays, from any branch; None: none stays.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            MessageNotFoundError: It has no such message.
        """
    async def choose_branch(self, conversation_id: str, message_id: str) -> str:
        """
        Choose the branch of a message for all readers, up to its newest message. Returns the id of that message.

        The messages before it come with it; the branch that was chosen until now is set aside. A message of the chosen
        branch changes nothing.

        Args:
            conversation_id: The conversation.
            message_id: The message, most often one of list_siblings().

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            MessageNotFoundError: It has no such message.
        """
    async def list_branches(self, conversation_id: str) -> list[BranchingPoint]:
        """
        Return the branching points of a conversation, oldest first, with the messages that follow each.

        A chat shows "2 / 3" beside each message that one of them holds. A conversation without branches has none, and
        so has one that does not exist or is not the owner's.

        Args:
            conversation_id: The conversation.

        Reads the messages that are set aside, by the index ``{prefix}_messages_in_line``.
        """
    async def list_siblings(self, conversation_id: str, message_id: str) -> list[Message]:
        """
        Return the messages that follow the same message as this one, itself included, in the order of adding.

        Args:
            conversation_id: The conversation. If it does not exist or is not the owner's, the list is empty.
            message_id: The message. If the conversation does not have it, the list is empty.

        Reads the messages that are set aside, like list_branches().
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
        active_before: datetime | None = None,
    ) -> ConversationList:
        """
        Return one page of a user's sidebar: pinned conversations first, then the others, each last active first.

        Args:
            limit: The maximum number of conversations.
            after: The next_cursor of the page before. It stays valid while conversations are added, deleted or moved:
                no conversation comes twice, and only those that moved to the front meanwhile are missed.
            before: A next_cursor, to read the page right before it, in the order of the list.
            archived: Archived conversations instead of the others.
            pinned: True: only pinned ones, False: only ones that are not pinned, None: both.
            resource_id: Only those with this agent or project.
            tag: Only those with this tag.
            preview: Whether to return the beginning of each conversation's last message.
            active_before: Only those that were last active before this time.

        Raises:
            InvalidQueryError: The cursor is malformed, or the limit is below 1.

        Reads one row more than it returns, by the index ``{prefix}_conversations_in_sidebar``, and the last message of
        each. With a resource or a tag, also rows in between that don't match.
        """
    async def get_conversation_item(self, conversation_id: str) -> ConversationItem:
        """Return one conversation of the sidebar. Args and errors as in rename_conversation()."""
    async def rename_conversation(
        self, conversation_id: str, title: str, *, automatic: bool = False
    ) -> ConversationItem:
        """
        Rename a conversation. Returns it; its place in the list does not change, as with every mark.

        Args:
            conversation_id: The conversation.
            title: The new title.
            automatic: Whether a model made the title. Such a title never replaces one that a person or the application
                gave.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
        """
    async def pin_conversation(self, conversation_id: str, pinned: bool = True) -> ConversationItem:
        """Pin or unpin a conversation. Returns it. Args and errors as in rename_conversation()."""
    async def archive_conversation(self, conversation_id: str, archived: bool = True) -> ConversationItem:
        """Archive or unarchive a conversation. Returns it. Args and errors as in rename_conversation()."""
    async def tag_conversation(self, conversation_id: str, tags: Sequence[str]) -> ConversationItem:
        """Replace the tags of a conversation. Returns it. Args and errors as in rename_conversation()."""
    async def mark_conversation_read(self, conversation_id: str, *, at: datetime | None = None) -> ConversationItem:
        """
        Mark a conversation as read, up to its last message or up to *at*. Returns it.

        The mark never moves back. Args and errors as in rename_conversation().
        """
    async def soft_delete_conversation(self, conversation_id: str) -> ConversationItem:
        """
        Delete a conversation so that it can be restored. Returns it.

        Only the verbs about deleted conversations find it from now on. Its messages stay stored until it is purged, and
        its id stays taken. Args and errors as in rename_conversation().
        """
    async def restore_conversation(self, conversation_id: str) -> ConversationItem:
        """
        Undo a soft delete. Returns the conversation, which is in its former place in the list again.

        Raises:
            ConversationNotFoundError: There is none with this id, deleted or not, or it is not the owner's.
        """
    async def list_deleted_conversations(self, *, limit: int | None = None) -> list[ConversationItem]:
        """
        Return a user's soft-deleted conversations, last deleted first.

        Args:
            limit: The maximum number; None: all.

        Reads all of the user's conversations.
        """
    async def purge_deleted_conversations(
        self, *, older_than: timedelta | None = None, conversation_id: str | None = None
    ) -> int:
        """
        Delete soft-deleted conversations and their messages for good. Returns how many conversations.

        Args:
            older_than: Only those that were deleted at least this long ago; None: all.
            conversation_id: Only this one; None: all.
        """
    async def list_tags(self) -> list[TagCount]:
        """
        Return the tags of a user's conversations, in the order of their characters, with the number of conversations.

        Reads all of the user's conversations.
        """
    async def replace_tag(
        self, tag: str | None, by: str | None, *, conversation_ids: Sequence[str] | None = None
    ) -> list[str]:
        """
        Replace a tag of a user's conversations, archived and soft-deleted ones included. Returns the ids changed.

        Args:
            tag: The tag to remove; None: only add *by*, to those that don't have it.
            by: The tag to put in its place; None: only remove *tag*.
            conversation_ids: Only among these, which *tag=None* needs; None: all that have the tag.

        One statement for all. No conversation changes its place in the list.
        """
    async def prune(
        self,
        *,
        older_than: timedelta,
        keep_last: int = 0,
        archived: bool = False,
        resource_id: str | None = None,
        runs: bool = False,
        dry_run: bool = False,
    ) -> Pruned:
        """
        Delete messages that are older than a time, and the conversations that have no others. Returns how many.

        ::

            await storage.prune(ANY_USER, older_than=timedelta(days=365), runs=True)  # in a nightly task
            await storage.prune("ada", older_than=timedelta(days=30), keep_last=20)

        Pinned conversations are no exception. Files, links and payloads go with what they belong to; files that no
        message uses any more are deleted by purge_unused_files(). So do VoltAgent's vectors of the messages, and its
        steps that quote them; its states of workflows stay. Soft-deleted conversations stay: see
        purge_deleted_conversations().

        Args:
            older_than: Messages count from their created_at, by the database's clock; conversations from their
                updated_at, or from the last change of their working memory; runs from their timestamp.
            keep_last: How many of the newest messages of each conversation stay, whatever their age; then their
                conversation stays, too.
            archived: Only messages that the storage limit archived (on_limit="archive").
            resource_id: Only the conversations of this agent or project.
            runs: Also recorded runs, with their steps and events. Not with a resource_id, which runs do not have.
            dry_run: Delete nothing, and return what would be deleted.

        Raises:
            InvalidQueryError: runs with a resource_id, or keep_last is no count.
            OutcomeUnknownError: The connection broke; some may have been deleted. Call it again.

        Works in batches of 500, so that it blocks nobody, and may be repeated or interrupted. A round trip for each 500
        conversations, two for each 500 messages, one for each conversation that goes; and for one user, one that reads
        all conversations if VoltAgent stores who wrote a message.
        """
    async def forget(self, message_ids: Sequence[str], conversation_id: str | None = None) -> Forgotten:
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
    async def fork_conversation(
        self, conversation_id: str, *, up_to: str | None = None, id: str | None = None
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

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            MessageNotFoundError: It has no such message.
            ConversationExistsError: A conversation with the new id exists.

        One round trip; four more if somebody is changing the conversation at that moment, whom the copy waits for.
        """
    async def search(
        self,
        text: str,
        *,
        limit: int = 20,
        after: str | None = None,
        tag: str | None = None,
        before: datetime | None = None,
    ) -> SearchResults:
        """
        Search a user's conversations. Returns those that match, best first, each with its best matching message.

        Args:
            text: Words, ``"phrases"`` and ``-exclusions``, as in a web search. The last word also matches longer words
                that begin with it, because the user may still be typing it, unless a space follows. Case, accents and
                vowel points are ignored (but not accents in titles on PostgreSQL 12, nor the case of non-ASCII letters
                in titles in a database with LC_CTYPE C, before PostgreSQL 17, without ICU). Scripts without spaces, and
                emoji, are searched by pairs of characters. Only the first 64 words or pairs of a long query count.
            limit: The maximum number of conversations.
            after: The next_cursor of the page before, of the same search.
            tag: Only conversations with this tag.
            before: Only messages that were said before this time, and titles of conversations created before it.

        Raises:
            InvalidOptionError: The storage was created without search=True.
            InvalidQueryError: The cursor is malformed, or the limit is below 1.

        A message or a title matches if it contains all the terms. Archived messages and deleted conversations are not
        searched. One statement; it reads this user's entries of the index of words, and the messages found.

        Of a very long message, the first 16,000 words are indexed, or as many distinct words as fit into a megabyte. If
        the match is after the first 20,000 characters, the snippet is the beginning of the message.
        """
    async def recall(
        self,
        text: str,
        *,
        limit: int = 5,
        around: int = 1,
        after: datetime | None = None,
        before: datetime | None = None,
        conversation_id: str | None = None,
        resource_id: str | None = None,
    ) -> list[Moment]:
        """
        Return what a user's conversations have about a text, best first, each message with those around it.

        For an agent that answers from what was said long ago. Unlike search(), a message need not have all the words
        of the text: those count more that fewer messages have. With recall=Recall(…), it need not have any.

        Args:
            text: What to look for, such as the user's question.
            limit: The maximum number of moments, up to 100.
            around: How many messages to return before and after each, up to 10.
            after: Only messages after this time, which must have a time zone.
            before: Only messages before this time.
            conversation_id: Only this conversation.
            resource_id: Only conversations with this agent or project.

        Raises:
            InvalidOptionError: The storage was created without search=True, and without recall=Recall(…).
            InvalidQueryError: A number is out of its range.

        Archived messages are read; deleted conversations, and branches that were not chosen, are not. A message
        that forks have copies of is returned once. The messages around one may be before *after* or after *before*. By
        words, nothing is found by a text of stop words only. With recall=Recall(…) the text is embedded first; if that
        fails, or there is no pgvector, words alone count. Without search=True there are none, and what *embed* raises
        is raised.
        """
    def watch(self, *, poll_interval: float = 2.0) -> AsyncGenerator[Change]:
        """
        Return an iterator over the changes of a user's conversations and working memories, made in any process.

        ::

            async for change in storage.watch("ada"):
                if change.kind == "ready":
                    show(await storage.list_conversations("ada"))
                elif change.conversation is not None:
                    show_again(change.conversation)

        The first change is "ready": list the conversations then; no change after it is missed. Changes found by one
        query come in order of activity, deletions first, and those of working memories last. The iterator ends when the
        storage is closed; like any other, it can be left with break.

        Args:
            poll_interval: Seconds between two queries where no notifications arrive: behind a pooler in transaction
                mode, on a standby, with Citus, or while the listening connection is lost.

        Raises:
            InvalidInputError: The storage is bound to a connection or a transaction.
            ConnectionFailedError: No server could be reached at the beginning. Later the iterator waits for the server.

        All watchers of a storage share one connection outside the pool, or one of the pool if the caller passed a pool.
        It is held while there is a watcher. The watchers of a user share one query, after a notification, at most ten
        times a second, and every 30 seconds: one round trip, which reads the user's conversations by index. It is
        another one, which reads the newest versions of the user's working memories, if one of them has changed or
        nobody can say so, and then one for each that has. For an iterator that is slow, the changes of a conversation
        become one, and so do those of a memory. If another program changes only messages, and not the row of their
        conversation, the change is not seen; if VoltAgent changes a working memory, it is seen when somebody reads it.
        """
    async def delete_history_entry(self, key: str) -> bool:
        """
        Delete an entry with its steps and timeline events. Returns whether there was one.

        Args:
            key: The id of the entry. If its run is still under way, the end of record_run() does not create it again.

        A run without a user is nobody's, so only trusted code deletes it.
        """
    async def put_file(self, content: FileContent, *, size: int | None = None) -> StoredFile:
        """
        Store a file of a user. Returns it; ``.url`` is its address for messages.

        ::

            file = await storage.put_file("ada", open("cat.png", "rb"))
            picture = {"type": "file", "mediaType": "image/png", "filename": "cat.png", "url": file.url}
            await storage.add_message({"role": "user", "content": [picture]}, "ada", "c1")

        Args:
            content: Bytes, a file that is open in binary mode, or an iterator of pieces of any size, such as the body
                of a request. It is read piece by piece, a file in a thread; it is not closed.
            size: How many bytes there will be, if you know it, such as the Content-Length of a request: a file that is
                too large for the user's quota is refused before its content is read.

        Raises:
            QuotaExceededError: The user would have more bytes of files than the storage's quotas allow. No chunk of an
                upload is stored beyond the quota; nothing of it remains.
            StoredFileNotFoundError: The user was deleted during the upload. Nothing of it remains.

        The id is the SHA-256 of the content, so a user has each content once. A file to which no message refers within
        a day is deleted by a sweep; storing the content again begins another day. The file is deleted with the last
        message, conversation or user that refers to it.

        One round trip for each 256 KiB; between them it holds no connection, and less than a megabyte. One more for
        content that is not bytes: a row is written before the first piece is waited for, so that delete_user() ends the
        upload. An upload that is cancelled, or whose content raises, deletes what it has stored.
        """
    async def get_file(self, file_id: str) -> StoredFile | None:
        """
        Return a file of a user, without its content; None if the user has none with this id.

        Args:
            file_id: The id, without "voltmem:file/".
        """
    def read_file(self, file_id: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """
        Return the content of a file, or a range of it: yields pieces of at most 256 KiB.

        ::

            async for piece in storage.read_file("ada", file.id):
                await response.write(piece)

        Args:
            file_id: The id, without "voltmem:file/".
            start: The first byte, counted from 0.
            end: The byte after the last one; None, or a number beyond the size: to the end.

        Raises:
            StoredFileNotFoundError: The user has no file with this id, or it was deleted meanwhile.

        One round trip for each piece; only the pieces of the range are read. No connection is held in between, so a
        client that reads slowly delays nobody.
        """
    async def delete_file(self, file_id: str) -> bool:
        """
        Delete a file to which no message refers. Returns whether it was deleted.

        Args:
            file_id: The id, without "voltmem:file/".

        False if the user has no such file, or if a message refers to it: one that is removed from a message that is
        being written may be part of another one, since equal contents are one file. A file that is in use is deleted
        with the last message that refers to it.
        """
    async def purge_unused_files(self, *, older_than: timedelta = ...) -> int:
        """
        Delete the files to which no message refers, and uploads that were cut off. Returns how many.

        Args:
            older_than: Only those that were stored at least this long ago.

        put_file() deletes some old ones of the same user, too. A file that gets a message at the same moment stays.
        One round trip for each thousand files; for everybody's, one more, and with Citus one more for each user.
        """
    async def share_conversation(self, conversation_id: str, *, up_to: str | None = None) -> Share:
        """
        Create a public, read-only link to a conversation. Returns it.

        The link shows the messages up to now; later ones are not shown, nor an answer of the chat that is still written
        or waits for approval.

        Args:
            conversation_id: The conversation. It may have any number of links.
            up_to: The id of the last message to show; None: the newest.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            MessageNotFoundError: It has no such message, or the storage limit archived it.

        A link is not a copy: it shows later edits and deletions of messages. It is revoked when the conversation is
        given to another user. Creating it reads the whole conversation.
        """
    async def list_shares(self, *, conversation_id: str | None = None) -> list[Share]:
        """
        Return the links to a user's conversations, or to one of them, newest first; without deleted conversations.

        Reads all of the user's conversations, or the one.
        """
    async def revoke_share(self, token: str) -> bool:
        """
        Revoke a public link, also one to a deleted conversation. Returns whether there was one.

        Args:
            token: The token of the link.
        """
    def lease(
        self, conversation_id: str, purpose: str, *, seconds: float = 15.0
    ) -> AbstractAsyncContextManager[HeldLease]:
        """
        Do a block of work that only one process does at a time, under a lease that is renewed until the block ends.

        ::

            async with storage.lease("ada", "c1", "title") as lease:
                title = await model.title(...)
                async with storage.transaction() as tx:
                    await tx.confirm_lease("ada", "c1", "title", lease.fencing_token)
                    await tx.update_conversation("c1", title=title)

        It is renewed at each third of its time. If that fails until it has ended, the block is cancelled. In
        ``voltmem.sync``, the block goes on, and raises at its end.

        Args:
            conversation_id: The conversation.
            purpose: What the lease is for. Leases for other purposes are independent of it.
            seconds: How long it lasts if this process dies; at most 3,600.

        Raises:
            LeaseHeldError: Somebody else has it.
            LeaseLostError: It could not be renewed, or the conversation was deleted. The block was cancelled.
            ConversationNotFoundError: There is no such conversation, or it belongs to somebody else.
        """
    async def get_lease(self, conversation_id: str, purpose: str) -> Lease | None:
        """Return the lease for this purpose; None if nobody has it, or there is no such conversation."""
    async def stop_lease(self, conversation_id: str, purpose: str) -> bool:
        """
        Ask whoever has a lease to end the work. Returns whether somebody has it.

        The holder is told when it renews the lease: with lease(), after a third of its time at most.
        """
    async def confirm_lease(self, conversation_id: str, purpose: str, fencing_token: int) -> Lease:
        """
        Make sure, in a transaction, that all of it is stored under a lease, or nothing.

        ::

            async with storage.transaction() as tx:
                await tx.confirm_lease("ada", "c1", "answer", lease.fencing_token)
                await tx.add_message(answer, "ada", "c1")

        Nobody else takes the lease until the transaction ends; call it first. Returns the lease.

        Raises:
            LeaseLostError: It has ended, so somebody else may have it.
            InvalidInputError: It was called outside of a transaction, where it protects nothing.
        """
    def export_user(self) -> AsyncIterator[str]:
        """
        Export everything stored of a user: yields lines of JSON, each with its line end.

        ::

            with open("ada.jsonl", "w", encoding="utf-8") as file:
                async for line in storage.export_user("ada"):
                    file.write(line)

        Included are the files, the user's working memory, what frameworks keep of the user as items, all conversations,
        also archived and deleted ones, with their marks, messages, working memory and the payloads of frameworks, and
        the recorded runs of agents. Public links are left out, because anyone with the token can read. In tables that
        VoltAgent uses, also what it stores of the user in tables of its own (working memory, steps, workflows), and the
        user's messages in other users'
        conversations. import_user() reads the lines; the reference, under "A user's data", describes their format.

        The export is a snapshot of one moment. About a hundred conversations, or a megabyte of a file, are in memory at
        a time. It holds one connection, in a transaction, until the last line is read or the iterator is closed.
        """
    async def import_user(self, lines: Lines, *, shortest_id: int = 0) -> ImportResult:
        """
        Import the lines of an export for a user. Returns a summary.

        Args:
            lines: An open file, a list, or an asynchronous iterator of lines: strings, or bytes in UTF-8.
            shortest_id: Conversations with a shorter id get another one, as if theirs were taken: for lines of users
                who must not choose ids that the application gives to others.

        Raises:
            InvalidLineError: A line is malformed; .line is its number. The conversations and runs before it are stored.

        Files are stored first. Each conversation with everything in it is one transaction, and so is each run. Times,
        order and the place in the sidebar stay. What the user has already is skipped, so a failed import can be
        repeated. An id that is taken is replaced by another, the same in each import; .renamed lists them. A run that
        refers to another user's conversation loses that reference.

        Nothing is deleted: messages beyond storage_limit stay until the next message is added. With search=True the
        words are indexed. One conversation, or a chunk of a file, is in memory at a time, and no connection is held
        while waiting for lines.
        """
    async def import_conversations(self, conversations: ImportedConversations) -> ImportResult:
        """
        Import conversations from another program for a user. Returns a summary.

        ::

            conversations = from_chatgpt(Path("export.zip"))
            result = await storage.import_conversations("ada", conversations)

        Args:
            conversations: From ``voltmem.importers``, or your own.

        A conversation without messages is skipped; so is what an importer passes on as Skipped, with its reason. The
        summary counts what importers left out of the conversations that were stored. If read_at is not given the
        conversation counts as read; None means never read. The rest is as in import_user(): one transaction each,
        existing conversations are skipped, ids that are taken are replaced, and nothing is deleted.

        A newer export of ChatGPT's adds the new messages of a conversation that was imported before, with their
        branches. Messages that were deleted here stay deleted. The line follows ChatGPT's until somebody adds a message
        here or chooses another branch; then the new messages are in a branch of their own.
        """
    async def delete_user(self) -> int:
        """
        Delete everything that is stored for a user. Returns how many conversations and recorded runs were deleted.

        Includes soft-deleted and archived conversations, and runs without a user in the user's conversations. Nothing
        of the user remains in the tables, nor in a backup of migrate_conversation_schema(), and a run that is under way
        does not bring it back: for a day, a hash of the user's id is kept for that. Other users' copies of the
        conversations, and their runs in them, stay; their references to the conversations are cleared. Watchers of the
        user are notified, and go on if the user comes back. What VoltAgent stores of the user in tables of
        its own (working memory, steps, workflows) is deleted, too, and the user's messages in other users'
        conversations.

        Three round trips: the first records the hash, and waits for transactions that are creating a conversation of
        the user; the second reads all conversations to find such copies; the third deletes forks for which the second
        had to wait. Another one if there is a backup.
        """
    async def get_usage(self) -> Usage:
        """
        Count what is stored for a user, as the option ``quotas`` counts it.

        Recorded runs, links and the payloads of frameworks do not count. One round trip, which reads the index entries
        of all messages of the user.
        """

def access_of(view: UserStorage) -> Access:
    """Return the access of a view, for code outside of the areas. Its statements check the user themselves."""
