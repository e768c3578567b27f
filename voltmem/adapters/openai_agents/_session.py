"""The session of OpenAI's Agents SDK: one conversation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import dropwhile
from typing import Any, Final, Generic

from voltmem._agents.compact_when import CompactWhen, background_of
from voltmem._agents.compaction import read_whole, waits
from voltmem._agents.native import NativeMemory
from voltmem._agents.recalled import recall_unseen
from voltmem._areas.area import access, check_storage
from voltmem._areas.moments import quote_moments
from voltmem._areas.summaries import Made, store_summary
from voltmem._repr import safe_repr
from voltmem._values import check_id, check_user, json_value
from voltmem.adapters._working_memory import after_system
from voltmem.adapters.openai_agents._compaction import PLACEHOLDER, Line, Snapshot, asks_for_model, caller
from voltmem.adapters.openai_agents._items import (
    FORMAT,
    begins_run,
    is_of_system,
    is_unreadable,
    items_for_model,
    to_items,
    to_messages,
)
from voltmem.errors import InvalidInputError, MissingExtraError
from voltmem.models import NativeMessage
from voltmem.options import DEFAULT_RESOURCE_ID
from voltmem.storage import Storage

try:
    from agents import RunContextWrapper, SessionSettings, TContext, TResponseInputItem
    from agents.memory.session_settings import coerce_session_settings, resolve_session_limit
    from agents.run_config import CallModelData, ModelInputData
except ImportError as error:
    raise MissingExtraError("openai-agents", "openai-agents") from error

_log = logging.getLogger("voltmem")


_ASKED: Final = "voltmem_asked"


def asked_of(context: RunContextWrapper[Any]) -> list[str] | None:
    """Return the ids of the user's messages that a session has stored last in the run of a context; None: none has."""
    return vars(context.usage).get(_ASKED)


class VoltMemSession(Generic[TContext]):
    """
    A session of the OpenAI Agents SDK: one conversation, with the runner's items stored unchanged.

    Each item is a message of the conversation, which the sidebar and every other framework can read. Messages that
    others have added become items. Another user's conversation raises ConversationNotFoundError before the model is
    called. The constructor does no I/O, and there is nothing to close: create a session for each request, or keep it.

    A conversation that the session has seen and that is deleted for good is not created again: the session's next write
    raises ConversationNotFoundError.

    ``Runner.run_sync`` has its own event loop, the same for each call: give it a storage of its own.

    Args:
        session_id: The conversation's id. The conversation is created on the first write.
        storage: The storage. It may be bound to a transaction.
        user_id: The user of the conversation, or a function that returns the user for a run's context. None, also as
            the function's result, raises InvalidInputError.
        resource_id: The agent or project of a new conversation.
        session_settings: The SDK's settings: ``{"limit": 50}`` passes the newest 50 items to the model.
        compact_when: When to summarise what is old, beside the runs; None: only ``memory.compact()`` does.

    Raises:
        InvalidInputError: An id or the storage is invalid.
    """

    def __init__(
        self,
        session_id: str,
        storage: Storage,
        *,
        user_id: str | Callable[[TContext], str],
        resource_id: str = DEFAULT_RESOURCE_ID,
        session_settings: SessionSettings | dict[str, int | None] | None = None,
        compact_when: CompactWhen | None = None,
    ) -> None:
        check_storage(storage, Storage)
        check_id(session_id=session_id, resource_id=resource_id)
        if not callable(user_id):
            check_user("user_id", user_id, "a session belongs to one user")
        self.session_id = session_id
        self.session_settings: SessionSettings | None = coerce_session_settings(session_settings or {})
        self._storage = storage
        self._user_id = user_id
        self._resource_id = resource_id
        background_of(storage, compact_when)  # checks it
        self._compact_when = compact_when
        self._memory_of: tuple[str, NativeMemory] | None = None
        self._quoted: tuple[tuple[str, str], list[TResponseInputItem]] | None = None
        self._given: datetime | None = None  # the time of the newest message that a model was given
        self._shown: list[str] | None = None  # the ids of the messages that a model is shown
        self._compacting: tuple[Line, list[TResponseInputItem]] | None = None

    @safe_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.session_id!r} in {self._storage!r}>"

    async def get_items(
        self, limit: int | None = None, *, wrapper: RunContextWrapper[TContext] | None = None
    ) -> list[TResponseInputItem]:
        """
        Return the newest items, the oldest of them first.

        Args:
            limit: The maximum number of items, which are returned exactly as stored: the runner compares them with the
                items it has added. None, the limit of session_settings, or that of a run's RunConfig: the items for a
                model, by the rules of to_responses(): without those that providers refuse, and without ids that demand
                a reasoning which may not be there. They begin with a summary of what is older, if ``memory.compact()``
                or OpenAI's compaction session made one.
            wrapper: The run, for a session that takes its user from the run's context. The runner passes it.

        Raises:
            ConversationNotFoundError: The conversation is another user's. A conversation that does not exist yet is
                empty.

        One round trip, two if messages of other front ends show stored files.
        """
        settings = resolve_session_limit(None, self.session_settings)
        most = settings if limit is None else limit
        memory = self._memory(wrapper)
        if limit is not None and limit != settings and not asks_for_model():
            items = to_items(await memory.with_files(await memory.newest_messages(limit)))
            return items[-limit:] if limit else items
        begin, found = await self._window(memory, most)
        self._shown = [message.id for message in found]
        self._given = found[-1].created_at if found else datetime.min.replace(tzinfo=UTC)
        return items_for_model(begin, to_items(await memory.with_files(found)), most)

    async def recalled(self, data: CallModelData[Any]) -> ModelInputData:
        """
        Put what the user's conversations have about the question before what the model is shown, as quoted data, after
        a summary and what else is the system's.

        ::

            config = RunConfig(call_model_input_filter=session.recalled)
            result = await Runner.run(agent, question, session=session, run_config=config)

        The question is the user's last message. What is recalled is not stored, and stays the same while tools run.
        What the model is shown of this conversation anyway is left out.

        Raises:
            InvalidOptionError: The storage was created without search=True, and without recall=Recall(…).
        """
        shown = data.model_data
        asked = next((m.text for m in reversed(to_messages(shown.input)) if m.role == "user"), "")
        wrapper: RunContextWrapper[Any] = RunContextWrapper(data.context)
        question = self._user_of(wrapper), asked
        if self._quoted is None or self._quoted[0] != question or begins_run(shown.input):
            self._quoted = question, await self._quote(asked, wrapper)
        start = after_system(shown.input, is_of_system)
        items = [*shown.input[:start], *self._quoted[1], *shown.input[start:]]
        return ModelInputData(input=items, instructions=shown.instructions)

    async def _quote(self, asked: str, wrapper: RunContextWrapper[Any]) -> list[TResponseInputItem]:
        shown = self._shown
        if shown is None:
            most = resolve_session_limit(None, self.session_settings)
            _, known = await self._window(self._memory(wrapper), most)
            shown = [message.id for message in known]
        of = access(self._storage), self._user_of(wrapper)
        quote = quote_moments(await recall_unseen(*of, asked, self.session_id, shown))
        return [] if quote is None else to_items([NativeMessage.of(quote)])

    async def add_items(
        self, items: Sequence[TResponseInputItem], *, wrapper: RunContextWrapper[TContext] | None = None
    ) -> None:
        """
        Add items to the end of the conversation, all or none.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
            InvalidInputError: An item is not a dict, or has a value that is not JSON.

        One round trip; none for an empty list.
        """
        by = caller()
        if by is None:
            stored = await self._memory(wrapper).add_turn(to_messages(items))
            if self._shown is not None:
                self._shown += [message.id for message in stored]
            if wrapper is not None and (asked := [message.id for message in stored if message.role == "user"]):
                vars(wrapper.usage)[_ASKED] = asked  # the one thing that a run and its calls of tools have in common
        elif by == "replacing":
            await self._replace(items)

    async def pop_item(self, *, wrapper: RunContextWrapper[TContext] | None = None) -> TResponseInputItem | None:
        """
        Delete the newest item. Returns it, or None if there is none.

        Concurrent callers each get a different item. If a message of another framework becomes several items, only the
        last of them is removed. Newer messages that become no item are deleted, too.

        Raises:
            ConversationNotFoundError: The conversation is another user's.

        One transaction.
        """
        async with self._storage.transaction() as tx:
            memory = NativeMemory.of(self._memory(wrapper), tx)
            while (message := await memory.pop()) is not None:
                if items := to_items([message]):
                    await memory.add_turn(rest.stored_at(message.created_at) for rest in to_messages(items[:-1]))
                    return items[-1]
        return None

    async def clear_session(self, *, wrapper: RunContextWrapper[TContext] | None = None) -> None:
        """
        Delete all items but not the conversation. Raises ConversationNotFoundError if it is another user's.

        OpenAI's compaction deletes nothing: what it replaces is not shown to a model any more.
        """
        if caller() is None:
            await self._memory(wrapper).clear()

    def _memory(self, wrapper: RunContextWrapper[TContext] | None) -> NativeMemory:
        # The same for all calls of a run, because it has seen the conversation.
        user_id = self._user_of(wrapper)
        if self._memory_of is None or self._memory_of[0] != user_id:
            memory = NativeMemory(
                self._storage,
                user_id,
                self.session_id,
                resource_id=self._resource_id,
                compact_when=self._compact_when,
            )
            self._memory_of = user_id, memory
        return self._memory_of[1]

    def _user_of(self, wrapper: RunContextWrapper[TContext] | None) -> str:
        if not callable(self._user_id):
            return self._user_id
        if wrapper is None:
            raise InvalidInputError(
                f"session {self.session_id!r} takes its user from a run's context, and this call is in no run: give "
                "wrapper=RunContextWrapper(context), or make a session with the user's id"
            )
        return check_user("the user_id that the session's function returned", self._user_id(wrapper.context))

    # What OpenAI's compaction session looks for in the session that it wraps.

    async def _get_compaction_snapshot(
        self, limit: int, *, prune_prefix: Callable[[TResponseInputItem], bool] | None = None
    ) -> Snapshot:
        """Return the newest items that a model is shown, and the function that replaces some by a summary."""
        line = await self._line()
        # Without an item to compare, the SDK makes no request.
        shown = line.items[max(len(line.items) - limit, 0) :] if line.is_settled else []
        before = len(line.items) - len(shown)

        async def replace_suffix(start: int, output: list[TResponseInputItem]) -> bool:
            kept = line.items[line.heads : before + start]
            return await self._store(line, kept if prune_prefix is None else [*dropwhile(prune_prefix, kept)], output)

        return Snapshot(shown, before == 0, replace_suffix)

    async def _read_compaction_items(self, limit: int | None = None) -> tuple[list[TResponseInputItem], bool]:
        """Return the newest items that a model is shown, and whether these are all, to be replaced afterwards."""
        line = await self._line()
        most = resolve_session_limit(limit, self.session_settings)
        shown = line.items if most is None else line.items[max(len(line.items) - most, 0) :]
        self._compacting = line, line.items[line.heads : len(line.items) - len(shown)]
        return shown, limit is not None and len(shown) < limit

    async def _atomic_replace_items(self, items: Sequence[TResponseInputItem]) -> bool:
        """Store a summary of what was read. Returns True in any case: otherwise the SDK clears the session."""
        await self._replace(items)
        return True

    async def _replace(self, items: Sequence[TResponseInputItem]) -> None:
        line, kept = self._compacting or (await self._line(), [])
        self._compacting = None
        if not await self._store(line, kept, items):
            _log.warning("session %r is not compacted: it has changed, or a call waits for a result", self.session_id)

    async def _window(self, memory: NativeMemory, most: int | None) -> tuple[list[NativeMessage], list[NativeMessage]]:
        """Return what a model's window begins with, and the newest messages after it."""
        begin, found = await memory.newest_after_summary(most, format=FORMAT)
        if not is_unreadable(begin):
            return begin, found
        # It says nothing that a model could be shown, so the messages that it stands for are.
        _log.warning(
            "session %r: the summary %s has no items of OpenAI's and is not used", self.session_id, begin[-1].id
        )
        return await memory.newest_after_summary(most)

    async def _line(self) -> Line:
        memory = self._memory(None)
        of = access(self._storage), self._user_of(None), self.session_id
        part, messages = await read_whole(*of, FORMAT)
        begin, head_id = list[NativeMessage](), part.head_id
        if part.before is not None:
            begin, _ = await self._window(memory, 1)
            if not begin or begin[-1].id != part.before.id:
                # An unreadable one. The new summary takes its place, and stands for what that stood for, too.
                shown, messages = await read_whole(*of, None)
                head_id = shown.head_id
        heads = begin[:-1] if begin else messages[: head_id is not None]
        # The SDK compares with what the model was given, and has answered: that is stored as the model said it.
        count = sum(self._given is None or message.created_at <= self._given for message in messages)
        found = await memory.with_files(messages)
        items = [*items_for_model(begin, to_items(found[:count]), None), *to_items(found[count:])]
        return Line(part, items, len(to_items(heads)), is_settled=not waits(messages))

    async def _store(
        self, line: Line, kept: Sequence[TResponseInputItem], output: Sequence[TResponseInputItem]
    ) -> bool:
        if not (line.is_settled and line.part.messages and output):
            return False
        payload = json_value({"kept": kept, "items": output}, "items")
        made = Made(PLACEHOLDER, format=FORMAT, payload=payload)
        of = access(self._storage), self._user_of(None), self.session_id
        return await store_summary(*of, made, line.part) is not None

    # --- called by the application ----------------------------------------------------------------------------

    async def item_ids(
        self, limit: int | None = None, *, wrapper: RunContextWrapper[TContext] | None = None
    ) -> list[str]:
        """
        Return the message ids of the newest items, the oldest of them first, for ``storage.delete_messages()``.

        Args:
            limit: The maximum number of ids; None: all.
            wrapper: As in get_items().

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
        return [message.id for message in await self._memory(wrapper).newest_messages(limit)]
