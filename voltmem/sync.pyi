"""The types of voltmem.sync. Made by "python -m tests.typing.stubs": do not edit."""

from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from asyncpg import Record
from pydantic import JsonValue

import voltmem
from voltmem._areas.changes import Change
from voltmem._areas.history.models import AgentHistoryEntry, AgentHistoryPage, AgentHistoryStep, TimelineEvent
from voltmem._areas.search import SearchResults
from voltmem._areas.shares import Share, SharedConversation
from voltmem._areas.sidebar import ConversationItem, ConversationList
from voltmem._areas.transfer.models import ImportedConversations, ImportResult, Lines
from voltmem._postgres.migrations.conversation_schema import MigrationResult
from voltmem._postgres.schema import MigrationStatus
from voltmem._values import Unset
from voltmem.models import (
    Conversation,
    ConversationLike,
    ConversationPage,
    Message,
    MessageLike,
    OrderBy,
    OrderDirection,
    Owner,
)
from voltmem.options import ConnectionOptions, Migrate, OnLimit

__all__ = [
    "AgentRun",
    "BoundStorage",
    "Connection",
    "ConversationMemory",
    "PostgresStorage",
    "RunEvent",
    "Storage",
    "UserConversations",
    "UserStorage",
]
T = TypeVar("T")

class AgentRun:
    """A run that is being recorded: ``with storage.record_run("agent-1") as run``."""

    output: JsonValue
    metadata: JsonValue
    id: str
    agent_id: str
    usage: JsonValue
    def add_step(
        self,
        type: str,
        *,
        name: str | None = None,
        content: JsonValue = None,
        arguments: JsonValue = None,
        **more: JsonValue,
    ) -> AgentHistoryStep:
        """
        Add a step to the run, at once. Returns it as stored.

        Args:
            type: "message", "tool_call", "tool_result", "text", or a name of your own.
            name: The name of the tool or the agent.
            content: Any JSON value.
            arguments: The arguments of a tool call.
            more: Fields of your own. A timestamp is added, as VoltAgent does.
        """
    def add_event(
        self,
        name: str,
        *,
        type: str = "agent",
        status: str | None = "completed",
        level: str = "INFO",
        input: JsonValue = None,
        output: JsonValue = None,
        error: JsonValue = None,
        metadata: JsonValue = None,
        tags: Sequence[str] | None = None,
    ) -> TimelineEvent:
        """Add an event without a duration, at once. Returns it as stored. Args as in event()."""
    def event(
        self,
        name: str,
        *,
        type: str = "agent",
        input: JsonValue = None,
        metadata: JsonValue = None,
        tags: Sequence[str] | None = None,
    ) -> AbstractContextManager[RunEvent]:
        """
        Record an event that lasts as long as the block.

        It is stored as "running" at the start, and at the end as "completed", "cancelled", or "error" with the
        exception as its status message. Events that begin in the block, or in a task started there, become its
        children.

        Args:
            name: What happens, such as "tool:search".
            type: "agent", "tool", "memory", "retriever", or a name of your own.
            input: Any JSON value.
            metadata: Any JSON value; the block may set another.
            tags: Labels to find the event by.
        """

class RunEvent:
    """An event that is being recorded: ``with run.event("tool:search") as event``."""

    output: JsonValue
    metadata: JsonValue
    run: AgentRun
    id: str

class ConversationMemory:
    """
    One conversation of one user, as an agent's memory: ``memory = storage.conversation("ada", "c1")``.

    ::

        memory.add({"role": "user", "content": "Hello"})
        answer = model(memory.messages(limit=20))
        memory.add({"role": "assistant", "content": answer})

    The conversation is made on the first write.
    """
    @property
    def conversation_id(self) -> str:
        """Which conversation it is; a UUIDv7 where none was given."""
    @property
    def user_id(self) -> str:
        """Whose it is."""
    @property
    def resource_id(self) -> str:
        """The agent or project that it is made with, if it is made."""
    def messages(self, *, limit: int | Unset | None = ..., turns: int | None = None) -> list[Message]:
        """
        Return the newest messages, the oldest of them first, as they may be handed to a model.

        No tool call without its result and no result without its call is among them; what somebody said between the
        two follows them. The system message that the conversation begins with is kept, as the first.

        Args:
            limit: How many at most, the system message included; not given: the storage's storage_limit, None: all.
                Fewer only where the next older tool turn would not fit as a whole.
            turns: From where so many turns begin instead, each with what a user says until the user speaks again;
                the one under way counts.

        Raises:
            ConversationNotFoundError: The conversation is another user's. One that is not there yet is empty.

        Reads a few rows more than it returns, by index ``{prefix}_messages_in_order``; a second round trip only where
        among these are more messages that no model may see.
        """
    def exchanges(self, limit: int | None = None) -> list[tuple[Message, Message]]:
        """
        Return what the user said and what was answered, pair by pair, the newest of them last.

        The answer is the last that the assistant said before the user went on. What has none yet is no exchange.

        Args:
            limit: How many pairs at most; None: all, 0: none.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
    def add(self, message: MessageLike) -> Message:
        """
        Return the message as it was stored. An id that the conversation has already replaces that message.

        Raises:
            ConversationNotFoundError: The conversation is another user's, or deleted. Nothing is stored.
            InvalidInputError: A field is missing, unknown, or cannot be stored.
        """
    def add_turn(self, messages: Iterable[MessageLike]) -> list[Message]:
        """
        Return the messages as they were stored: all of them, or none and an error, as in add().

        A tool call and its results, added together, are never seen one without the other.
        """
    def clear(self) -> int:
        """
        Return how many messages were deleted, archived ones included; the conversation stays.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
    def title(self, title: str, *, if_unset: bool = False) -> Conversation:
        """
        Return the conversation, named so; its place in the sidebar stays.

        Args:
            title: What a sidebar shows.
            if_unset: Leaves a title that is there alone: for one that a model makes.

        Raises:
            ConversationNotFoundError: The conversation is another user's, or deleted.
        """

class UserConversations:
    """
    A question about one user's conversations, asked step by step, in any order; each step is a new value.

    ``for conversation in builder`` walks all of them, a batch of rows at a time; ``builder.execute()`` returns a list.
    """
    def limit(self, count: int | None) -> Self:
        """Return a builder that stops after so many; None: all, 0: none."""
    def offset(self, count: int) -> Self:
        """Return a builder that skips so many."""
    def order_by(self, field: OrderBy = "updated_at", direction: OrderDirection = "DESC") -> Self:
        """Return a builder with another order; InvalidQueryError for a field that is none."""
    def resource(self, resource_id: str | None) -> Self:
        """Return a builder for one agent or project only; None: for all."""
    def execute(self) -> list[Conversation]:
        """Return the conversations. One round trip."""
    def __iter__(self) -> Iterator[Conversation]: ...

class UserStorage:
    """The same verbs for one user, without a user_id: ``ada = storage.for_user("ada")``."""
    @property
    def user_id(self) -> str:
        """Whose view it is."""
    def transaction(self) -> AbstractContextManager[UserStorage]:
        """Run all calls of the block in one transaction: committed at its end, undone if it raises."""
    def create_conversation(self, conversation: ConversationLike) -> Conversation:
        """Return the conversation as it was stored; user_id may be left out."""
    def ensure_conversation(self, conversation: ConversationLike) -> Conversation:
        """Return the conversation with this id, made if absent; user_id may be left out."""
    def get_conversation(self, conversation_id: str) -> Conversation | None:
        """
        Return the conversation if it is this user's; None when it is absent or another's.

        VoltAgent: ``getUserConversation`` (which fetches first and compares afterwards).
        """
    def update_conversation(
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
    def delete_conversation(self, conversation_id: str) -> bool:
        """
        Return whether there was one to delete. Its messages go with it, and there is no way back.

        One that was deleted with a way back, by soft_delete_conversation(), ends by it.

        Args:
            conversation_id: Which one.

        VoltAgent: ``deleteConversation``.
        """
    def query_conversations(
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
    def count_conversations(self, *, resource_id: str | None = None) -> int:
        """
        Return how many conversations match; without a filter all.

        Counting reads every row it counts. VoltAgent: ``countConversations``.
        """
    def get_paginated_conversations(self, page: int = 1, page_size: int = 10) -> ConversationPage:
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

        ``storage.get_user_conversations("ada").limit(20).order_by("title", "ASC")``

        VoltAgent: ``getUserConversations``.
        """
    def get_last_conversation(self, *, resource_id: str | None = None) -> Conversation | None:
        """
        Return the conversation that the user was last active in, or None: the one to go on with.

        Args:
            resource_id: Only with this agent or project.

        Agno: ``get_all_session_ids(user)[0]`` (which is the last that was made).
        """
    def conversation(self, conversation_id: str | None = None, *, resource_id: str = "default") -> ConversationMemory:
        """Return a handle on one conversation, for an agent to keep as its memory; None: a new one."""
    def add_message(self, message: MessageLike, conversation_id: str, *, resource_id: str | None = None) -> Message:
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
    def add_messages(
        self, messages: Iterable[MessageLike], conversation_id: str, *, resource_id: str | None = None
    ) -> list[Message]:
        """
        Return the messages as they were stored, in their order: all of them, or none and an error.

        One round trip for any number; nothing is sent for an empty list. Args and errors as in add_message().
        VoltAgent: ``addMessages``.
        """
    def get_messages(
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
    def get_conversation_messages(
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
    def rewind_conversation(self, conversation_id: str, message_id: str) -> int:
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
    def delete_messages(self, ids: Sequence[str], conversation_id: str) -> int:
        """
        Return how many of these messages were there and are deleted, archived ones included.

        Args:
            ids: Which; ids that are not in the conversation do not matter. Nothing is sent for an empty list.
            conversation_id: Where they are.

        VoltAgent: ``deleteMessages``.
        """
    def clear_messages(self, conversation_id: str | None = None) -> int:
        """
        Return how many messages were deleted, archived ones included. The conversations stay.

        Args:
            conversation_id: Only those of this conversation; None: all of the user's.

        VoltAgent: ``clearMessages``.
        """
    def list_conversations(
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
    def get_conversation_item(self, conversation_id: str) -> ConversationItem:
        """Read one conversation as the sidebar shows it. Args and errors as in rename_conversation()."""
    def rename_conversation(self, conversation_id: str, title: str, *, automatic: bool = False) -> ConversationItem:
        """
        Return the conversation with its title. Its place in the list stays, as with every mark.

        Args:
            conversation_id: Which one.
            title: What the sidebar shows.
            automatic: A model made the title: it replaces none that a person, or the application, gave.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
        """
    def pin_conversation(self, conversation_id: str, pinned: bool = True) -> ConversationItem:
        """Return the conversation, pinned or not. Args and errors as in rename_conversation()."""
    def archive_conversation(self, conversation_id: str, archived: bool = True) -> ConversationItem:
        """Return the conversation, archived or not. Args and errors as in rename_conversation()."""
    def tag_conversation(self, conversation_id: str, tags: Sequence[str]) -> ConversationItem:
        """Return the conversation with these tags instead of those it had. Otherwise as rename_conversation()."""
    def mark_conversation_read(self, conversation_id: str, *, at: datetime | None = None) -> ConversationItem:
        """
        Return the conversation, read up to what was said last, or up to *at*; never less far than before.

        Args and errors as in rename_conversation().
        """
    def soft_delete_conversation(self, conversation_id: str) -> ConversationItem:
        """
        Return the conversation, which from now on looks absent: to every method but those that name the deleted.

        Its messages stay with it until it is purged, and its id is not free for another. Args and errors as in
        rename_conversation().
        """
    def restore_conversation(self, conversation_id: str) -> ConversationItem:
        """
        Return the conversation, which is no more deleted, in its place in the list.

        Raises:
            ConversationNotFoundError: There is none with this id, deleted or not, or it is not the owner's.
        """
    def list_deleted_conversations(self, *, limit: int | None = None) -> list[ConversationItem]:
        """
        Return what a user deleted and can restore, the last deleted first.

        Args:
            limit: How many at most; None: all.

        Reads all of the user's conversations.
        """
    def purge_deleted_conversations(self, *, older_than: timedelta | None = None) -> int:
        """
        Return how many of the deleted conversations are now gone for good, with their messages.

        Args:
            older_than: Only those that were deleted longer ago; None: all.
        """
    def fork_conversation(
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
    def search(self, text: str, *, limit: int = 20, after: str | None = None) -> SearchResults:
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
    def watch(self, *, poll_interval: float = 2.0) -> Generator[Change]:
        """
        Return an iterator of what changes in a user's conversations, whoever changes it, in whatever process.

        ::

            for change in storage.watch("ada"):
                if change.kind == "ready":
                    show(storage.list_conversations("ada"))
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
    def share_conversation(self, conversation_id: str, *, up_to: str | None = None) -> Share:
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
    def list_shares(self, *, conversation_id: str | None = None) -> list[Share]:
        """
        Return the links to a user's conversations, or to one of them, the newest first; none to deleted ones.

        Reads all of the user's conversations, or the one.
        """
    def revoke_share(self, token: str) -> bool:
        """
        Return whether there was such a link; from now on it leads nowhere. Also to a deleted conversation.

        Args:
            token: Which one.
        """
    def export_user(self) -> Iterator[str]:
        """
        Export everything stored of a user: yields lines of JSON, each with its line end.

        ::

            with open("ada.jsonl", "w", encoding="utf-8") as file:
                for line in storage.export_user("ada"):
                    file.write(line)

        Included are all conversations, also archived and deleted ones, with their marks, messages and the payloads of
        frameworks, and the recorded runs of agents. Public links are not: a token is a key. import_user() reads the
        lines; the first lines of ``voltmem/_areas/transfer/lines.py`` document their format.

        The export is a snapshot of one moment. About a hundred conversations are in memory at a time. It holds one
        connection, in a transaction, until the last line is read or the iterator is closed.
        """
    def import_user(self, lines: Lines) -> ImportResult:
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
    def import_conversations(self, conversations: ImportedConversations) -> ImportResult:
        """
        Import conversations from another program for a user. Returns a summary.

        ::

            conversations = from_chatgpt(Path("conversations.json").read_bytes())
            result = storage.import_conversations("ada", conversations)

        Args:
            conversations: From ``voltmem.importers``, or your own.

        A conversation without messages is skipped. If read_at is not given the conversation counts as read; None means
        never read. Otherwise as import_user(): one transaction each, what is there already is skipped, ids that are
        taken are replaced, and nothing is deleted.
        """
    def delete_user(self) -> int:
        """
        Return how many conversations and recorded runs of a user were deleted: all, with everything that is in them.

        Deleted and archived conversations, too, and runs in a conversation of the user's that name nobody. Nothing of
        the user is left in the tables, nor in a backup that migrate_conversation_schema() made; what somebody else has
        that points there, a copy of a conversation or a run in it, stays and points nowhere. Whoever is watching the
        user is told, and hears of what comes later in half a minute or less.

        One statement, which reads all conversations for such copies; another where there is a backup.
        """

class Storage:
    """What a PostgresStorage and a BoundStorage share: every verb, and narrower scopes of it."""
    @property
    def asynchronous(self) -> voltmem.Storage:
        """The asynchronous storage, for objects that run() and submit() use: it works in this storage's event loop."""
    def run(self, work: Callable[[voltmem.Storage], Coroutine[Any, Any, T]]) -> T:
        """
        Run asynchronous code with the asynchronous storage, in the storage's event loop. Returns its result.

        ::

            async def newest(storage: voltmem.Storage) -> list[Message]:
                return await storage.get_messages("ada", "c1", limit=1)

            storage.run(newest)

        Args:
            work: Called with the asynchronous storage; what it returns is awaited.
        """
    def submit(self, work: Callable[[voltmem.Storage], Coroutine[Any, Any, T]]) -> Future[T]:
        """
        Do as run(), without waiting. Returns a future; cancelling it cancels the work.

        On an event loop, ``await asyncio.wrap_future(storage.submit(work))`` waits for it.
        """
    def import_user(self, user_id: str, lines: Lines) -> ImportResult:
        """
        Import the lines of an export for a user. Returns a summary.

        Args:
            user_id: The user who owns everything from now on, whoever was exported.
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
    def import_conversations(self, user_id: str, conversations: ImportedConversations) -> ImportResult:
        """
        Import conversations from another program for a user. Returns a summary.

        ::

            conversations = from_chatgpt(Path("conversations.json").read_bytes())
            result = storage.import_conversations("ada", conversations)

        Args:
            user_id: The user who owns them from now on.
            conversations: From ``voltmem.importers``, or your own.

        A conversation without messages is skipped. If read_at is not given the conversation counts as read; None means
        never read. Otherwise as import_user(): one transaction each, what is there already is skipped, ids that are
        taken are replaced, and nothing is deleted.
        """
    def export_user(self, user_id: str) -> Iterator[str]:
        """
        Export everything stored of a user: yields lines of JSON, each with its line end.

        ::

            with open("ada.jsonl", "w", encoding="utf-8") as file:
                for line in storage.export_user("ada"):
                    file.write(line)

        Included are all conversations, also archived and deleted ones, with their marks, messages and the payloads of
        frameworks, and the recorded runs of agents. Public links are not: a token is a key. import_user() reads the
        lines; the first lines of ``voltmem/_areas/transfer/lines.py`` document their format.

        The export is a snapshot of one moment. About a hundred conversations are in memory at a time. It holds one
        connection, in a transaction, until the last line is read or the iterator is closed.
        """
    def delete_user(self, user_id: str) -> int:
        """
        Return how many conversations and recorded runs of a user were deleted: all, with everything that is in them.

        Deleted and archived conversations, too, and runs in a conversation of the user's that name nobody. Nothing of
        the user is left in the tables, nor in a backup that migrate_conversation_schema() made; what somebody else has
        that points there, a copy of a conversation or a run in it, stays and points nowhere. Whoever is watching the
        user is told, and hears of what comes later in half a minute or less.

        One statement, which reads all conversations for such copies; another where there is a backup.
        """
    def watch(self, user_id: str, *, poll_interval: float = 2.0) -> Generator[Change]:
        """
        Return an iterator of what changes in a user's conversations, whoever changes it, in whatever process.

        ::

            for change in storage.watch("ada"):
                if change.kind == "ready":
                    show(storage.list_conversations("ada"))
                elif change.conversation is not None:
                    show_again(change.conversation)

        The first is "ready": list the conversations then, for from there on nothing is missed. What is found together
        comes in order of activity, what was deleted first. It ends when the storage is closed; leave it as any other
        iterator.

        Args:
            user_id: Whose.
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
    def share_conversation(self, conversation_id: str, *, up_to: str | None = None, owner: Owner = ...) -> Share:
        """
        Return a new link, with which strangers read the conversation: what was said so far, and nothing that follows.

        Args:
            conversation_id: Which one. It may have any number of links.
            up_to: The id of the last message that is shown; None: the newest.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
            MessageNotFoundError: It has no such message, or the storage limit put it aside.

        It is no copy: a message that is changed or deleted is so for strangers, too. It ends when the conversation is
        given to another user. Reads all of the conversation.
        """
    def get_shared_conversation(
        self, token: str, *, limit: int = 100, after: str | None = None
    ) -> SharedConversation | None:
        """
        Return what a link shows: title and messages, the oldest first; None where it leads nowhere (any more).

        It asks for no user: who has the token may read. Only what the user and the assistant said is shown, as text:
        no system message, no tools, no thoughts, no pictures, no metadata, and no id but the messages' own.

        Args:
            token: The link's. One that is none of ours, was revoked, or is of a deleted conversation: None, all alike.
            limit: How many messages at most; fewer where some say nothing.
            after: A next_cursor: what follows.

        Raises:
            InvalidQueryError: A cursor that is none of ours, a limit below 1.

        Read by index ``{prefix}_messages_in_order``, each page from where it begins.
        """
    def list_shares(self, user_id: str, *, conversation_id: str | None = None) -> list[Share]:
        """
        Return the links to a user's conversations, or to one of them, the newest first; none to deleted ones.

        Reads all of the user's conversations, or the one.
        """
    def revoke_share(self, token: str, *, owner: Owner = ...) -> bool:
        """
        Return whether there was such a link; from now on it leads nowhere. Also to a deleted conversation.

        Args:
            token: Which one.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.
        """
    def search(self, user_id: str, text: str, *, limit: int = 20, after: str | None = None) -> SearchResults:
        """
        Return a user's conversations that have the words, best first, each with the message that fits best.

        Args:
            user_id: Whose; nobody else's are looked at.
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
    def index_messages(self) -> int:
        """
        Return how many messages were indexed for the search that were not yet: those from before search=True.

        In batches, each a transaction of its own, while others read and write; whoever stops it may start it again.
        """
    def forget_words(self) -> int:
        """Return how many messages were taken out of the index: all, to turn the search off. In batches."""
    def fork_conversation(
        self, conversation_id: str, *, up_to: str | None = None, id: str | None = None, owner: Owner = ...
    ) -> Conversation:
        """
        Return a new conversation with the same messages, up to one of them, that remembers where it came from.

        Of what the storage limit put aside (on_limit="archive") the copy shows what led to its last message.

        Args:
            conversation_id: Which one is copied: messages with their ids and times, title, tags and metadata. The copy
                is read.
            up_to: The id of the last message of the copy; None: all.
            id: The id of the new conversation; None: a UUIDv7.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
            MessageNotFoundError: It has no such message.
            ConversationExistsError: The new id is taken.
        """
    def list_conversations(
        self,
        user_id: str,
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
            user_id: Whose.
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
    def get_conversation_item(self, conversation_id: str, *, owner: Owner = ...) -> ConversationItem:
        """Read one conversation as the sidebar shows it. Args and errors as in rename_conversation()."""
    def rename_conversation(
        self, conversation_id: str, title: str, *, automatic: bool = False, owner: Owner = ...
    ) -> ConversationItem:
        """
        Return the conversation with its title. Its place in the list stays, as with every mark.

        Args:
            conversation_id: Which one.
            title: What the sidebar shows.
            automatic: A model made the title: it replaces none that a person, or the application, gave.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
        """
    def pin_conversation(self, conversation_id: str, pinned: bool = True, *, owner: Owner = ...) -> ConversationItem:
        """Return the conversation, pinned or not. Args and errors as in rename_conversation()."""
    def archive_conversation(
        self, conversation_id: str, archived: bool = True, *, owner: Owner = ...
    ) -> ConversationItem:
        """Return the conversation, archived or not. Args and errors as in rename_conversation()."""
    def tag_conversation(self, conversation_id: str, tags: Sequence[str], *, owner: Owner = ...) -> ConversationItem:
        """Return the conversation with these tags instead of those it had. Otherwise as rename_conversation()."""
    def mark_conversation_read(
        self, conversation_id: str, *, at: datetime | None = None, owner: Owner = ...
    ) -> ConversationItem:
        """
        Return the conversation, read up to what was said last, or up to *at*; never less far than before.

        Args and errors as in rename_conversation().
        """
    def soft_delete_conversation(self, conversation_id: str, *, owner: Owner = ...) -> ConversationItem:
        """
        Return the conversation, which from now on looks absent: to every method but those that name the deleted.

        Its messages stay with it until it is purged, and its id is not free for another. Args and errors as in
        rename_conversation().
        """
    def restore_conversation(self, conversation_id: str, *, owner: Owner = ...) -> ConversationItem:
        """
        Return the conversation, which is no more deleted, in its place in the list.

        Raises:
            ConversationNotFoundError: There is none with this id, deleted or not, or it is not the owner's.
        """
    def list_deleted_conversations(self, user_id: str, *, limit: int | None = None) -> list[ConversationItem]:
        """
        Return what a user deleted and can restore, the last deleted first.

        Args:
            user_id: Whose.
            limit: How many at most; None: all.

        Reads all of the user's conversations.
        """
    def purge_deleted_conversations(self, user_id: Owner = ..., *, older_than: timedelta | None = None) -> int:
        """
        Return how many of the deleted conversations are now gone for good, with their messages.

        Args:
            user_id: Only this user's; ANY_USER: everybody's, for a task that cleans up.
            older_than: Only those that were deleted longer ago; None: all.
        """
    def add_history_entry(
        self, key: str, value: AgentHistoryEntry | Mapping[str, object], agent_id: str
    ) -> AgentHistoryEntry:
        """
        Add an entry to the agent history, or replace the one with this key.

        Returns it as stored, without its steps and events.

        Args:
            key: The id of the entry. Replacing an entry keeps its steps and events, and its time unless *value* has a
                timestamp. So a retry stores it once.
            value: A model or a dict in either spelling; every field is optional. Only None is stored as NULL. An id,
                an agent, steps and events in it are ignored: they have arguments and verbs of their own.
            agent_id: The agent whose run it was.

        Raises:
            InvalidInputError: A field is unknown or has the wrong type.

        VoltAgent: ``addHistoryEntry`` (which stores 0, "" and False as NULL).
        """
    def update_history_entry(
        self, key: str, value: AgentHistoryEntry | Mapping[str, object], agent_id: str
    ) -> AgentHistoryEntry:
        """
        Update the given fields of an entry. Returns it as stored, without its steps and events.

        Args:
            key: The id of the entry. A missing entry is created, as in VoltAgent.
            value: A dict of the fields to change (None clears a field), or a model, of which only the fields that
                were set count. An id, an agent, steps and events in it are ignored.
            agent_id: The agent whose run it is from now on.

        Raises:
            InvalidInputError: A field is unknown or has the wrong type.

        VoltAgent: ``updateHistoryEntry`` (which clears what is not given).
        """
    def add_history_step(
        self, key: str, value: AgentHistoryStep | Mapping[str, object], history_id: str, agent_id: str
    ) -> AgentHistoryStep:
        """
        Add a step to an entry, or replace the one with this key in its place. Returns it as stored.

        Args:
            key: The id of the step.
            value: A model or a dict. Fields that the model does not have are kept too. An id in it is ignored.
            history_id: The id of the entry.
            agent_id: The agent whose step it was; a sub-agent's differs from the entry's.

        Raises:
            HistoryEntryNotFoundError: There is no such entry. Nothing is stored.
            InvalidInputError: A field has the wrong type or cannot be stored.

        VoltAgent: ``addHistoryStep``.
        """
    def update_history_step(
        self, key: str, value: AgentHistoryStep | Mapping[str, object], history_id: str, agent_id: str
    ) -> AgentHistoryStep:
        """
        Update the given fields of a step. Returns it as stored.

        Args:
            key: The id of the step. A missing step is created, as in VoltAgent.
            value: A dict of the fields to change; each replaces the old value as a whole. Or a model, of which only
                the fields that were set count.
            history_id: The id of the entry that it belongs to from now on.
            agent_id: The agent whose step it is from now on.

        Errors as in add_history_step(). One statement. VoltAgent: ``updateHistoryStep`` (which replaces the step).
        """
    def add_timeline_event(
        self, key: str, value: TimelineEvent | Mapping[str, object], history_id: str, agent_id: str
    ) -> TimelineEvent:
        """
        Add an event to the timeline of an entry, or replace the one with this key. Returns it as stored.

        Args:
            key: The id of the event. Write an event when it begins and again, with the same key, when it ends: its
                start time stays unless *value* has another.
            value: A model or a dict in either spelling, with a type and a name. An id and a trace id in it are
                ignored.
            history_id: The id of the entry.
            agent_id: The agent whose event it was.

        Raises:
            HistoryEntryNotFoundError: There is no such entry. Nothing is stored.
            InvalidInputError: A field is missing, unknown or has the wrong type.

        VoltAgent: ``addTimelineEvent`` (which stores the status message as the error).
        """
    def get_history_entry(self, key: str) -> AgentHistoryEntry | None:
        """
        Return an entry with its steps and timeline events, or None.

        Steps come in the order of adding, events by start time; those of sub-agents are included. Three statements.
        VoltAgent: ``getHistoryEntry``.
        """
    def get_history_step(self, key: str) -> AgentHistoryStep | None:
        """Return a step, or None. VoltAgent: ``getHistoryStep``."""
    def get_all_history_entries_by_agent(
        self, agent_id: str, *, limit: int | None = None, offset: int = 0
    ) -> list[AgentHistoryEntry]:
        """
        Return an agent's entries with their steps and events, newest first.

        Args:
            agent_id: The agent whose runs to return.
            limit: The maximum number of entries; None: all, 0: none.
            offset: The number of entries to skip. list_history_entries() pages by cursor instead.

        Three statements, whatever the number of entries. VoltAgent: ``getAllHistoryEntriesByAgent`` (two more
        statements for each entry).
        """
    def list_history_entries(
        self,
        *,
        agent_id: str | None = None,
        user_id: Owner = ...,
        conversation_id: str | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> AgentHistoryPage:
        """
        Return a page of entries with their steps and events, newest first.

        Args:
            agent_id: Only this agent's runs.
            user_id: Only runs for this user; ANY_USER: all runs, also those without a user, for trusted code.
            conversation_id: Only runs in this conversation.
            limit: The maximum number of entries, 1 or more.
            after: The next_cursor of the page before. New entries neither shift a page nor repeat a row.

        Raises:
            InvalidQueryError: The limit is below 1, or the cursor is not the next_cursor of a page.

        Three statements, no COUNT. Uses the index by agent, by user or by conversation; without any of these filters
        it sorts all entries.
        """
    def record_run(
        self,
        agent_id: str,
        *,
        input: JsonValue = None,
        user_id: str | None = None,
        conversation_id: str | None = None,
        metadata: JsonValue = None,
        id: str | None = None,
    ) -> AbstractContextManager[AgentRun]:
        """
        Record a run of an agent for as long as the block runs.

        ::

            with storage.record_run("cook", input="Soup, please") as run:
                with run.event("tool:search", type="tool", input={"q": "soup"}) as event:
                    event.output = search("soup")
                run.output = "Here is a recipe."

        The entry is stored as "working" at the start. At the end its status is "completed", "cancelled", or, when the
        block raises, "error", with an event "agent:error" that holds the exception. The end is written also when the
        task is cancelled; the cancellation continues afterwards. The block's exception is raised unchanged: if the
        end cannot be written then, that is only logged.

        Args:
            agent_id: The agent whose run it is.
            input: What the agent was asked: any JSON value.
            user_id: The user for whom it runs; None for a run without a user.
            conversation_id: The conversation that it runs in. It need not be stored here.
            metadata: Any JSON value; the block may set another.
            id: The key of the entry; an existing entry is replaced. None: a UUIDv7.

        Raises:
            InvalidInputError: An argument cannot be stored. Nothing was sent.

        One round trip for the start, for each step, and for each event's start and end; one for the end, two after an
        error. If the surrounding transaction is rolled back, nothing of the run remains.
        """
    def add_message(
        self, message: MessageLike, user_id: Owner, conversation_id: str, *, resource_id: str | None = None
    ) -> Message:
        """
        Return the message as it was stored: with its id and its time.

        Args:
            message: A model or a dict in either spelling. An id that the conversation has already replaces that
                message in its place, so a streamed answer can be saved as it grows and a retry stores it once.
            user_id: Whose conversation it must be; ANY_USER: no check, for trusted code.
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
    def add_messages(
        self, messages: Iterable[MessageLike], user_id: Owner, conversation_id: str, *, resource_id: str | None = None
    ) -> list[Message]:
        """
        Return the messages as they were stored, in their order: all of them, or none and an error.

        One round trip for any number; nothing is sent for an empty list. Args and errors as in add_message().
        VoltAgent: ``addMessages``.
        """
    def delete_messages(self, ids: Sequence[str], user_id: Owner, conversation_id: str) -> int:
        """
        Return how many of these messages were there and are deleted, archived ones included.

        Args:
            ids: Which; ids that are not in the conversation do not matter. Nothing is sent for an empty list.
            user_id: Whose conversation it must be, else nothing is deleted; ANY_USER: no check, for trusted code.
            conversation_id: Where they are.

        VoltAgent: ``deleteMessages``.
        """
    def rewind_conversation(self, conversation_id: str, message_id: str, *, owner: Owner = ...) -> int:
        """
        Return how many messages were dropped: those that follow this one, archived ones included.

        To answer once more, rewind to the question. To edit it, store it again with its id, then rewind to it. What the
        storage limit put aside (on_limit="archive") comes back, as far as the limit allows.

        Args:
            conversation_id: Which one.
            message_id: The last message that stays.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
            MessageNotFoundError: It has no such message. Nothing is dropped.
        """
    def clear_messages(self, user_id: Owner, conversation_id: str | None = None) -> int:
        """
        Return how many messages were deleted, archived ones included. The conversations stay.

        Args:
            user_id: Whose messages; ANY_USER, with a conversation only: no check, for trusted code.
            conversation_id: Only those of this conversation; None: all of the user's.

        VoltAgent: ``clearMessages``.
        """
    def get_messages(
        self,
        user_id: Owner,
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
            user_id: Whose conversation it must be, else the list is empty; ANY_USER: no check, for trusted code.
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
    def get_conversation_messages(
        self,
        conversation_id: str,
        *,
        limit: int | None = 100,
        offset: int = 0,
        before: datetime | str | None = None,
        after: datetime | str | None = None,
        include_archived: bool = False,
        owner: Owner = ...,
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
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.

        VoltAgent: ``getConversationMessages``.
        """
    def create_conversation(self, conversation: ConversationLike) -> Conversation:
        """
        Return the conversation as it was stored.

        Args:
            conversation: A model or a dict in either spelling; only user_id must be there. Without an id it gets
                a UUIDv7, without times the database's.

        Raises:
            ConversationExistsError: The id is taken, by whomever, or by a conversation that is deleted.
            InvalidInputError: A field is missing, unknown or of the wrong type.
            OutcomeUnknownError: The connection broke before the answer; ensure_conversation may be repeated.

        VoltAgent: ``createConversation``.
        """
    def ensure_conversation(self, conversation: ConversationLike) -> Conversation:
        """
        Return the conversation with this id: the one that is there, unchanged, or the given one, stored.

        Atomic: of any number of callers at once, one makes it and all get it.

        Raises:
            ConversationNotFoundError: The id is another user's, or of a conversation that is deleted.
            InvalidInputError: A field is missing, unknown or of the wrong type.
        """
    def get_conversation(self, conversation_id: str) -> Conversation | None:
        """
        Return the conversation, whoever's it is, or None.

        For trusted code: get_user_conversation() and for_user() check whose it is. VoltAgent: ``getConversation``.
        """
    def get_user_conversation(self, conversation_id: str, user_id: str) -> Conversation | None:
        """
        Return the conversation if it is this user's; None when it is absent or another's.

        VoltAgent: ``getUserConversation`` (which fetches first and compares afterwards).
        """
    def update_conversation(
        self,
        conversation_id: str,
        *,
        title: str | Unset | None = ...,
        metadata: Mapping[str, JsonValue] | Unset | None = ...,
        resource_id: str | Unset = ...,
        user_id: str | Unset = ...,
        touch: bool = True,
        owner: Owner = ...,
    ) -> Conversation:
        """
        Return the conversation after the update. Only what is given changes.

        Args:
            conversation_id: Which one.
            title: The new title; None clears it.
            metadata: The new metadata, instead of the old; None empties it.
            resource_id: Moves it to another agent or project.
            user_id: Gives it to another user. Links to it end.
            touch: Whether updated_at becomes now; False keeps its place in the sidebar.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
            InvalidInputError: A value of the wrong type.

        VoltAgent: ``updateConversation``.
        """
    def delete_conversation(self, conversation_id: str, *, owner: Owner = ...) -> bool:
        """
        Return whether there was one to delete. Its messages go with it, and there is no way back.

        One that was deleted with a way back, by soft_delete_conversation(), ends by it.

        Args:
            conversation_id: Which one.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        VoltAgent: ``deleteConversation``.
        """
    def get_conversations(self, resource_id: str) -> list[Conversation]:
        """
        Return all conversations of a resource, the newest created first.

        Read by index ``{prefix}_conversations_by_resource``. VoltAgent: ``getConversations``.
        """
    def get_conversations_by_user_id(
        self,
        user_id: str,
        *,
        resource_id: str | None = None,
        limit: int | None = 50,
        offset: int = 0,
        order_by: OrderBy = "updated_at",
        order_direction: OrderDirection = "DESC",
    ) -> list[Conversation]:
        """
        Return a user's conversations, the last active first unless told otherwise.

        Args and errors as in query_conversations(). VoltAgent: ``getConversationsByUserId``.
        """
    def query_conversations(
        self,
        *,
        user_id: Owner = ...,
        resource_id: str | None = None,
        limit: int | None = 50,
        offset: int = 0,
        order_by: OrderBy = "updated_at",
        order_direction: OrderDirection = "DESC",
    ) -> list[Conversation]:
        """
        Return the conversations that match; without a filter all users' (the admin's view).

        Args:
            user_id: Only this user's; ANY_USER: everybody's, for trusted code.
            resource_id: Only those with this agent or project.
            limit: How many at most; None: all, 0: none.
            offset: How many to skip; the database walks over them all the same.
            order_by: "created_at", "updated_at" or "title"; conversations without a title come last.
            order_direction: "ASC" or "DESC", in any case. Ties are broken by id, in the same direction.

        Raises:
            InvalidQueryError: Anything else, before any SQL runs.

        VoltAgent: ``queryConversations``.
        """
    def count_conversations(self, *, user_id: Owner = ..., resource_id: str | None = None) -> int:
        """
        Return how many conversations match; without a filter all.

        Counting reads every row it counts. VoltAgent: ``countConversations``.
        """
    def get_paginated_user_conversations(self, user_id: str, page: int = 1, page_size: int = 10) -> ConversationPage:
        """
        Return one page of a user's conversations, the last active first.

        Args:
            user_id: Whose.
            page: 1 or more.
            page_size: 1 or more rows.

        Nothing is counted: has_more is known by reading one row more. VoltAgent: ``getPaginatedUserConversations``.
        """
    def get_last_conversation(self, user_id: str, *, resource_id: str | None = None) -> Conversation | None:
        """
        Return the conversation that the user was last active in, or None: the one to go on with.

        Args:
            user_id: Whose.
            resource_id: Only with this agent or project.

        Agno: ``get_all_session_ids(user)[0]`` (which is the last that was made).
        """
    def get_user_conversations(self, user_id: str) -> UserConversations:
        """
        Return a builder over a user's conversations: all of them, the last active first, until told otherwise.

        ``storage.get_user_conversations("ada").limit(20).order_by("title", "ASC")``

        VoltAgent: ``getUserConversations``.
        """
    def transaction(self) -> AbstractContextManager[BoundStorage]:
        """
        A storage whose calls are one transaction: committed at the end of the block, undone if it raises.

        ::

            with storage.transaction() as tx:
                tx.create_conversation({"id": "c1", "user_id": "ada"})
                tx.add_messages([...], "ada", "c1")
                tx.connection.execute("INSERT INTO invoices …")  # the application's own, in the same one

        Takes one connection of the pool for the whole block. Within another transaction it is a savepoint.

        Raises:
            OutcomeUnknownError: The connection broke while committing.
        """
    def conversation(
        self, user_id: str, conversation_id: str | None = None, *, resource_id: str = "default"
    ) -> ConversationMemory:
        """
        Return a handle on one conversation, for an agent to keep as its memory.

        Args:
            user_id: Whose it is, or will be.
            conversation_id: Which one; None: a new one, with a UUIDv7.
            resource_id: The agent or project that it is made with, when something is written and there is none.
        """
    def for_user(self, user_id: str) -> UserStorage:
        """
        Return a view with the same verbs and no user_id: it reads and writes what is this user's, and no more.

        Hand it to code that works for a signed-in user; another's conversation looks absent from there.
        """

class BoundStorage(Storage):
    """What ``with storage.transaction() as tx`` gives. One thread at a time may use it."""
    @property
    def connection(self) -> Connection:
        """The connection, for statements of the application's own in the same transaction."""

class Connection:
    """The connection of a transaction, with the methods of asyncpg's that send a statement."""
    def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """Run a statement, or several without arguments. Returns the status of the last, such as "DELETE 3"."""
    def executemany(self, command: str, args: Iterable[Sequence[object]], *, timeout: float | None = None) -> None:
        """Run a statement once for each sequence of arguments."""
    def fetch(self, query: str, *args: object, timeout: float | None = None) -> list[Record]:
        """Run a statement. Returns its rows."""
    def fetchrow(self, query: str, *args: object, timeout: float | None = None) -> Record | None:
        """Run a statement. Returns its first row, or None."""
    def fetchval(self, query: str, *args: object, column: int = 0, timeout: float | None = None) -> Any:
        """Run a statement. Returns a column of its first row, or None."""

class PostgresStorage(Storage):
    """
    Keeps conversations and their messages in PostgreSQL, for code that blocks.

    ::

        storage = PostgresStorage("postgresql://user:password@host/db")
        storage.create_conversation({"id": "c1", "user_id": "ada"})
        storage.add_message({"role": "user", "content": "Hello"}, "ada", "c1")

    Make one for the whole program: any number of threads may share it, each call waits in its own. The connections live
    in one thread with an event loop, which the first call starts. A forked process gets its own with its first call.
    At the end of the program, or when nobody has the storage any more, it is closed; close() does it earlier.

    The arguments are those of ``voltmem.PostgresStorage``, without pool, and its errors. Every verb also raises:

        EventLoopError: The thread runs an event loop, which the call would block. In a notebook it may.
    """
    def __init__(
        self,
        connection: str | ConnectionOptions | Mapping[str, object] | None = None,
        *,
        max_connections: int = 10,
        table_prefix: str = "voltagent_memory",
        storage_limit: int | None = 100,
        on_limit: OnLimit = "delete",
        schema: str = "public",
        migrate: Migrate = "auto",
        search: bool = False,
        debug: bool = False,
        connect_timeout: float = 10.0,
        command_timeout: float = 60.0,
        retry_timeout: float = 30.0,
    ) -> None: ...
    @property
    def asynchronous(self) -> voltmem.PostgresStorage:
        """The asynchronous storage, for objects that run() and submit() use: it works in this storage's event loop."""
    def run(self, work: Callable[[voltmem.PostgresStorage], Coroutine[Any, Any, T]]) -> T:
        """Do as Storage.run(), with the asynchronous PostgresStorage."""
    def submit(self, work: Callable[[voltmem.PostgresStorage], Coroutine[Any, Any, T]]) -> Future[T]:
        """Do as Storage.submit(), with the asynchronous PostgresStorage."""
    def close(self) -> None:
        """
        Close the pool after the calls under way have ended, and end the thread; may be repeated.

        Iterators of watch() end. The embedded server stops if nobody else uses it. open() opens it again.
        """
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def open(self) -> None:
        """
        Open the pool and prepare the tables now, rather than on the first call; also opens again after close().

        Raises:
            ConnectionFailedError: No server there, or the login was refused. A server that is starting is awaited.
            SchemaNotReadyError: Tables are missing, with migrate="check".
            MigrationError: A migration failed; nothing of it was kept.

        One round trip more than connecting when the schema is current.
        """
    def upgrade_schema(self) -> list[str]:
        """
        Apply the migrations that the database lacks, whatever *migrate* says, and return their names.

        Empty when there is nothing to do. Any number of processes may call it at once. Agno: ``upgrade_schema``.

        Raises:
            MigrationError: A migration failed, and nothing of it was kept, or its file was edited after release.
            DatabaseError: The role may not create tables (SQLSTATE 42501).
        """
    def schema_status(self) -> list[MigrationStatus]:
        """
        Return every migration in its order: when it was applied, or None where it is missing.

        Changes nothing, whatever *migrate* says. ``python -m voltmem status`` prints it.
        """
    def migrate_conversation_schema(
        self,
        *,
        create_backup: bool = True,
        restore_from_backup: bool = False,
        delete_backup_after_success: bool = False,
    ) -> MigrationResult:
        """
        Make tables of VoltAgent 0.1.0 user-centric, or undo that; return what was done.

        The user moves from the messages to their conversation. One that several users wrote in keeps its id for
        the one who wrote first; each other user's messages move to a conversation of their own, with an id derived
        from both and without title and metadata. Conversations without messages become the user ``"default"``'s;
        conversations that only their messages know are made. With migrate="auto" the first use of the storage does
        it, with a backup; tables that are user-centric already are left alone.

        Args:
            create_backup: Copies both tables first, to ``{prefix}_conversations_backup`` and
                ``{prefix}_messages_backup``. A backup that is there already is an error, never overwritten.
            restore_from_backup: Puts the backup in the tables' place instead, exactly as it was; what was written
                since is gone, the rights on the tables stay. Opening with migrate="auto" migrates again.
            delete_backup_after_success: Drops the new backup when all messages are proven to be there.

        One transaction in the server, a million messages in under a minute; only the split conversations are sent
        to the client. Writers wait, readers only at its end, while each conversation gets its user. What fails is
        told in ``.error``, and nothing of it is kept; other errors are those of connecting.

        VoltAgent: ``migrateConversationSchema`` (which works row by row, and gives a conversation of several users
        to the first that it happens to read).
        """
