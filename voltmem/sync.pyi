"""The types of voltmem.sync. Made by "python -m tests.typing.stubs": do not edit."""

from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from asyncpg import Record
from pydantic import BaseModel, JsonValue

import voltmem
from voltmem._agents.compact_when import CompactWhen
from voltmem._agents.compaction import Summarize
from voltmem._agents.memory import MessageT
from voltmem._areas.branches import BranchingPoint
from voltmem._areas.changes import Change
from voltmem._areas.checks.check import Finding
from voltmem._areas.files import FileContent, StoredFile
from voltmem._areas.forgetting import Forgotten
from voltmem._areas.history.models import AgentHistoryEntry, AgentHistoryPage, AgentHistoryStep, TimelineEvent
from voltmem._areas.leases import Lease
from voltmem._areas.moments import Moment
from voltmem._areas.pruning import Pruned
from voltmem._areas.search import SearchResults
from voltmem._areas.shares import Share, SharedConversation
from voltmem._areas.sidebar import ConversationItem, ConversationList
from voltmem._areas.summaries import Summary
from voltmem._areas.tags import TagCount
from voltmem._areas.transfer.models import ImportedConversations, ImportResult, Lines
from voltmem._areas.users import Usage
from voltmem._areas.working_memory import MemorySchema, MemoryScope, MemoryVersion, MergeRules, ToolForm, WorkingMemory
from voltmem._postgres.health import Health
from voltmem._postgres.migrations.conversation_schema import MigrationResult
from voltmem._postgres.schema import SchemaStatus
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
from voltmem.options import ConnectionOptions, KeepFiles, Migrate, OnLimit, Quotas, Recall
from voltmem.tokens import CountTokens, Encoding

__all__ = [
    "AgentRun",
    "BoundStorage",
    "Connection",
    "ConversationMemory",
    "HeldLease",
    "PostgresStorage",
    "RunEvent",
    "Storage",
    "UserConversations",
    "UserStorage",
    "WorkingMemoryHandle",
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

class HeldLease:
    """A lease that is renewed while a block of work runs: ``with storage.lease(…) as lease``."""

    conversation_id: str
    purpose: str
    fencing_token: int
    @property
    def stop_requested(self) -> bool:
        """Whether stop_lease() was called, as of the last renewal."""
    def wait_for_stop(self) -> None:
        """Wait until stop_lease() was called."""

class ConversationMemory:
    """
    One conversation of one user, as an agent's memory: ``memory = storage.conversation("ada", "c1")``.

    ::

        memory.add({"role": "user", "content": "Hello"})
        answer = model(memory.messages(limit=20))
        memory.add({"role": "assistant", "content": answer})

    The first write creates the conversation.
    """
    @property
    def conversation_id(self) -> str:
        """The id of the conversation; a UUIDv7 if none was given."""
    @property
    def user_id(self) -> str:
        """The owner of the conversation."""
    @property
    def resource_id(self) -> str:
        """The agent or project, if this handle creates the conversation."""
    def messages(
        self,
        *,
        limit: int | Unset | None = ...,
        turns: int | None = None,
        tokens: int | None = None,
        count: Encoding | CountTokens = "o200k",
        shorten_results: int | None = None,
        recall: str | None = None,
    ) -> list[Message]:
        """
        Return the newest messages, oldest first, in a form that models accept.

        Tool calls without their result and results without their call are left out. Messages between a call and its
        result follow the result. If the conversation begins with a system message, that one is always the first.

        Args:
            limit: The maximum number, the system message and a summary included; not given: the storage's
                storage_limit, which does not count the summary, None: all.
                There are fewer only if the next older tool turn does not fit as a whole.
            turns: Instead of limit: how many of the last turns. A turn begins with what the user says, and ends before
                the user speaks again; the current turn counts.
            tokens: Instead of limit: how many tokens they have at most, the system message included, by the estimate.
                A message has 4 beside its text, a picture or another file 1,000. If the newest message, or tool turn,
                is larger, there is only the system message, which is never left out.
            count: What tokens are: the tokenizer that is estimated, see ``estimate_tokens()``, or a function that
                returns the tokens of a text. The function may be called in a thread.
            shorten_results: How many characters a text in a tool's result has at most, 100 or more, and the result as a
                whole twice as many. Longer ones keep their beginning and end, and say how much was left out. What is
                stored stays whole. None: as they are.
            recall: What to recall from the user's conversations, such as the question; None: nothing. What is found,
                and is not in the window, comes after the system message: one message that quotes it, and says that it
                is data. limit and turns do not count it; of tokens it takes a quarter at most. Do not store it.

        Raises:
            ConversationNotFoundError: The conversation is another user's. One that does not exist yet is empty.
            InvalidOptionError: recall, with a storage that was created without search=True.

        Reads a few rows more than it returns, by the index ``{prefix}_messages_in_line``. More round trips only if so
        many of the rows are left out that the limit is not reached. With tokens it reads at most a quarter as many rows
        as tokens, and some four times the text that it returns, in one round trip. recall takes another one: see
        ``recall()``.
        """
    def exchanges(self, limit: int | None = None) -> list[tuple[Message, Message]]:
        """
        Return pairs of a user's message and its answer, newest last.

        The answer is the assistant's last message before the user's next one. Messages without an answer are left out.

        Args:
            limit: The maximum number of pairs; None: all, 0: none.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
    def with_files(self, messages: Sequence[MessageT]) -> list[MessageT]:
        """
        Return the messages with the bytes of stored files in them, for a model, which cannot read "voltmem:file/…".

        ::

            history = memory.with_files(memory.messages(limit=20))
            answer = client.chat.completions.create(model=model, messages=to_openai(history))

        Each address of a file of the user's becomes a data: URL, in tools' results as well. The address of a file that
        is not there stays; a provider is told its name. Do not store the messages again: the bytes would be stored in
        them.

        One round trip, none without files; all the files are in memory.
        """
    def add(self, message: MessageLike) -> Message:
        """
        Add a message, or replace the one with its id. Returns it as stored.

        Raises:
            ConversationNotFoundError: The conversation is another user's, or deleted; or it does not exist yet, and the
                user was deleted since the handle was made. Nothing was stored.
            MessageNotFoundError: This handle has stored a message with this id, and it was deleted. Nothing was stored.
            InvalidInputError: A field is missing, unknown, or cannot be stored; or the message is what a window begins
                with: a summary, or a quote of what was recalled.
        """
    def add_turn(self, messages: Iterable[MessageLike]) -> list[Message]:
        """
        Add messages: all, or none and an error. Returns them as stored. Errors as in add().

        Readers never see a tool call without its results if you add them together. What this process has shown a model
        beside the messages, a summary or a quote of what was recalled, is left out if it is given back.
        """
    def compact(self, summarize: Summarize, *, keep_turns: int = 6) -> Summary | None:
        """
        Summarise what is older than the last turns. Returns the summary, with which windows begin from now on.

        ::

            def summarize(messages: list[Message], before: str | None) -> str: ...

            memory.compact(summarize)

        messages() then returns the system message, a message with the role "system" and the type "summary", and the
        messages after those that it stands for. Everything else shows every message: get_messages(), the sidebar, the
        search, an export.

        Args:
            summarize: A function of the messages, and of the text of the summary in use, which the new one takes in;
                None: there is none. It returns the text, or the text and a dict of what making it has used. A function
                that is not asynchronous runs in a thread.
            keep_turns: How many of the last turns stay as they are, 1 or more.

        Returns None, and changes nothing, if nothing is older, or if the messages or the summary before were changed
        meanwhile: of two processes that compact at once, one does. A summary ends before a call without a result, and
        before one that waits for approval.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
            InvalidInputError: summarize returned something else than text, or blank text.
            Exception: Whatever summarize raises. After any error the window is as it was.

        Reads all messages after the summary in use, archived ones too. Two round trips; no connection is held between.
        """
    def clear(self) -> int:
        """
        Delete all messages. Returns how many, archived ones included; the conversation stays.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
    def title(self, title: str, *, if_unset: bool = False) -> Conversation:
        """
        Set the title of the conversation. Returns the conversation; its place in the sidebar does not change.

        Args:
            title: The title.
            if_unset: Whether to keep an existing title; for titles that a model makes.

        Raises:
            ConversationNotFoundError: The conversation is another user's, or deleted; or as in add().
        """

class WorkingMemoryHandle:
    """
    The working memory of a user, or of a conversation: ``memory = storage.working_memory("ada")``.

    ::

        memory.append("- lives in Oslo")
        print(memory.get())
    """
    @property
    def user_id(self) -> str:
        """The user."""
    @property
    def conversation_id(self) -> str | None:
        """The conversation; None: the memory is the user's."""
    @property
    def template(self) -> str | None:
        """What the text looks like before anything is filled in."""
    @property
    def schema(self) -> MemorySchema | None:
        """The pydantic model of a memory that is JSON."""
    def get(self) -> WorkingMemory | None:
        """Return the memory as it is now; None if there is none. VoltAgent: ``getWorkingMemory``."""
    def history(self, *, limit: int | None = 20, before: int | None = None) -> list[MemoryVersion]:
        """
        Return the versions, newest first: what was written, by whom and when.

        Args:
            limit: The maximum number; None: all that are kept, a hundred.
            before: Only versions before this one.
        """
    def set(
        self,
        content: str | Mapping[str, JsonValue] | BaseModel,
        *,
        if_version: int | None = None,
        operation_id: str | None = None,
        author: str | None = None,
        from_messages: Sequence[str] | None = None,
    ) -> WorkingMemory:
        """
        Replace the memory by another text, or by a JSON object. Returns it as stored.

        Args:
            content: The text; or a dict or a model, which is stored as indented JSON.
            if_version: The version that is replaced; 0: none. None: whatever there is, which is lost but for the
                history.
            operation_id: As in all writes.
            author: As in all writes.
            from_messages: The ids of the messages that it came from.
        """
    def append(
        self,
        text: str,
        *,
        if_version: int | None = None,
        operation_id: str | None = None,
        author: str | None = None,
        from_messages: Sequence[str] | None = None,
    ) -> WorkingMemory:
        """
        Add a paragraph to a memory that is text. Returns it as stored.

        Args:
            text: What is added, after an empty line.
            if_version: As in all writes.
            operation_id: As in all writes.
            author: As in all writes.
            from_messages: The ids of the messages that it came from.
        """
    def merge(
        self,
        patch: Mapping[str, JsonValue] | BaseModel,
        *,
        rules: MergeRules = "rfc7396",
        if_version: int | None = None,
        operation_id: str | None = None,
        author: str | None = None,
        from_messages: Sequence[str] | None = None,
    ) -> WorkingMemory:
        """
        Merge a JSON object into a memory that is JSON. Returns it as stored.

        Args:
            patch: Objects are merged into those of the same name. Of a model, only the fields that were set count.
            rules: "rfc7396": None removes a member, and any other value, an array too, replaces the one of the same
                name. "voltagent", as VoltAgent appends: arrays are united, and nothing is removed.
            if_version: As in all writes.
            operation_id: As in all writes.
            author: As in all writes.
            from_messages: The ids of the messages that it came from.

        With a schema the result is checked before it is committed, in a transaction of three round trips.
        """
    def restore(
        self, version: int, *, if_version: int | None = None, operation_id: str | None = None, author: str | None = None
    ) -> WorkingMemory:
        """
        Make the content of an earlier version the memory again, as a new version. Returns it as stored.

        Args:
            version: One of the history.
            if_version: As in all writes.
            operation_id: As in all writes.
            author: As in all writes.

        With a schema the content is checked, as the result of merge() is.
        """
    def delete(
        self,
        *,
        history: bool = False,
        if_version: int | None = None,
        operation_id: str | None = None,
        author: str | None = None,
    ) -> bool:
        """
        Delete the memory. Returns whether there was one.

        Args:
            history: Whether to delete its history, too, so that nothing of what it held is stored any more; False:
                restore() brings it back.
            if_version: As in all writes.
            operation_id: As in all writes.
            author: As in all writes.

        VoltAgent: ``deleteWorkingMemory``.
        """
    def tools(
        self, form: ToolForm = "openai", *, read_only: bool = False, may_clear: bool = False
    ) -> list[dict[str, Any]]:
        """
        Return the definitions of the tools by which a model keeps the memory; call_tool() runs them.

        They are ``get_working_memory`` and ``update_working_memory``, which appends unless the model asks
        for the mode "replace", with the version that it has read.

        Args:
            form: For which interface: "openai" (Chat Completions), "responses" (OpenAI's Responses), "anthropic",
                "anthropic-memory" (Anthropic's memory tool, memory_20250818; the memory is its one file), "mcp".
            read_only: Whether to leave out the tools that write.
            may_clear: Whether to add ``clear_working_memory``, after which restore() still brings the memory back.
        """
    def call_tool(
        self,
        name: str,
        arguments: Mapping[str, object] | BaseModel | str | None = None,
        *,
        operation_id: str | None = None,
        author: str | None = None,
        from_messages: Sequence[str] | None = None,
        read_only: bool = False,
        may_clear: bool = False,
    ) -> str:
        """
        Run a model's call of one of the tools. Returns the result for the model.

        What the model did wrong, and what is refused, is in the result, which then begins with ``Error:``. So is a call
        of a tool that it was not given: models make names up.

        Args:
            name: The name of the tool.
            arguments: The arguments, as a dict or as JSON text.
            operation_id: An id of the call that is unique for the user, so that a repeat changes nothing.
            author: As in all writes.
            from_messages: The ids of the messages that the model was answering.
            read_only: As in tools(): nothing is written.
            may_clear: As in tools(): ``clear_working_memory`` is run.

        Raises:
            InvalidInputError: There is no such tool.

        One round trip; changes by Anthropic's memory tool take two, and one more with an operation_id.
        """
    def anthropic_tool(self) -> Any:
        """
        Return Anthropic's memory tool on this memory, for ``tools=`` of the SDK's ``beta.messages.tool_runner()``.

        It needs the package ``anthropic``.
        """
    def instructions(self) -> str:
        """Return what a model is to do with the memory, for its instructions. Nothing of its content is in it."""
    def as_message(self) -> Message | None:
        """
        Return the memory as a message for a model; None if there is none.

        Put it after the system's messages, before the others. It has the role "user": a model that obeys what stands in
        its system message must not find there what others have written down. The text is quoted, escaped, and marked as
        data. Do not store the message.
        """

class UserConversations:
    """
    A query for one user's conversations, built step by step, in any order; each step returns a new object.

    ``for conversation in builder`` iterates over all of them in batches; ``builder.execute()`` returns a list.
    """
    def limit(self, count: int | None) -> Self:
        """Return a builder that returns at most *count* conversations; None: all, 0: none."""
    def offset(self, count: int) -> Self:
        """Return a builder that skips *count* conversations."""
    def order_by(self, field: OrderBy = "updated_at", direction: OrderDirection = "DESC") -> Self:
        """Return a builder with another order. InvalidQueryError if the field or the direction is invalid."""
    def resource(self, resource_id: str | None) -> Self:
        """Return a builder for the conversations with one agent or project; None: with any."""
    def execute(self) -> list[Conversation]:
        """Return the conversations. One round trip."""
    def __iter__(self) -> Iterator[Conversation]: ...

class UserStorage:
    """The same verbs for one user, without a user_id: ``ada = storage.for_user("ada")``."""
    def session(self) -> AbstractContextManager[Connection]:
        """
        Run the application's own SQL in a transaction that sees this user's rows of voltmem's tables only.

        ::

            with storage.for_user("ada").session() as connection:
                connection.fetch("SELECT id, title FROM voltagent_memory_conversations")  # ada's only

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
    @property
    def user_id(self) -> str:
        """The user."""
    def transaction(self) -> AbstractContextManager[UserStorage]:
        """Run all calls of the block in one transaction: committed at its end, rolled back if it raises."""
    def create_conversation(self, conversation: ConversationLike) -> Conversation:
        """Create a conversation. Returns it as stored. user_id is optional."""
    def ensure_conversation(self, conversation: ConversationLike) -> Conversation:
        """Create a conversation unless its id exists. Returns the existing or the new one. user_id is optional."""
    def get_conversation(self, conversation_id: str) -> Conversation | None:
        """
        Return the conversation if it is this user's; None if it does not exist or is another user's.

        VoltAgent: ``getUserConversation`` (which fetches it first and compares the user afterwards).
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
    def merge_conversation_metadata(self, conversation_id: str, metadata: Mapping[str, JsonValue]) -> Conversation:
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
    def delete_conversation(self, conversation_id: str) -> bool:
        """
        Delete a conversation and its messages for good. Returns whether there was one.

        Also deletes a conversation that soft_delete_conversation() deleted.

        Args:
            conversation_id: The conversation.

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
    def count_conversations(self, *, resource_id: str | None = None) -> int:
        """
        Return the number of conversations that match the filters; without filters, of all.

        Reads every row that it counts. VoltAgent: ``countConversations``.
        """
    def get_paginated_conversations(self, page: int = 1, page_size: int = 10) -> ConversationPage:
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

        ``storage.get_user_conversations("ada").limit(20).order_by("title", "ASC")``

        VoltAgent: ``getUserConversations``.
        """
    def get_last_conversation(self, *, resource_id: str | None = None) -> Conversation | None:
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
    def add_message(
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
    def add_messages(
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
    def merge_message_metadata(
        self, metadata: Mapping[str, JsonValue], conversation_id: str, message_id: str
    ) -> Message:
        """
        Change the given fields of a message's metadata, and nothing else of the message. Returns it as stored.

        For what is said about a message, such as feedback:
        ``storage.merge_message_metadata({"feedback": {"type": "positive"}}, "ada", "c1", "m1")``

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
    def get_message(self, conversation_id: str, message_id: str, *, include_archived: bool = False) -> Message | None:
        """
        Return the message with this id, or None.

        Args:
            conversation_id: The conversation.
            message_id: The message.
            include_archived: Also one that the storage limit archived (on_limit="archive").
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
    def count_messages(
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
    def rewind_conversation(self, conversation_id: str, message_id: str) -> int:
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
    def delete_messages(self, ids: Sequence[str], conversation_id: str) -> int:
        """
        Delete messages of a conversation. Returns how many were deleted, archived ones included.

        Args:
            ids: Their ids. Ids that the conversation does not have are ignored; an empty list sends nothing.
            conversation_id: The conversation. Where VoltAgent lets several users write in it, it may be another's, of
                which the user's own messages are deleted.

        VoltAgent: ``deleteMessages``.
        """
    def clear_messages(self, conversation_id: str | None = None) -> int:
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
    def get_working_memory(self, *, scope: MemoryScope, conversation_id: str | None = None) -> str | None:
        """
        Return the working memory of a user or of a conversation; None if there is none.

        Args:
            scope: "user" or "conversation": whose memory.
            conversation_id: The conversation, for the scope "conversation".

        VoltAgent: ``getWorkingMemory``, which checks no owner.
        """
    def set_working_memory(
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
    def delete_working_memory(self, *, scope: MemoryScope, conversation_id: str | None = None) -> bool:
        """
        Delete the working memory of a user or of a conversation. Returns whether there was one. Its history stays.

        Args:
            scope: "user" or "conversation": whose memory.
            conversation_id: The conversation, for the scope "conversation".

        VoltAgent: ``deleteWorkingMemory``.
        """
    def branch_conversation(self, conversation_id: str, message_id: str | None) -> None:
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
    def choose_branch(self, conversation_id: str, message_id: str) -> str:
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
    def list_branches(self, conversation_id: str) -> list[BranchingPoint]:
        """
        Return the branching points of a conversation, oldest first, with the messages that follow each.

        A chat shows "2 / 3" beside each message that one of them holds. A conversation without branches has none, and
        so has one that does not exist or is not the owner's.

        Args:
            conversation_id: The conversation.

        Reads the messages that are set aside, by the index ``{prefix}_messages_in_line``.
        """
    def list_siblings(self, conversation_id: str, message_id: str) -> list[Message]:
        """
        Return the messages that follow the same message as this one, itself included, in the order of adding.

        Args:
            conversation_id: The conversation. If it does not exist or is not the owner's, the list is empty.
            message_id: The message. If the conversation does not have it, the list is empty.

        Reads the messages that are set aside, like list_branches().
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
    def get_conversation_item(self, conversation_id: str) -> ConversationItem:
        """Return one conversation of the sidebar. Args and errors as in rename_conversation()."""
    def rename_conversation(self, conversation_id: str, title: str, *, automatic: bool = False) -> ConversationItem:
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
    def pin_conversation(self, conversation_id: str, pinned: bool = True) -> ConversationItem:
        """Pin or unpin a conversation. Returns it. Args and errors as in rename_conversation()."""
    def archive_conversation(self, conversation_id: str, archived: bool = True) -> ConversationItem:
        """Archive or unarchive a conversation. Returns it. Args and errors as in rename_conversation()."""
    def tag_conversation(self, conversation_id: str, tags: Sequence[str]) -> ConversationItem:
        """Replace the tags of a conversation. Returns it. Args and errors as in rename_conversation()."""
    def mark_conversation_read(self, conversation_id: str, *, at: datetime | None = None) -> ConversationItem:
        """
        Mark a conversation as read, up to its last message or up to *at*. Returns it.

        The mark never moves back. Args and errors as in rename_conversation().
        """
    def soft_delete_conversation(self, conversation_id: str) -> ConversationItem:
        """
        Delete a conversation so that it can be restored. Returns it.

        Only the verbs about deleted conversations find it from now on. Its messages stay stored until it is purged, and
        its id stays taken. Args and errors as in rename_conversation().
        """
    def restore_conversation(self, conversation_id: str) -> ConversationItem:
        """
        Undo a soft delete. Returns the conversation, which is in its former place in the list again.

        Raises:
            ConversationNotFoundError: There is none with this id, deleted or not, or it is not the owner's.
        """
    def list_deleted_conversations(self, *, limit: int | None = None) -> list[ConversationItem]:
        """
        Return a user's soft-deleted conversations, last deleted first.

        Args:
            limit: The maximum number; None: all.

        Reads all of the user's conversations.
        """
    def purge_deleted_conversations(
        self, *, older_than: timedelta | None = None, conversation_id: str | None = None
    ) -> int:
        """
        Delete soft-deleted conversations and their messages for good. Returns how many conversations.

        Args:
            older_than: Only those that were deleted at least this long ago; None: all.
            conversation_id: Only this one; None: all.
        """
    def list_tags(self) -> list[TagCount]:
        """
        Return the tags of a user's conversations, in the order of their characters, with the number of conversations.

        Reads all of the user's conversations.
        """
    def replace_tag(
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
    def prune(
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

            storage.prune(ANY_USER, older_than=timedelta(days=365), runs=True)  # in a nightly task
            storage.prune("ada", older_than=timedelta(days=30), keep_last=20)

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
    def forget(self, message_ids: Sequence[str], conversation_id: str | None = None) -> Forgotten:
        """
        Delete messages of a user with all that was derived from them. Returns how much it was, and what remembers them.

        ::

            done = storage.forget("ada", ["m1", "m2"])
            for each in done.memory:  # what an agent has written down of it is yours to change
                memory = storage.working_memory("ada", each.conversation_id)
                print(each.version, memory.get())

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
    def fork_conversation(
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
    def search(
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
    def recall(
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
    def watch(self, *, poll_interval: float = 2.0) -> Generator[Change]:
        """
        Return an iterator over the changes of a user's conversations and working memories, made in any process.

        ::

            for change in storage.watch("ada"):
                if change.kind == "ready":
                    show(storage.list_conversations("ada"))
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
    def delete_history_entry(self, key: str) -> bool:
        """
        Delete an entry with its steps and timeline events. Returns whether there was one.

        Args:
            key: The id of the entry. If its run is still under way, the end of record_run() does not create it again.

        A run without a user is nobody's, so only trusted code deletes it.
        """
    def put_file(self, content: FileContent, *, size: int | None = None) -> StoredFile:
        """
        Store a file of a user. Returns it; ``.url`` is its address for messages.

        ::

            file = storage.put_file("ada", open("cat.png", "rb"))
            picture = {"type": "file", "mediaType": "image/png", "filename": "cat.png", "url": file.url}
            storage.add_message({"role": "user", "content": [picture]}, "ada", "c1")

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
    def get_file(self, file_id: str) -> StoredFile | None:
        """
        Return a file of a user, without its content; None if the user has none with this id.

        Args:
            file_id: The id, without "voltmem:file/".
        """
    def read_file(self, file_id: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """
        Return the content of a file, or a range of it: yields pieces of at most 256 KiB.

        ::

            for piece in storage.read_file("ada", file.id):
                response.write(piece)

        Args:
            file_id: The id, without "voltmem:file/".
            start: The first byte, counted from 0.
            end: The byte after the last one; None, or a number beyond the size: to the end.

        Raises:
            StoredFileNotFoundError: The user has no file with this id, or it was deleted meanwhile.

        One round trip for each piece; only the pieces of the range are read. No connection is held in between, so a
        client that reads slowly delays nobody.
        """
    def delete_file(self, file_id: str) -> bool:
        """
        Delete a file to which no message refers. Returns whether it was deleted.

        Args:
            file_id: The id, without "voltmem:file/".

        False if the user has no such file, or if a message refers to it: one that is removed from a message that is
        being written may be part of another one, since equal contents are one file. A file that is in use is deleted
        with the last message that refers to it.
        """
    def purge_unused_files(self, *, older_than: timedelta = ...) -> int:
        """
        Delete the files to which no message refers, and uploads that were cut off. Returns how many.

        Args:
            older_than: Only those that were stored at least this long ago.

        put_file() deletes some old ones of the same user, too. A file that gets a message at the same moment stays.
        One round trip for each thousand files; for everybody's, one more, and with Citus one more for each user.
        """
    def share_conversation(self, conversation_id: str, *, up_to: str | None = None) -> Share:
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
    def list_shares(self, *, conversation_id: str | None = None) -> list[Share]:
        """
        Return the links to a user's conversations, or to one of them, newest first; without deleted conversations.

        Reads all of the user's conversations, or the one.
        """
    def revoke_share(self, token: str) -> bool:
        """
        Revoke a public link, also one to a deleted conversation. Returns whether there was one.

        Args:
            token: The token of the link.
        """
    def lease(self, conversation_id: str, purpose: str, *, seconds: float = 15.0) -> AbstractContextManager[HeldLease]:
        """
        Do a block of work that only one process does at a time, under a lease that is renewed until the block ends.

        ::

            with storage.lease("ada", "c1", "title") as lease:
                title = model.title(...)
                with storage.transaction() as tx:
                    tx.confirm_lease("ada", "c1", "title", lease.fencing_token)
                    tx.update_conversation("c1", title=title)

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
    def get_lease(self, conversation_id: str, purpose: str) -> Lease | None:
        """Return the lease for this purpose; None if nobody has it, or there is no such conversation."""
    def stop_lease(self, conversation_id: str, purpose: str) -> bool:
        """
        Ask whoever has a lease to end the work. Returns whether somebody has it.

        The holder is told when it renews the lease: with lease(), after a third of its time at most.
        """
    def confirm_lease(self, conversation_id: str, purpose: str, fencing_token: int) -> Lease:
        """
        Make sure, in a transaction, that all of it is stored under a lease, or nothing.

        ::

            with storage.transaction() as tx:
                tx.confirm_lease("ada", "c1", "answer", lease.fencing_token)
                tx.add_message(answer, "ada", "c1")

        Nobody else takes the lease until the transaction ends; call it first. Returns the lease.

        Raises:
            LeaseLostError: It has ended, so somebody else may have it.
            InvalidInputError: It was called outside of a transaction, where it protects nothing.
        """
    def export_user(self) -> Iterator[str]:
        """
        Export everything stored of a user: yields lines of JSON, each with its line end.

        ::

            with open("ada.jsonl", "w", encoding="utf-8") as file:
                for line in storage.export_user("ada"):
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
    def import_user(self, lines: Lines, *, shortest_id: int = 0) -> ImportResult:
        """
        Import the lines of an export for a user. Returns a summary.

        Args:
            lines: An open file, a list, or an iterator of lines: strings, or bytes in UTF-8.
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
    def import_conversations(self, conversations: ImportedConversations) -> ImportResult:
        """
        Import conversations from another program for a user. Returns a summary.

        ::

            conversations = from_chatgpt(Path("export.zip"))
            result = storage.import_conversations("ada", conversations)

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
    def delete_user(self) -> int:
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
    def get_usage(self) -> Usage:
        """
        Count what is stored for a user, as the option ``quotas`` counts it.

        Recorded runs, links and the payloads of frameworks do not count. One round trip, which reads the index entries
        of all messages of the user.
        """

class Storage:
    """The common base of PostgresStorage and BoundStorage: every verb, and narrower scopes."""
    @property
    def asynchronous(self) -> voltmem.Storage:
        """The asynchronous storage, for objects that run() and submit() use: it works in this storage's event loop."""
    def run(self, work: Callable[[voltmem.Storage], Awaitable[T]]) -> T:
        """
        Run asynchronous code with the asynchronous storage, in the storage's event loop. Returns its result.

        ::

            async def newest(storage: voltmem.Storage) -> list[Message]:
                return await storage.get_messages("ada", "c1", limit=1)

            storage.run(newest)

        Args:
            work: Called with the asynchronous storage, in its event loop; its result, any awaitable, is awaited.

        Raises:
            InvalidInputError: *work* is not callable, or its result cannot be awaited.
        """
    def submit(self, work: Callable[[voltmem.Storage], Awaitable[T]]) -> Future[T]:
        """
        Do as run(), without waiting. Returns a future; cancelling it cancels the work.

        On an event loop, ``await asyncio.wrap_future(storage.submit(work))`` waits for it.
        """
    def import_user(self, user_id: str, lines: Lines, *, shortest_id: int = 0) -> ImportResult:
        """
        Import the lines of an export for a user. Returns a summary.

        Args:
            user_id: The user who will own everything. The exported user is ignored.
            lines: An open file, a list, or an iterator of lines: strings, or bytes in UTF-8.
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
    def import_conversations(self, user_id: str, conversations: ImportedConversations) -> ImportResult:
        """
        Import conversations from another program for a user. Returns a summary.

        ::

            conversations = from_chatgpt(Path("export.zip"))
            result = storage.import_conversations("ada", conversations)

        Args:
            user_id: The user who owns them from now on.
            conversations: From ``voltmem.importers``, or your own.

        A conversation without messages is skipped; so is what an importer passes on as Skipped, with its reason. The
        summary counts what importers left out of the conversations that were stored. If read_at is not given the
        conversation counts as read; None means never read. The rest is as in import_user(): one transaction each,
        existing conversations are skipped, ids that are taken are replaced, and nothing is deleted.

        A newer export of ChatGPT's adds the new messages of a conversation that was imported before, with their
        branches. Messages that were deleted here stay deleted. The line follows ChatGPT's until somebody adds a message
        here or chooses another branch; then the new messages are in a branch of their own.
        """
    def export_user(self, user_id: str) -> Iterator[str]:
        """
        Export everything stored of a user: yields lines of JSON, each with its line end.

        ::

            with open("ada.jsonl", "w", encoding="utf-8") as file:
                for line in storage.export_user("ada"):
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
    def prune(
        self,
        user_id: Owner,
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

            storage.prune(ANY_USER, older_than=timedelta(days=365), runs=True)  # in a nightly task
            storage.prune("ada", older_than=timedelta(days=30), keep_last=20)

        Pinned conversations are no exception. Files, links and payloads go with what they belong to; files that no
        message uses any more are deleted by purge_unused_files(). So do VoltAgent's vectors of the messages, and its
        steps that quote them; its states of workflows stay. Soft-deleted conversations stay: see
        purge_deleted_conversations().

        Args:
            user_id: Only this user's, also in others' conversations (see VoltAgent), which stay. ANY_USER: all users'.
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
    def forget(self, user_id: str, message_ids: Sequence[str], conversation_id: str | None = None) -> Forgotten:
        """
        Delete messages of a user with all that was derived from them. Returns how much it was, and what remembers them.

        ::

            done = storage.forget("ada", ["m1", "m2"])
            for each in done.memory:  # what an agent has written down of it is yours to change
                memory = storage.working_memory("ada", each.conversation_id)
                print(each.version, memory.get())

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
    def get_usage(self, user_id: str) -> Usage:
        """
        Count what is stored for a user, as the option ``quotas`` counts it.

        Recorded runs, links and the payloads of frameworks do not count. One round trip, which reads the index entries
        of all messages of the user.
        """
    def delete_user(self, user_id: str) -> int:
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
    def put_file(self, user_id: str, content: FileContent, *, size: int | None = None) -> StoredFile:
        """
        Store a file of a user. Returns it; ``.url`` is its address for messages.

        ::

            file = storage.put_file("ada", open("cat.png", "rb"))
            picture = {"type": "file", "mediaType": "image/png", "filename": "cat.png", "url": file.url}
            storage.add_message({"role": "user", "content": [picture]}, "ada", "c1")

        Args:
            user_id: Its owner. Only messages of the user's conversations can refer to it.
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
    def get_file(self, user_id: str, file_id: str) -> StoredFile | None:
        """
        Return a file of a user, without its content; None if the user has none with this id.

        Args:
            user_id: The owner. Another user's file is None, even with its id.
            file_id: The id, without "voltmem:file/".
        """
    def read_file(self, user_id: str, file_id: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """
        Return the content of a file, or a range of it: yields pieces of at most 256 KiB.

        ::

            for piece in storage.read_file("ada", file.id):
                response.write(piece)

        Args:
            user_id: The owner.
            file_id: The id, without "voltmem:file/".
            start: The first byte, counted from 0.
            end: The byte after the last one; None, or a number beyond the size: to the end.

        Raises:
            StoredFileNotFoundError: The user has no file with this id, or it was deleted meanwhile.

        One round trip for each piece; only the pieces of the range are read. No connection is held in between, so a
        client that reads slowly delays nobody.
        """
    def delete_file(self, user_id: str, file_id: str) -> bool:
        """
        Delete a file to which no message refers. Returns whether it was deleted.

        Args:
            user_id: The owner.
            file_id: The id, without "voltmem:file/".

        False if the user has no such file, or if a message refers to it: one that is removed from a message that is
        being written may be part of another one, since equal contents are one file. A file that is in use is deleted
        with the last message that refers to it.
        """
    def purge_unused_files(self, user_id: Owner = ..., *, older_than: timedelta = ...) -> int:
        """
        Delete the files to which no message refers, and uploads that were cut off. Returns how many.

        Args:
            user_id: Only this user's; ANY_USER: all users', for a cleanup task, once a day or more often.
            older_than: Only those that were stored at least this long ago.

        put_file() deletes some old ones of the same user, too. A file that gets a message at the same moment stays.
        One round trip for each thousand files; for everybody's, one more, and with Citus one more for each user.
        """
    def watch(self, user_id: str, *, poll_interval: float = 2.0) -> Generator[Change]:
        """
        Return an iterator over the changes of a user's conversations and working memories, made in any process.

        ::

            for change in storage.watch("ada"):
                if change.kind == "ready":
                    show(storage.list_conversations("ada"))
                elif change.conversation is not None:
                    show_again(change.conversation)

        The first change is "ready": list the conversations then; no change after it is missed. Changes found by one
        query come in order of activity, deletions first, and those of working memories last. The iterator ends when the
        storage is closed; like any other, it can be left with break.

        Args:
            user_id: The user.
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
    def get_lease(self, user_id: str, conversation_id: str, purpose: str) -> Lease | None:
        """Return the lease for this purpose; None if nobody has it, or there is no such conversation."""
    def stop_lease(self, user_id: str, conversation_id: str, purpose: str) -> bool:
        """
        Ask whoever has a lease to end the work. Returns whether somebody has it.

        The holder is told when it renews the lease: with lease(), after a third of its time at most.
        """
    def confirm_lease(self, user_id: str, conversation_id: str, purpose: str, fencing_token: int) -> Lease:
        """
        Make sure, in a transaction, that all of it is stored under a lease, or nothing.

        ::

            with storage.transaction() as tx:
                tx.confirm_lease("ada", "c1", "answer", lease.fencing_token)
                tx.add_message(answer, "ada", "c1")

        Nobody else takes the lease until the transaction ends; call it first. Returns the lease.

        Raises:
            LeaseLostError: It has ended, so somebody else may have it.
            InvalidInputError: It was called outside of a transaction, where it protects nothing.
        """
    def lease(
        self, user_id: str, conversation_id: str, purpose: str, *, seconds: float = 15.0
    ) -> AbstractContextManager[HeldLease]:
        """
        Do a block of work that only one process does at a time, under a lease that is renewed until the block ends.

        ::

            with storage.lease("ada", "c1", "title") as lease:
                title = model.title(...)
                with storage.transaction() as tx:
                    tx.confirm_lease("ada", "c1", "title", lease.fencing_token)
                    tx.update_conversation("c1", title=title)

        It is renewed at each third of its time. If that fails until it has ended, the block is cancelled. In
        ``voltmem.sync``, the block goes on, and raises at its end.

        Args:
            user_id: The owner of the conversation.
            conversation_id: The conversation.
            purpose: What the lease is for. Leases for other purposes are independent of it.
            seconds: How long it lasts if this process dies; at most 3,600.

        Raises:
            LeaseHeldError: Somebody else has it.
            LeaseLostError: It could not be renewed, or the conversation was deleted. The block was cancelled.
            ConversationNotFoundError: There is no such conversation, or it belongs to somebody else.
        """
    def share_conversation(self, conversation_id: str, *, up_to: str | None = None, owner: Owner = ...) -> Share:
        """
        Create a public, read-only link to a conversation. Returns it.

        The link shows the messages up to now; later ones are not shown, nor an answer of the chat that is still written
        or waits for approval.

        Args:
            conversation_id: The conversation. It may have any number of links.
            up_to: The id of the last message to show; None: the newest.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            MessageNotFoundError: It has no such message, or the storage limit archived it.

        A link is not a copy: it shows later edits and deletions of messages. It is revoked when the conversation is
        given to another user. Creating it reads the whole conversation.
        """
    def get_shared_conversation(
        self, token: str, *, limit: int = 100, after: str | None = None
    ) -> SharedConversation | None:
        """
        Return the title of a shared conversation and one page of its messages, oldest first.

        No user is needed: the token gives access. Only the text of the user's and the assistant's messages is returned,
        the pages that they name as sources, and their pictures and other files: by address, or named in the text where
        a message has the bytes itself. There are no system messages, tools, reasoning or metadata, and no ids except
        those of messages and files. Files: get_shared_file(), read_shared_file().

        Args:
            token: The token of the link. None is returned for an unknown token, a revoked link and a deleted
                conversation alike.
            limit: The maximum number of messages. Messages without text or files are left out, so there may be fewer.
            after: The next_cursor of the page before.

        Raises:
            InvalidQueryError: The cursor is malformed, or the limit is below 1.

        Uses the index ``{prefix}_messages_in_line``; each page is read from its first message on.
        """
    def get_shared_file(self, token: str, file_id: str) -> StoredFile | None:
        """
        Return a file that a shared conversation shows, without its content; None if it shows no such file.

        No user is needed: the token gives access, to the files in the messages that get_shared_conversation() returns.

        Args:
            token: The token of the link.
            file_id: The id, without "voltmem:file/".
        """
    def read_shared_file(self, token: str, file_id: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """
        Return the content of a file that a shared conversation shows: yields pieces of at most 256 KiB.

        Args:
            token: The token of the link.
            file_id: The id, without "voltmem:file/".
            start: The first byte, counted from 0.
            end: The byte after the last one; None, or a number beyond the size: to the end.

        Raises:
            StoredFileNotFoundError: The conversation shows no such file, or it was deleted meanwhile.

        One round trip for each piece, and one before. No connection is held in between.
        """
    def list_shares(self, user_id: str, *, conversation_id: str | None = None) -> list[Share]:
        """
        Return the links to a user's conversations, or to one of them, newest first; without deleted conversations.

        Reads all of the user's conversations, or the one.
        """
    def revoke_share(self, token: str, *, owner: Owner = ...) -> bool:
        """
        Revoke a public link, also one to a deleted conversation. Returns whether there was one.

        Args:
            token: The token of the link.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.
        """
    def embed_messages(self, limit: int | None = None) -> int:
        """
        Embed the messages that have no vectors yet, or of whose text they no longer are. Returns how many.

        Call it regularly, in any number of processes: each message is embedded by one of them. If it is stopped, or
        raises, call it again. What a killed process had begun is taken by another one after ten minutes.

        Args:
            limit: Embed at most so many; None: all.

        Raises:
            InvalidOptionError: The storage was created without recall=Recall(…).
            EmbeddingError: *embed* refused some messages, which .refused names; all others are embedded. Or it
                returned something else than a vector for each text.
            SchemaError: The database has no extension vector, or the table of vectors is missing.

        If *embed* raises, its texts are passed again by halves, so that only those that it refuses stay without. If
        it does not work for any text, what it raises is raised. It is called outside of any transaction.
        """
    def count_embeddings(self) -> dict[str, int]:
        """
        Return how many messages have vectors, by model.

        The names are those of Recall.key: vectors of another model, dimension or length of pieces cannot be compared.
        """
    def forget_embeddings(self, model: str) -> int:
        """
        Remove the vectors of a model, in batches, when another one has taken its place. Returns of how many messages.

        Args:
            model: A name of count_embeddings().
        """
    def recall(
        self,
        user_id: str,
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
            user_id: The user. Only this user's conversations are read.
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
    def search(
        self,
        user_id: str,
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
            user_id: The user. Only this user's conversations are searched.
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
    def index_messages(self) -> int:
        """
        Index the messages that were stored without search=True, by VoltAgent too, or replaced by it. Returns how many.

        In batches, each in a transaction of its own, while others read and write. If it is stopped, call it again.
        """
    def forget_words(self) -> int:
        """Remove all messages from the index, in batches, to turn the search off. Returns how many."""
    def fork_conversation(
        self, conversation_id: str, *, up_to: str | None = None, id: str | None = None, owner: Owner = ...
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
    def branch_conversation(self, conversation_id: str, message_id: str | None, *, owner: Owner = ...) -> None:
        """
        Begin a branch after a message: set the messages after it aside. Nothing is deleted.

        To regenerate an answer and keep the old one, branch after the question. To edit a question and keep the old
        one, branch after the message before it, and add the edited one with an id of its own. The messages that are set
        aside leave every reader's view, until choose_branch() brings them back. rewind_conversation() deletes them.

        Args:
            conversation_id: The conversation.
            message_id: The last message that stays, from any branch; None: none stays.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            MessageNotFoundError: It has no such message.
        """
    def choose_branch(self, conversation_id: str, message_id: str, *, owner: Owner = ...) -> str:
        """
        Choose the branch of a message for all readers, up to its newest message. Returns the id of that message.

        The messages before it come with it; the branch that was chosen until now is set aside. A message of the chosen
        branch changes nothing.

        Args:
            conversation_id: The conversation.
            message_id: The message, most often one of list_siblings().
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            MessageNotFoundError: It has no such message.
        """
    def list_branches(self, conversation_id: str, *, owner: Owner = ...) -> list[BranchingPoint]:
        """
        Return the branching points of a conversation, oldest first, with the messages that follow each.

        A chat shows "2 / 3" beside each message that one of them holds. A conversation without branches has none, and
        so has one that does not exist or is not the owner's.

        Args:
            conversation_id: The conversation.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.

        Reads the messages that are set aside, by the index ``{prefix}_messages_in_line``.
        """
    def list_siblings(self, conversation_id: str, message_id: str, *, owner: Owner = ...) -> list[Message]:
        """
        Return the messages that follow the same message as this one, itself included, in the order of adding.

        Args:
            conversation_id: The conversation. If it does not exist or is not the owner's, the list is empty.
            message_id: The message. If the conversation does not have it, the list is empty.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.

        Reads the messages that are set aside, like list_branches().
        """
    def list_tags(self, user_id: str) -> list[TagCount]:
        """
        Return the tags of a user's conversations, in the order of their characters, with the number of conversations.

        Reads all of the user's conversations.
        """
    def replace_tag(
        self, user_id: str, tag: str | None, by: str | None, *, conversation_ids: Sequence[str] | None = None
    ) -> list[str]:
        """
        Replace a tag of a user's conversations, archived and soft-deleted ones included. Returns the ids changed.

        Args:
            user_id: The user.
            tag: The tag to remove; None: only add *by*, to those that don't have it.
            by: The tag to put in its place; None: only remove *tag*.
            conversation_ids: Only among these, which *tag=None* needs; None: all that have the tag.

        One statement for all. No conversation changes its place in the list.
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
        active_before: datetime | None = None,
    ) -> ConversationList:
        """
        Return one page of a user's sidebar: pinned conversations first, then the others, each last active first.

        Args:
            user_id: The user.
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
    def get_conversation_item(self, conversation_id: str, *, owner: Owner = ...) -> ConversationItem:
        """Return one conversation of the sidebar. Args and errors as in rename_conversation()."""
    def rename_conversation(
        self, conversation_id: str, title: str, *, automatic: bool = False, owner: Owner = ...
    ) -> ConversationItem:
        """
        Rename a conversation. Returns it; its place in the list does not change, as with every mark.

        Args:
            conversation_id: The conversation.
            title: The new title.
            automatic: Whether a model made the title. Such a title never replaces one that a person or the application
                gave.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
        """
    def pin_conversation(self, conversation_id: str, pinned: bool = True, *, owner: Owner = ...) -> ConversationItem:
        """Pin or unpin a conversation. Returns it. Args and errors as in rename_conversation()."""
    def archive_conversation(
        self, conversation_id: str, archived: bool = True, *, owner: Owner = ...
    ) -> ConversationItem:
        """Archive or unarchive a conversation. Returns it. Args and errors as in rename_conversation()."""
    def tag_conversation(self, conversation_id: str, tags: Sequence[str], *, owner: Owner = ...) -> ConversationItem:
        """Replace the tags of a conversation. Returns it. Args and errors as in rename_conversation()."""
    def mark_conversation_read(
        self, conversation_id: str, *, at: datetime | None = None, owner: Owner = ...
    ) -> ConversationItem:
        """
        Mark a conversation as read, up to its last message or up to *at*. Returns it.

        The mark never moves back. Args and errors as in rename_conversation().
        """
    def soft_delete_conversation(self, conversation_id: str, *, owner: Owner = ...) -> ConversationItem:
        """
        Delete a conversation so that it can be restored. Returns it.

        Only the verbs about deleted conversations find it from now on. Its messages stay stored until it is purged, and
        its id stays taken. Args and errors as in rename_conversation().
        """
    def restore_conversation(self, conversation_id: str, *, owner: Owner = ...) -> ConversationItem:
        """
        Undo a soft delete. Returns the conversation, which is in its former place in the list again.

        Raises:
            ConversationNotFoundError: There is none with this id, deleted or not, or it is not the owner's.
        """
    def list_deleted_conversations(self, user_id: str, *, limit: int | None = None) -> list[ConversationItem]:
        """
        Return a user's soft-deleted conversations, last deleted first.

        Args:
            user_id: The user.
            limit: The maximum number; None: all.

        Reads all of the user's conversations.
        """
    def purge_deleted_conversations(
        self, user_id: Owner = ..., *, older_than: timedelta | None = None, conversation_id: str | None = None
    ) -> int:
        """
        Delete soft-deleted conversations and their messages for good. Returns how many conversations.

        Args:
            user_id: Only this user's; ANY_USER: all users', for a cleanup task.
            older_than: Only those that were deleted at least this long ago; None: all.
            conversation_id: Only this one; None: all.
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
        self, key: str, value: AgentHistoryEntry | Mapping[str, object], agent_id: str, *, create: bool = False
    ) -> AgentHistoryEntry:
        """
        Update the given fields of an entry. Returns it as stored, without its steps and events.

        Args:
            key: The id of the entry.
            value: A dict of the fields to change (None clears a field), or a model, of which only the fields that
                were set count. An id, an agent, steps and events in it are ignored.
            agent_id: The agent whose run it is from now on.
            create: Whether a missing entry is created, as in VoltAgent. Not for the end of a run: its user may have
                been deleted meanwhile, and must not come back with it.

        Raises:
            HistoryEntryNotFoundError: There is no such entry, and *create* is false.
            InvalidInputError: A field is unknown or has the wrong type.

        VoltAgent: ``updateHistoryEntry`` (which creates a missing entry, and clears the fields that are not given).
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
    def delete_history_entry(self, key: str, *, owner: Owner = ...) -> bool:
        """
        Delete an entry with its steps and timeline events. Returns whether there was one.

        Args:
            key: The id of the entry. If its run is still under way, the end of record_run() does not create it again.
            owner: Only if the run is this user's; ANY_USER: no check, for trusted code.

        A run without a user is nobody's, so only trusted code deletes it.
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
        end cannot be written then, that is only logged. A run that was deleted meanwhile, for example with its user, is
        not created again: HistoryEntryNotFoundError.

        Args:
            agent_id: The agent whose run it is.
            input: What the agent was asked: any JSON value.
            user_id: The user for whom it runs; None: the owner of the conversation, if it is there, else nobody.
            conversation_id: The conversation that it runs in. It need not be stored here.
            metadata: Any JSON value; the block may set another.
            id: The key of the entry; an existing entry is replaced. None: a UUIDv7.

        Raises:
            InvalidInputError: An argument cannot be stored. Nothing was sent.

        One round trip for the start, for each step, and for each event's start and end; one for the end, two after an
        error. If the surrounding transaction is rolled back, nothing of the run remains.
        """
    def get_working_memory(
        self, *, scope: MemoryScope, user_id: Owner = ..., conversation_id: str | None = None
    ) -> str | None:
        """
        Return the working memory of a user or of a conversation; None if there is none.

        Args:
            scope: "user" or "conversation": whose memory.
            user_id: The user. For a conversation: only if it is this user's; ANY_USER: no check, for trusted code.
            conversation_id: The conversation, for the scope "conversation".

        VoltAgent: ``getWorkingMemory``, which checks no owner.
        """
    def set_working_memory(
        self, content: str, *, scope: MemoryScope, user_id: Owner = ..., conversation_id: str | None = None
    ) -> WorkingMemory:
        """
        Replace the working memory of a user or of a conversation. Returns it as stored.

        The handle of working_memory() has more: it appends and merges, and replaces only the version that was read.

        Args:
            content: The text.
            scope: "user" or "conversation": whose memory.
            user_id: The user. For a conversation: only if it is this user's; ANY_USER: no check, for trusted code.
            conversation_id: The conversation, for the scope "conversation".

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the user's.
            InvalidInputError: The content is empty, or has more than 100,000 bytes.

        VoltAgent: ``setWorkingMemory``.
        """
    def delete_working_memory(
        self, *, scope: MemoryScope, user_id: Owner = ..., conversation_id: str | None = None
    ) -> bool:
        """
        Delete the working memory of a user or of a conversation. Returns whether there was one. Its history stays.

        Args:
            scope: "user" or "conversation": whose memory.
            user_id: The user. For a conversation: only if it is this user's; ANY_USER: no check, for trusted code.
            conversation_id: The conversation, for the scope "conversation".

        VoltAgent: ``deleteWorkingMemory``.
        """
    def add_message(
        self,
        message: MessageLike,
        user_id: Owner,
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
            user_id: The owner of the conversation; ANY_USER: no check, for trusted code.
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
    def add_messages(
        self,
        messages: Iterable[MessageLike],
        user_id: Owner,
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
    def merge_message_metadata(
        self, metadata: Mapping[str, JsonValue], user_id: Owner, conversation_id: str, message_id: str
    ) -> Message:
        """
        Change the given fields of a message's metadata, and nothing else of the message. Returns it as stored.

        For what is said about a message, such as feedback:
        ``storage.merge_message_metadata({"feedback": {"type": "positive"}}, "ada", "c1", "m1")``

        Args:
            metadata: A JSON Merge Patch (RFC 7396): a dict is merged into the one of the same name, None removes the
                field, and any other value replaces it. Of two concurrent calls with different fields, neither is lost.
            user_id: The owner of the conversation; ANY_USER: no check, for trusted code.
            conversation_id: The conversation. It stays in its place in the sidebar; watchers see an "updated".
            message_id: The message, which may be archived.

        Raises:
            ConversationNotFoundError: The conversation does not exist, is deleted, or is another user's.
            MessageNotFoundError: It has no such message.
            InvalidInputError: The metadata cannot be stored.

        Adding the message again replaces its metadata. One round trip.
        """
    def delete_messages(self, ids: Sequence[str], user_id: Owner, conversation_id: str) -> int:
        """
        Delete messages of a conversation. Returns how many were deleted, archived ones included.

        Args:
            ids: Their ids. Ids that the conversation does not have are ignored; an empty list sends nothing.
            user_id: The owner; nothing of another user's is deleted. ANY_USER: no check, for trusted code.
            conversation_id: The conversation. Where VoltAgent lets several users write in it, it may be another's, of
                which the user's own messages are deleted.

        VoltAgent: ``deleteMessages``.
        """
    def rewind_conversation(self, conversation_id: str, message_id: str, *, owner: Owner = ...) -> int:
        """
        Delete the messages after a message. Returns how many were deleted, archived ones included.

        To regenerate an answer, rewind to the question. To edit the question, store it again with its id, then rewind
        to it. Messages that the storage limit archived (on_limit="archive") are restored, up to the limit.

        Args:
            conversation_id: The conversation.
            message_id: The last message to keep.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            MessageNotFoundError: It has no such message. Nothing was deleted.
        """
    def clear_messages(self, user_id: Owner, conversation_id: str | None = None) -> int:
        """
        Delete the messages of a conversation, or of all of a user's. Returns how many; the conversations stay.

        Args:
            user_id: The owner. ANY_USER, only with a conversation_id: no check, for trusted code.
            conversation_id: Only this conversation's messages, as in delete_messages(); None: those of all of the
                user's conversations.

        Archived messages are deleted and counted, too.

        VoltAgent: ``clearMessages``.
        """
    def get_message(
        self, user_id: Owner, conversation_id: str, message_id: str, *, include_archived: bool = False
    ) -> Message | None:
        """
        Return the message with this id, or None.

        Args:
            user_id: The owner; in another user's conversation there is none. ANY_USER: no check, for trusted code.
            conversation_id: The conversation.
            message_id: The message.
            include_archived: Also one that the storage limit archived (on_limit="archive").
        """
    def count_messages(
        self,
        user_id: Owner,
        conversation_id: str,
        *,
        roles: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        include_archived: bool = False,
    ) -> int:
        """
        Return the number of messages of a conversation.

        Args:
            user_id: The owner; of another user's conversation it is 0. ANY_USER: no check, for trusted code.
            conversation_id: The conversation. If it does not exist, the number is 0.
            roles: Only messages with these roles; an empty list: none.
            types: Only messages of these types; an empty list: none.
            include_archived: Also messages that the storage limit archived (on_limit="archive").

        Reads every row that it counts.
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
        Return the newest messages of a conversation, oldest first.

        Args:
            user_id: The owner; another user's conversation gives an empty list. ANY_USER: no check, for trusted code.
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
        Return the oldest messages of a conversation, oldest first.

        Args:
            conversation_id: The conversation. If it does not exist, the list is empty.
            limit: The maximum number; None: all, 0: none.
            offset: How many to skip.
            before: Only messages before this time, or before the message with this id.
            after: Only messages after this time, or after the message with this id, to page forwards.
            include_archived: Also messages that the storage limit archived (on_limit="archive"). Sorts the whole
                conversation.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.

        VoltAgent: ``getConversationMessages``.
        """
    def create_conversation(self, conversation: ConversationLike) -> Conversation:
        """
        Create a conversation. Returns it as stored.

        Args:
            conversation: A model or a dict in either spelling. Only user_id is required. The default id is a UUIDv7,
                the default times are the database's current time.

        Raises:
            ConversationExistsError: A conversation with this id exists: any user's, or a soft-deleted one.
            InvalidInputError: A field is missing, unknown or has the wrong type, or a time is more than a day ahead.
            OutcomeUnknownError: The connection broke before the answer. ensure_conversation() can be repeated safely.

        VoltAgent: ``createConversation``.
        """
    def ensure_conversation(self, conversation: ConversationLike) -> Conversation:
        """
        Create a conversation unless its id exists. Returns the existing one, unchanged, or the new one.

        Atomic: of any number of concurrent callers, one creates it and all get it.

        Raises:
            ConversationNotFoundError: The conversation with this id is another user's, or was soft-deleted.
            InvalidInputError: A field is missing, unknown or has the wrong type, or a time is more than a day ahead.
        """
    def get_conversation(self, conversation_id: str) -> Conversation | None:
        """
        Return the conversation with this id, of any user, or None.

        For trusted code: get_user_conversation() and for_user() check the owner. VoltAgent: ``getConversation``.
        """
    def get_user_conversation(self, conversation_id: str, user_id: str) -> Conversation | None:
        """
        Return the conversation if it is this user's; None if it does not exist or is another user's.

        VoltAgent: ``getUserConversation`` (which fetches it first and compares the user afterwards).
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
        Update the given fields of a conversation. Returns it as stored.

        Args:
            conversation_id: The conversation.
            title: The new title; None clears it.
            metadata: The new metadata, which replaces the old; None empties it. merge_conversation_metadata() changes
                single fields.
            resource_id: The agent or project to move it to.
            user_id: The user to give it to. Its links are revoked.
            touch: Whether updated_at becomes now; False keeps its place in the sidebar.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            InvalidInputError: A value has the wrong type.

        VoltAgent: ``updateConversation``.
        """
    def merge_conversation_metadata(
        self, conversation_id: str, metadata: Mapping[str, JsonValue], *, owner: Owner = ...
    ) -> Conversation:
        """
        Change the given fields of a conversation's metadata. Returns it as stored, in its place in the sidebar.

        Args:
            conversation_id: The conversation.
            metadata: A JSON Merge Patch (RFC 7396): a dict is merged into the one of the same name, None removes the
                field, and any other value replaces it. Of two concurrent calls with different fields, neither is lost.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            InvalidInputError: The metadata cannot be stored.

        update_conversation() replaces the metadata.
        """
    def delete_conversation(self, conversation_id: str, *, owner: Owner = ...) -> bool:
        """
        Delete a conversation and its messages for good. Returns whether there was one.

        Also deletes a conversation that soft_delete_conversation() deleted.

        Args:
            conversation_id: The conversation.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        VoltAgent: ``deleteConversation``.
        """
    def get_conversations(self, resource_id: str) -> list[Conversation]:
        """
        Return all conversations of a resource, newest first by creation.

        Uses the index ``{prefix}_conversations_by_resource``. VoltAgent: ``getConversations``.
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
        Return a user's conversations; by default, last active first.

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
        Return the conversations that match the filters.

        Args:
            user_id: Only this user's; ANY_USER: all users', for trusted code.
            resource_id: Only those with this agent or project.
            limit: The maximum number; None: all, 0: none.
            offset: How many to skip. The database reads the skipped rows, too.
            order_by: "created_at", "updated_at" or "title"; conversations without a title come last.
            order_direction: "ASC" or "DESC", upper or lower case. Ties are broken by id, in the same direction.

        Raises:
            InvalidQueryError: An argument is invalid. No SQL was run.

        VoltAgent: ``queryConversations``.
        """
    def count_conversations(self, *, user_id: Owner = ..., resource_id: str | None = None) -> int:
        """
        Return the number of conversations that match the filters; without filters, of all.

        Reads every row that it counts. VoltAgent: ``countConversations``.
        """
    def get_paginated_user_conversations(self, user_id: str, page: int = 1, page_size: int = 10) -> ConversationPage:
        """
        Return one page of a user's conversations, last active first.

        Args:
            user_id: The user.
            page: The page number, from 1.
            page_size: The rows of a full page, at least 1.

        No COUNT: one row more than the page is read for has_more. VoltAgent: ``getPaginatedUserConversations``.
        """
    def get_last_conversation(self, user_id: str, *, resource_id: str | None = None) -> Conversation | None:
        """
        Return the user's last active conversation, or None.

        Args:
            user_id: The user.
            resource_id: Only with this agent or project.

        Agno: ``get_all_session_ids(user)[0]`` (which is the last created).
        """
    def get_user_conversations(self, user_id: str) -> UserConversations:
        """
        Return a query builder for a user's conversations; by default all of them, last active first.

        ``storage.get_user_conversations("ada").limit(20).order_by("title", "ASC")``

        VoltAgent: ``getUserConversations``.
        """
    def transaction(self) -> AbstractContextManager[BoundStorage]:
        """
        Run all calls of the block in one transaction: committed at its end, rolled back if it raises.

        ::

            with storage.transaction() as tx:
                tx.create_conversation({"id": "c1", "user_id": "ada"})
                tx.add_messages([...], "ada", "c1")
                tx.connection.execute("INSERT INTO invoices …")  # the application's own, in the same transaction

        Uses one connection of the pool for the whole block. Within another transaction, it is a savepoint.

        Raises:
            OutcomeUnknownError: The connection broke during the commit.
        """
    def conversation(
        self,
        user_id: str,
        conversation_id: str | None = None,
        *,
        resource_id: str = "default",
        compact_when: CompactWhen | None = None,
    ) -> ConversationMemory:
        """
        Return a handle on one conversation, for an agent to keep as its memory.

        Args:
            user_id: Its owner.
            conversation_id: The conversation; None: a new one, with a UUIDv7.
            resource_id: The agent or project, if the first write creates the conversation.
            compact_when: When to summarise what is old, beside the conversation; None: only compact() does.
        """
    def working_memory(
        self,
        user_id: str,
        conversation_id: str | None = None,
        *,
        template: str | None = None,
        schema: MemorySchema | None = None,
        max_bytes: int = 100000,
        author: str | None = None,
    ) -> WorkingMemoryHandle:
        """
        Return a handle on the working memory of a user, or of one of the user's conversations.

        Args:
            user_id: The user.
            conversation_id: The conversation, if the memory is that of a conversation.
            template: What the text looks like before anything is filled in, in Markdown. It is never stored in place of
                what was filled in.
            schema: A pydantic model, if the memory is JSON: what does not fit it is refused.
            max_bytes: How large the text may become, in UTF-8.
            author: Who writes through this handle, such as the name of the agent; each call can say otherwise.
        """
    def for_user(self, user_id: str) -> UserStorage:
        """
        Return a view of the storage for one user: the same verbs without user_id, for this user's data only.

        Pass it to code that works for a signed-in user. To the view, another user's conversation does not exist.
        """

class BoundStorage(Storage):
    """The storage in ``with storage.transaction() as tx``. One thread at a time may use it."""
    @property
    def connection(self) -> Connection:
        """The connection, for the application's own statements in the same transaction."""

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

    Create one for the whole program: any number of threads may share it, and each call waits in its own thread. The
    connections belong to one thread with an event loop, which the first call starts. A forked process gets its own with
    its first call.
    It is closed at the end of the program, or when it is garbage-collected; close() does it earlier.

    The arguments are those of ``voltmem.PostgresStorage``, without pool, and its errors. Every verb also raises:

        EventLoopError: The thread runs an event loop, which the call would block. In a notebook it may.
    """
    def __init__(
        self,
        connection: str | ConnectionOptions | Mapping[str, object] | None = None,
        *,
        max_connections: int = 10,
        table_prefix: str = "voltagent_memory",
        storage_limit: int | Unset | None = ...,
        on_limit: OnLimit = "delete",
        schema: str = "public",
        migrate: Migrate = "auto",
        search: bool = False,
        count_tokens: bool = False,
        files: KeepFiles = "inline",
        recall: Recall | None = None,
        quotas: Quotas | None = None,
        debug: bool = False,
        connect_timeout: float = 5.0,
        command_timeout: float = 10.0,
        retry_timeout: float = 40.0,
    ) -> None: ...
    @property
    def asynchronous(self) -> voltmem.PostgresStorage:
        """The asynchronous storage, for objects that run() and submit() use: it works in this storage's event loop."""
    def run(self, work: Callable[[voltmem.PostgresStorage], Awaitable[T]]) -> T:
        """Do as Storage.run(), with the asynchronous PostgresStorage."""
    def submit(self, work: Callable[[voltmem.PostgresStorage], Awaitable[T]]) -> Future[T]:
        """Do as Storage.submit(), with the asynchronous PostgresStorage."""
    def close(self) -> None:
        """
        Close the pool after the running calls have ended, and end the thread. May be repeated.

        Iterators of watch() end. The embedded server stops if nothing else uses it. open() opens the storage again.
        """
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def open(self) -> None:
        """
        Open the pool and prepare the tables now, not on the first call. Reopens the storage after close().

        Raises:
            ConnectionFailedError: No server could be reached within retry_timeout, or the login was refused.
            DatabaseError: The database has another encoding than UTF8.
            SchemaError: Citus distributes the tables, and the storage has *quotas*.
            SchemaNotReadyError: Migrations are missing, with migrate="check".
            MigrationError: A migration failed and was rolled back.

        Costs one round trip, besides connecting, if the schema is current.
        """
    def upgrade_schema(self, *, citus: bool = False) -> list[str]:
        """
        Apply the missing migrations, whatever the option *migrate* is. Returns their names.

        Args:
            citus: Whether to distribute the tables afterwards, on the coordinator of a cluster of Citus. Returns the
                names of the tables that were distributed, too. Writers wait for it.

        The list is empty if the schema is current. Any number of processes may call it at the same time. Agno:
        ``upgrade_schema``.

        Raises:
            MigrationError: A migration failed and was rolled back, or its file was edited after it was released.
            DatabaseError: The role may not create tables (SQLSTATE 42501).
            SchemaError: *citus* was given, and there is no Citus, or not its coordinator, or the storage has *quotas*.
                Nothing was changed.
        """
    def schema_status(self) -> SchemaStatus:
        """
        Return every migration, in order, with the time when it was applied, or None if it is missing.

        Its attribute ``citus`` says whether the tables are distributed: "absent", "local" or "distributed".

        Changes nothing, whatever the option *migrate* is. ``python -m voltmem status`` prints it.
        """
    def health(self, *, timeout: float = 2.0) -> Health:
        """
        Return what works now: reading, writing, migrations, privileges, the pool. For readiness probes and support.

        Errors of the database are problems of the result, and are not raised. Nothing is retried, opened or changed,
        whatever the options *migrate* and *retry_timeout* are. One round trip, if the storage is open and the tables
        exist.

        Args:
            timeout: Seconds for all of it, with the wait for a connection.
        """
    def check(self, *, read_files: bool = False) -> list[Finding]:
        """
        Look for what is wrong in all stored data. Returns a finding for each broken rule; an empty list is good.

        The rules: every reference leads to a row, the order of messages is total, branches are whole, texts and words
        are those of the contents, files are complete and used, and no key, index, trigger or function is missing. If a
        storage_limit was given, no conversation has more messages; if it is None, the parent of each message is there.
        Nothing is changed, whatever the option *migrate* is.

        Args:
            read_files: Whether to read the bytes of all files as well, and compare them with their ids.

        Raises:
            SchemaNotReadyError: Migrations are missing.
            SchemaError: Citus distributes the tables.

        Reads all rows, page by page, each page in a read-only transaction of its own. Others may write meanwhile. A
        standby can be checked, too. A statement may take an hour, whatever *command_timeout* is. ``python -m voltmem
        check`` prints it.
        """
    def migrate_conversation_schema(
        self,
        *,
        create_backup: bool = True,
        restore_from_backup: bool = False,
        delete_backup_after_success: bool = False,
    ) -> MigrationResult:
        """
        Convert tables of VoltAgent 0.1.0 to conversations with a user, or restore their backup. Returns a summary.

        The user_id moves from the messages to their conversation. If several users wrote in a conversation, the first
        writer keeps it with its id; the messages of each other user move to a new conversation of that user, with an id
        derived from the conversation and the user, without title and metadata. Conversations without messages get the
        user ``"default"``. Conversations that exist only in their messages are created. With migrate="auto", the first
        use of the storage does this, with a backup. Tables that are already converted are left unchanged.

        Args:
            create_backup: Whether to copy both tables first, to ``{prefix}_conversations_backup`` and
                ``{prefix}_messages_backup``. An existing backup is an error; it is never overwritten.
            restore_from_backup: Replace the tables by the backup instead. Everything written since is lost; privileges
                on the tables are kept. Opening with migrate="auto" converts the tables again.
            delete_backup_after_success: Whether to drop the new backup after checking that no message was lost.

        One transaction in the server, a million messages in under a minute; only the list of split conversations is
        sent to the client. Writers wait for all of it, readers only for its end, while each conversation gets its user.
        If it fails, it is rolled back and the result's ``error`` says why; only errors of connecting are raised.

        VoltAgent: ``migrateConversationSchema`` (which works row by row, and gives a conversation of several users
        to the first one that it reads).
        """
