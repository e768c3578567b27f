"""Recording an agent's run while it happens: an entry at its start, steps and events, its status at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Final

from pydantic import JsonValue

from voltmem._areas.area import async_context
from voltmem._areas.history.entries import AgentHistory
from voltmem._areas.history.models import AgentHistoryStep, TimelineEvent
from voltmem._postgres.driver import logger
from voltmem._repr import safe_repr
from voltmem._values import check_id, check_id_or_none, check_texts, json_value, now, uuid7

# The innermost event that is open in this context. Tasks inherit it from the code that starts them.
_around: Final[ContextVar[RunEvent | None]] = ContextVar("voltmem_run_event", default=None)


class _Recorder:
    """Checks and copies a value when it is set, so that writing it at the end cannot fail."""

    output: JsonValue = None
    """The result; written at the end."""
    metadata: JsonValue = None
    """The application's own; written at the start and at the end."""

    def __setattr__(self, name: str, value: object) -> None:
        is_json = name in ("output", "usage", "metadata")
        super().__setattr__(name, json_value(value, name) if is_json else value)


class AgentRun(_Recorder):
    """A run that is being recorded: ``async with storage.record_run("agent-1") as run``."""

    id: str
    """The key of its entry: ``get_history_entry(run.id)``."""
    agent_id: str
    """The agent whose run it is."""
    usage: JsonValue = None
    """The token usage; written at the end."""

    def __init__(self, history: AgentHistory, id: str, agent_id: str) -> None:
        self._history = history
        self._is_stored = False
        self.id = id
        self.agent_id = agent_id

    @safe_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r} of {self.agent_id!r}>"

    async def add_step(
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
        fields = {"type": type, "name": name, "content": content, "arguments": arguments}
        given: dict[str, object] = {each: value for each, value in fields.items() if value is not None}
        step = {**given, "timestamp": now().isoformat(), **more}
        return await self._history.add_history_step(uuid7(), step, self.id, self.agent_id)

    async def add_event(
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
        moment = now()
        event: dict[str, object] = {"name": name, "type": type, "status": status, "level": level}
        event |= {
            "start_time": moment,
            "end_time": moment,
            "parent_event_id": self._event_around(),
            "tags": _list(tags),
        }
        event |= {"input": input, "output": output, "error": error, "metadata": metadata}
        return await self._history.add_timeline_event(uuid7(), event, self.id, self.agent_id)

    def event(
        self,
        name: str,
        *,
        type: str = "agent",
        input: JsonValue = None,
        metadata: JsonValue = None,
        tags: Sequence[str] | None = None,
    ) -> AbstractAsyncContextManager[RunEvent]:
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
        event = RunEvent(self, uuid7(), _around.get())
        event.metadata = metadata
        fields: dict[str, object] = {"name": name, "type": type, "input": input, "tags": _list(tags)}
        return event._recorded(fields | {"start_time": now(), "parent_event_id": self._event_around()})

    def _event_around(self) -> str | None:
        """Return the id of the innermost open event of this run. Events of other runs (of sub-agents) are skipped."""
        event = _around.get()
        while event is not None and event.run is not self:
            event = event._outer
        return None if event is None else event.id

    @async_context
    async def _recorded(self, entry: Mapping[str, object]) -> AsyncIterator[AgentRun]:
        async with _with_an_end(self._end):
            await self._history.add_history_entry(self.id, entry, self.agent_id)
            self._is_stored = True
            yield self

    async def _end(self, failure: BaseException | None) -> None:
        fields = {"output": self.output, "usage": self.usage, "metadata": self.metadata}
        given = {name: value for name, value in fields.items() if value is not None}
        end = {**given, "status": _status(failure)}
        # Cancelled while it started, it may be stored or not. Otherwise a missing entry was deleted, and stays deleted.
        await self._history.update_history_entry(self.id, end, self.agent_id, create=not self._is_stored)
        if isinstance(failure, Exception):
            description = _describe_error(failure)
            moment = now()
            event: dict[str, object] = {
                "name": "agent:error",
                "type": "agent",
                "start_time": moment,
                "end_time": moment,
            }
            event |= {"status": "error", "level": "ERROR", "status_message": description, "error": description}
            await self._history.add_timeline_event(uuid7(), event, self.id, self.agent_id)


class RunEvent(_Recorder):
    """An event that is being recorded: ``async with run.event("tool:search") as event``."""

    run: AgentRun
    """The run that it belongs to."""
    id: str
    """Its key in the timeline."""

    def __init__(self, run: AgentRun, id: str, outer: RunEvent | None) -> None:
        self._outer = outer
        self.run = run
        self.id = id

    @safe_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r} of {self.run!r}>"

    @async_context
    async def _recorded(self, fields: Mapping[str, object]) -> AsyncIterator[RunEvent]:
        async with _with_an_end(partial(self._end, fields)):
            await self._put({**fields, "metadata": self.metadata, "status": "running"})
            _around.set(self)
            try:
                yield self
            finally:
                _around.set(self._outer)

    async def _end(self, fields: Mapping[str, object], failure: BaseException | None) -> None:
        end: dict[str, object] = {
            "end_time": now(),
            "status": _status(failure),
            "output": self.output,
            "metadata": self.metadata,
        }
        if isinstance(failure, Exception):
            end |= {"level": "ERROR", "status_message": _describe_error(failure)}
        await self._put({**fields, **end})

    async def _put(self, event: Mapping[str, object]) -> None:
        await self.run._history.add_timeline_event(self.id, event, self.run.id, self.run.agent_id)


class AgentRuns(AgentHistory):
    """The verb that records a run."""

    def record_run(
        self,
        agent_id: str,
        *,
        input: JsonValue = None,
        user_id: str | None = None,
        conversation_id: str | None = None,
        metadata: JsonValue = None,
        id: str | None = None,
    ) -> AbstractAsyncContextManager[AgentRun]:
        """
        Record a run of an agent for as long as the block runs.

        ::

            async with storage.record_run("cook", input="Soup, please") as run:
                async with run.event("tool:search", type="tool", input={"q": "soup"}) as event:
                    event.output = await search("soup")
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
        check_id(agent_id=agent_id)
        check_id_or_none(id=id, user_id=user_id, conversation_id=conversation_id)
        run = AgentRun(self, uuid7() if id is None else id, agent_id)
        run.metadata = metadata
        fields = {"input": json_value(input, "input"), "metadata": run.metadata, "status": "working"}
        return run._recorded({**fields, "user_id": user_id, "conversation_id": conversation_id})


# --- ends that are always written ---------------------------------------------------------------------------------


@asynccontextmanager
async def _with_an_end(end: Callable[[BaseException | None], Coroutine[object, object, None]]) -> AsyncIterator[None]:
    """Call *end* after the block, with its exception or None."""
    try:
        yield
    except BaseException as failure:
        await _to_its_end(partial(end, failure), failure)
        raise
    await _to_its_end(partial(end, None), None)


async def _to_its_end(write: Callable[[], Coroutine[object, object, None]], failure: BaseException | None) -> None:
    """Finish the write even when the task is cancelled. Raises its error unless that would hide the block's."""
    cancelled: asyncio.CancelledError | None = None
    writing = asyncio.create_task(write())
    while not writing.done() or writing.cancelled():
        if writing.cancelled():  # asyncio.run cancels all tasks at its end
            writing = asyncio.create_task(write())
        try:
            await asyncio.wait([writing])
        except asyncio.CancelledError as error:
            cancelled = error
    unwritten = writing.exception()
    if failure is None and cancelled is None and unwritten is not None:
        raise unwritten
    if unwritten is not None:
        logger.error("the end of an agent's run, or of its event, could not be written: %s", unwritten)
    if cancelled is not None and failure is None:
        raise cancelled
    if cancelled is not None and isinstance(failure, Exception):
        # The block's exception is raised; the cancellation arrives at the first await after it.
        asyncio.get_running_loop().call_soon(_cancel_again, asyncio.current_task())


def _cancel_again(task: asyncio.Task[object] | None) -> None:
    if task is not None and task.cancelling():  # otherwise an enclosing timeout has already cleared the request
        task.uncancel()  # counted once
        task.cancel()


def _status(failure: BaseException | None) -> str:
    if failure is None:
        return "completed"
    return "error" if isinstance(failure, Exception) else "cancelled"


def _describe_error(error: Exception) -> dict[str, JsonValue]:
    """Return VoltAgent's statusMessage: the text of the error, and its type as the code."""
    return {"message": str(error), "code": type(error).__name__}


def _list(tags: Sequence[str] | None) -> list[str] | None:
    return None if tags is None else check_texts("tags", tags)
