"""An agent's memory: a handle on one conversation of one user."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, Self, TypeVar

from voltmem._agents.compact_when import CompactWhen, background_of, compact_if_due, is_answer
from voltmem._agents.compaction import KEEP_TURNS, Summarize, check_summarize, compact
from voltmem._agents.files import with_files
from voltmem._agents.reading import WindowReader
from voltmem._agents.seen import Seen
from voltmem._agents.windows import exchanges
from voltmem._areas.area import access
from voltmem._areas.deleted_users import Elapsed, hash_of_user
from voltmem._areas.files import FileStatements
from voltmem._areas.messages import Messages, MessageStatements, one_message
from voltmem._areas.queries import CONVERSATION_NAMES, require_found
from voltmem._areas.quotas import room
from voltmem._areas.shown import was_said
from voltmem._areas.summaries import Summary, read_range
from voltmem._areas.window_query import WindowQuery
from voltmem._repr import safe_repr
from voltmem._tables import Tables
from voltmem._values import UNSET, Unset, check_count, check_flag, check_id, check_text, check_user, uuid7
from voltmem.errors import ConversationNotFoundError, InvalidInputError
from voltmem.models import Conversation, Message, MessageLike, messages_of
from voltmem.options import DEFAULT_RESOURCE_ID, Window
from voltmem.tokens import CountTokens, Encoding

_ALL: Final = 2**31
MessageT = TypeVar("MessageT", bound=Message)


class MemoryStatements:
    """The statements whose text does not depend on the arguments."""

    def __init__(self, tables: Tables) -> None:
        # $5 NULL: for a conversation that has been seen, and is not created again.
        self.title = f"""
            SELECT user_deleted_at, is_deleted, {CONVERSATION_NAMES}
            FROM {tables.ensure_conversation}($1, $2, $5, $3, '{{}}', NULL, NULL, true, $4, $6, $7)
            {room(tables, "ARRAY[$2]", before="WHERE ", conversations="is_new")}"""


class ConversationMemory(WindowReader):
    """
    One conversation of one user, as an agent's memory: ``storage.conversation("ada", "c1")`` returns it.

    ::

        memory = storage.conversation("ada", "c1")
        await memory.add({"role": "user", "content": "Hello"})
        answer = await model(await memory.messages(limit=20))
        await memory.add({"role": "assistant", "content": answer})

    The first write creates the conversation. What the handle has seen and others have deleted for good is not created
    again: the write raises ConversationNotFoundError, or MessageNotFoundError for a message that the handle has added.
    Nor is the conversation of a user who was deleted since the handle was made, so make a handle for each run.
    If the conversation is another user's, every method raises ConversationNotFoundError, also those that read. Creating
    a handle does no I/O and there is nothing to close. Each method is one round trip.
    """

    def __init__(
        self,
        storage: Messages,
        user_id: str,
        conversation_id: str | None = None,
        *,
        resource_id: str = DEFAULT_RESOURCE_ID,
        compact_when: CompactWhen | None = None,
    ) -> None:
        check_user("user_id", user_id, "a conversation belongs to one user")
        check_id(resource_id=resource_id)
        self._storage = storage
        self._access = access(storage)
        self._user_id = user_id
        self._id = uuid7() if conversation_id is None else conversation_id
        self._resource_id = resource_id
        self._seen = Seen()
        self._compact_when = compact_when
        self._background = background_of(storage, compact_when)
        check_id(conversation_id=self._id)

    @classmethod
    def of(cls, memory: ConversationMemory, storage: Messages | None = None) -> Self:
        """
        Return a memory of this class for the same conversation. What one of them has seen, both have.

        Args:
            memory: The other memory.
            storage: Another storage, such as a transaction of the memory's; None: the memory's.
        """
        twin = cls(storage or memory._storage, memory._user_id, memory._id, resource_id=memory._resource_id)
        twin._seen = memory._seen
        twin._compact_when, twin._background = memory._compact_when, memory._background
        return twin

    @property
    def conversation_id(self) -> str:
        """The id of the conversation; a UUIDv7 if none was given."""
        return self._id

    @property
    def user_id(self) -> str:
        """The owner of the conversation."""
        return self._user_id

    @property
    def resource_id(self) -> str:
        """The agent or project, if this handle creates the conversation."""
        return self._resource_id

    @safe_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id!r} of {self._user_id!r} in {self._storage!r}>"

    # --- reading ----------------------------------------------------------------------------------------------

    async def messages(
        self,
        *,
        limit: int | Unset | None = UNSET,
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
        window = Window(limit=limit, turns=turns, tokens=tokens, count=count, shorten_results=shorten_results)
        if recall is None:
            return await self._window(Message.from_row, **window)
        return await self._with_recalled(Message.from_row, lambda quote: quote, recall, window)

    async def exchanges(self, limit: int | None = None) -> list[tuple[Message, Message]]:
        """
        Return pairs of a user's message and its answer, newest last.

        The answer is the assistant's last message before the user's next one. Messages without an answer are left out.

        Args:
            limit: The maximum number of pairs; None: all, 0: none.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
        query = WindowQuery(self._id, self._user_id, exchanges=limit if limit is not None else _ALL)
        _, spoken = await self._read(Message.from_row, query)
        return exchanges(spoken) if limit != 0 else []

    async def with_files(self, messages: Sequence[MessageT]) -> list[MessageT]:
        """
        Return the messages with the bytes of stored files in them, for a model, which cannot read "voltmem:file/…".

        ::

            history = await memory.with_files(await memory.messages(limit=20))
            answer = await client.chat.completions.create(model=model, messages=to_openai(history))

        Each address of a file of the user's becomes a data: URL, in tools' results as well. The address of a file that
        is not there stays; a provider is told its name. Do not store the messages again: the bytes would be stored in
        them.

        One round trip, none without files; all the files are in memory.
        """
        sql = self._access.sql(FileStatements)
        return await with_files(self._access.executor, sql, self._user_id, self._id, messages)

    # --- writing ----------------------------------------------------------------------------------------------

    async def add(self, message: MessageLike) -> Message:
        """
        Add a message, or replace the one with its id. Returns it as stored.

        Raises:
            ConversationNotFoundError: The conversation is another user's, or deleted; or it does not exist yet, and the
                user was deleted since the handle was made. Nothing was stored.
            MessageNotFoundError: This handle has stored a message with this id, and it was deleted. Nothing was stored.
            InvalidInputError: A field is missing, unknown, or cannot be stored; or the message is what a window begins
                with: a summary, or a quote of what was recalled.
        """
        known = self._known([message])
        one = one_message(message)
        if not was_said(one):
            raise InvalidInputError("the message is what a model was shown, and nobody has said it: do not store it")
        (stored,) = await self._append([one], known)
        return stored

    async def add_turn(self, messages: Iterable[MessageLike]) -> list[Message]:
        """
        Add messages: all, or none and an error. Returns them as stored. Errors as in add().

        Readers never see a tool call without its results if you add them together. What this process has shown a model
        beside the messages, a summary or a quote of what was recalled, is left out if it is given back.
        """
        if isinstance(messages, Iterator):
            messages = list(messages)  # it is read twice
        known = self._known(messages)
        return await self._append(messages_of(messages), known)

    async def _append(self, messages: list[Message], known: Collection[str]) -> list[Message]:
        where = self._user_id, self._id, self._creates()
        said = [each for each in messages if was_said(each)]
        stored = await self._storage._append(said, *where, known, self._seen.began_at)
        if stored:
            self._seen.add(stored, self._access.options.storage_limit)
            self._compact_beside(stored[-1])
        return stored

    def _compact_beside(self, last: Message) -> None:
        """Begin to compact the conversation in the background, if it is to be, after an answer."""
        rule, where = self._compact_when, (self._user_id, self._id)
        if rule is not None and self._background is not None and is_answer(last):
            work = partial(compact_if_due, self._access, *where, rule)
            self._background.begin(where, "summarise a conversation", work)

    def _creates(self) -> str | None:
        """Return the resource_id with which a write creates the conversation; None: it must exist."""
        return None if self._seen.conversation else self._resource_id

    def _known(self, messages: object) -> list[str]:
        """Return the ids of these messages that this handle has stored before."""
        if not self._seen.messages or not isinstance(messages, Iterable):
            return []
        ids = (each.get("id") if isinstance(each, Mapping) else getattr(each, "id", None) for each in messages)
        return [id for id in ids if isinstance(id, str) and id in self._seen.messages]

    def _run(self) -> tuple[str, Elapsed]:
        """Return the arguments of deleted_since() for the run of this handle."""
        return hash_of_user(self._access.options.tables, self._user_id), Elapsed(self._seen.began_at)

    def _check_user_exists(self, user_deleted_at: object) -> None:
        """Raise ConversationNotFoundError unless deleted_since() returned None."""
        if user_deleted_at is not None:
            raise ConversationNotFoundError(self._id, self._user_id, is_user_deleted=True)

    def _check_owner(self, owner: str | None) -> None:
        """Raise ConversationNotFoundError for another user's conversation. Owner None: it does not exist."""
        if owner not in (None, self._user_id):
            raise ConversationNotFoundError(self._id, self._user_id)
        self._seen.conversation |= owner is not None

    # --- summaries --------------------------------------------------------------------------------------------

    async def compact(self, summarize: Summarize, *, keep_turns: int = KEEP_TURNS) -> Summary | None:
        """
        Summarise what is older than the last turns. Returns the summary, with which windows begin from now on.

        ::

            async def summarize(messages: list[Message], before: str | None) -> str: ...

            await memory.compact(summarize)

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
        check_summarize(summarize)
        check_count("keep_turns", keep_turns, minimum=1)
        found = await read_range(self._access, self._user_id, self._id)
        self._check_owner(found.owner)
        return await compact(self._access, self._user_id, self._id, found, summarize, keep_turns)

    # --- deleting, and the title ------------------------------------------------------------------------------

    async def clear(self) -> int:
        """
        Delete all messages. Returns how many, archived ones included; the conversation stays.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
        statement = self._access.sql(MessageStatements).clear
        row = await self._access.executor.fetchrow(statement, self._id, self._user_id, repeatable=False)
        self._check_owner(row["owner"] if row is not None and not row["is_deleted"] else None)
        self._seen.messages.clear()
        return 0 if row is None else row["dropped"] or 0

    async def title(self, title: str, *, if_unset: bool = False) -> Conversation:
        """
        Set the title of the conversation. Returns the conversation; its place in the sidebar does not change.

        Args:
            title: The title.
            if_unset: Whether to keep an existing title; for titles that a model makes.

        Raises:
            ConversationNotFoundError: The conversation is another user's, or deleted; or as in add().
        """
        check_text(title=title)
        check_flag("if_unset", if_unset)
        resource_id = None if self._seen.conversation else self._resource_id
        arguments = (self._id, self._user_id, title, if_unset, resource_id, *self._run())
        row = await self._access.executor.fetchrow(self._access.sql(MemoryStatements).title, *arguments)
        user_deleted_at, *found = row or (None,)
        self._check_user_exists(user_deleted_at)
        stored = Conversation.from_row(require_found(found or None, self._id, self._user_id))
        self._seen.conversation = True
        return stored
