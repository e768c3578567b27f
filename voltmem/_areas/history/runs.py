"""An agent's run, recorded while it happens: the entry when it starts, its steps and events, the status at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Final

from pydantic import JsonValue

from voltmem._areas.history.entries import AgentHistory
from voltmem._areas.history.models import AgentHistoryStep, TimelineEvent
from voltmem._postgres.database import logger
from voltmem._values import check_id, check_id_or_none, check_texts, json_value, now, uuid7

# The innermost event around the code that runs: of the run itself, and of the tasks that were started in it.
_around: Final[ContextVar[RunEvent | None]] = ContextVar("voltmem_run_event", default=None)


class _Recorder:
    """Takes nothing but JSON for what is written at the end, and a copy of it: an end must be writable."""

    output: JsonValue = None
    """What came of it; written at the end."""
    metadata: JsonValue = None
    """The application's own; written at the start and at the end."""

    def __setattr__(self, name: str, value: object) -> None:
        is_json = name in ("output", "usage", "metadata")
        super().__setattr__(name, json_value(value, name) if is_json else value)


class AgentRun(_Recorder):
    """What ``async with storage.record_run("agent-1") as run`` gives: the run that is being recorded."""

    id: str
    """The key of its entry: ``get_history_entry(run.id)``."""
    agent_id: str
    """Whose run it is."""
    usage: JsonValue = None
    """What it cost; written at the end."""

    def __init__(self, history: AgentHistory, id: str, agent_id: str) -> None:
        self._history = history
        self.id = id
        self.agent_id = agent_id

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
        Return the step as it was stored, at once.

        Args:
            type: "message", "tool_call", "tool_result", "text", or a name of the application's.
            name: The tool's, or the agent's.
            content: Any JSON value.
            arguments: What a tool is called with.
            more: Fields of the application's own; a timestamp is added, as VoltAgent does.
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
        """Return the event as it was stored, at once: one that has a moment and no length. Args as in event()."""
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
        An event that lasts as long as the block: stored as "running", and again at its end.

        Then it is "completed", or "cancelled", or "error" with what was raised as its status message. What begins
        in the block, in tasks that are started there too, happened in it.

        Args:
            name: What happens: "tool:search".
            type: "agent", "tool", "memory", "retriever", or a name of the application's.
            input: Any JSON value.
            metadata: Any JSON value; the block may set it anew.
            tags: Words to find it by.
        """
        event = RunEvent(self, uuid7(), _around.get())
        event.metadata = metadata
        fields: dict[str, object] = {"name": name, "type": type, "input": input, "tags": _list(tags)}
        return event._recorded(fields | {"start_time": now(), "parent_event_id": self._event_around()})

    async def addStep(
        self,
        type: str,
        *,
        name: str | None = None,
        content: JsonValue = None,
        arguments: JsonValue = None,
        **more: JsonValue,
    ) -> AgentHistoryStep:
        """add_step in VoltAgent's spelling."""
        return await self.add_step(type, name=name, content=content, arguments=arguments, **more)

    async def addEvent(
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
        """add_event in VoltAgent's spelling."""
        return await self.add_event(
            name,
            type=type,
            status=status,
            level=level,
            input=input,
            output=output,
            error=error,
            metadata=metadata,
            tags=tags,
        )

    def _event_around(self) -> str | None:
        """Return the id of the innermost event of this run around; another run's (a sub-agent's) is passed over."""
        event = _around.get()
        while event is not None and event.run is not self:
            event = event._outer
        return None if event is None else event.id

    @asynccontextmanager
    async def _recorded(self, entry: Mapping[str, object]) -> AsyncIterator[AgentRun]:
        async with _with_an_end(self._end):
            await self._history.add_history_entry(self.id, entry, self.agent_id)
            yield self

    async def _end(self, failure: BaseException | None) -> None:
        fields = {"output": self.output, "usage": self.usage, "metadata": self.metadata}
        given = {name: value for name, value in fields.items() if value is not None}
        await self._history.update_history_entry(self.id, {**given, "status": _status(failure)}, self.agent_id)
        if isinstance(failure, Exception):
            told = _told(failure)
            moment = now()
            event: dict[str, object] = {
                "name": "agent:error",
                "type": "agent",
                "start_time": moment,
                "end_time": moment,
            }
            event |= {"status": "error", "level": "ERROR", "status_message": told, "error": told}
            await self._history.add_timeline_event(uuid7(), event, self.id, self.agent_id)


class RunEvent(_Recorder):
    """What ``async with run.event("tool:search") as event`` gives: the event that lasts."""

    run: AgentRun
    """The run that it is an event of."""
    id: str
    """Its key in the timeline."""

    def __init__(self, run: AgentRun, id: str, outer: RunEvent | None) -> None:
        self._outer = outer
        self.run = run
        self.id = id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r} of {self.run!r}>"

    @asynccontextmanager
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
            end |= {"level": "ERROR", "status_message": _told(failure)}
        await self._put({**fields, **end})

    async def _put(self, event: Mapping[str, object]) -> None:
        await self.run._history.add_timeline_event(self.id, event, self.run.id, self.run.agent_id)


class AgentRuns(AgentHistory):
    """The agent history with its recorder."""

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
        A run of an agent, recorded while the block runs: an entry "working" at its start, and its status at its end.

        ::

            async with storage.record_run("cook", input="Soup, please") as run:
                async with run.event("tool:search", type="tool", input={"q": "soup"}) as event:
                    event.output = await search("soup")
                run.output = "Here is a recipe."

        At the end it is "completed"; "error" when the block raises, with an event "agent:error" that tells what; or
        "cancelled". The end is written before a cancellation goes on, and one that comes meanwhile waits for it.
        What the block raises comes out as it is: an end that could not be written then is logged only.

        Args:
            agent_id: Whose run it is.
            input: What the agent was asked: any JSON value.
            user_id: For whom it runs.
            conversation_id: The conversation that it runs in; it need not be stored here.
            metadata: Any JSON value; the block may set it anew.
            id: The key of the entry, one that is there is replaced; None: a UUIDv7.

        Raises:
            InvalidInputError: An argument that cannot be stored, before anything is sent.

        One round trip for the start, each step, and each event's start and end; one for the end, two for an error.
        Within a transaction that is undone, nothing of it remains.
        """
        check_id(agent_id=agent_id)
        check_id_or_none(id=id, user_id=user_id, conversation_id=conversation_id)
        run = AgentRun(self, uuid7() if id is None else id, agent_id)
        run.metadata = metadata
        fields = {"input": json_value(input, "input"), "metadata": run.metadata, "status": "working"}
        return run._recorded({**fields, "user_id": user_id, "conversation_id": conversation_id})


# --- ends that are written whatever happens -----------------------------------------------------------------------


@asynccontextmanager
async def _with_an_end(end: Callable[[BaseException | None], Coroutine[object, object, None]]) -> AsyncIterator[None]:
    """Write the end when the block is over, told what it raised."""
    try:
        yield
    except BaseException as failure:
        await _to_its_end(partial(end, failure), failure)
        raise
    await _to_its_end(partial(end, None), None)


async def _to_its_end(write: Callable[[], Coroutine[object, object, None]], failure: BaseException | None) -> None:
    """Run the write to its end, whoever is cancelled meanwhile, and raise what it raised, unless that would mask."""
    cancelled: asyncio.CancelledError | None = None
    writing = asyncio.create_task(write())
    while not writing.done() or writing.cancelled():
        if writing.cancelled():  # with all tasks, as asyncio.run does at its end
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
        # What the body raised goes out; the cancellation reaches the first await after it.
        asyncio.get_running_loop().call_soon(_cancel_again, asyncio.current_task())


def _cancel_again(task: asyncio.Task[object] | None) -> None:
    if task is not None and task.cancelling():  # else a timeout around has taken it back by now
        task.uncancel()  # counted once
        task.cancel()


def _status(failure: BaseException | None) -> str:
    if failure is None:
        return "completed"
    return "error" if isinstance(failure, Exception) else "cancelled"


def _told(error: Exception) -> dict[str, JsonValue]:
    """Return what VoltAgent's statusMessage has: the error's text, and its type as the code."""
    return {"message": str(error), "code": type(error).__name__}


def _list(tags: Sequence[str] | None) -> list[str] | None:
    return None if tags is None else check_texts("tags", tags)
