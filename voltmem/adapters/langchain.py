"""
LangChain's agents keep their conversations in voltmem: as a middleware, beside a checkpointer or without one.

::

    from langchain.agents import create_agent
    from voltmem.adapters.langchain import VoltMemMiddleware

    agent = create_agent(model, tools, middleware=[VoltMemMiddleware(storage, user_id="ada")])
    config = {"configurable": {"thread_id": "c1"}}  # the conversation
    await agent.ainvoke({"messages": [{"role": "user", "content": "Hello"}]}, config)
    await storage.get_messages("ada", "c1")  # both sides of it; any process continues it

``VoltMemChatMessageHistory`` serves programs that still have LangChain's RunnableWithMessageHistory.

With a ``voltmem.sync.PostgresStorage`` both serve ``invoke()`` and ``stream()``, too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Final, NotRequired, TypeAlias, cast

from pydantic import JsonValue

from voltmem._agents.native import NativeMemory
from voltmem._parts import (
    SYSTEM_ROLES,
    TOOL_CALL,
    TOOL_RESULT,
    ToolCall,
    ToolResult,
    call_part,
    result_part,
    text_part,
    tool_calls,
    tool_results,
)
from voltmem._values import UNSET, Unset, check_id, check_user, json_value, to_json, uuid7
from voltmem.adapters._either import EitherStorage
from voltmem.errors import InvalidInputError, MissingExtraError
from voltmem.models import Message, NativeMessage
from voltmem.options import DEFAULT_RESOURCE_ID
from voltmem.storage import Storage
from voltmem.sync import Storage as BlockingStorage

__all__ = ["FORMAT", "VoltMemChatMessageHistory", "VoltMemMiddleware", "VoltMemState", "to_langchain", "to_native"]

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState
    from langchain.agents.middleware.types import PrivateStateAttr
    from langchain_core.chat_history import BaseChatMessageHistory
    from langchain_core.messages import (
        AIMessage,
        BaseMessage,
        ChatMessage,
        HumanMessage,
        RemoveMessage,
        SystemMessage,
        ToolMessage,
        message_to_dict,
        messages_from_dict,
    )
    from langchain_core.messages import ToolCall as LangChainCall
    from langgraph.config import get_config
    from langgraph.graph.message import REMOVE_ALL_MESSAGES
    from langgraph.runtime import Runtime
    from langgraph.types import Command
except ImportError as error:
    raise MissingExtraError("langchain", "langchain") from error

FORMAT: Final = "langchain"

_log = logging.getLogger("voltmem")

# --- what the framework stores, as our messages and back ------------------------------------------------------------

_ROLES: Final = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "function"}
# Blocks in which providers repeat a call that stands in tool_calls, too.
_CALL_BLOCKS: Final = frozenset({"tool_call", "tool_call_chunk", "invalid_tool_call", "tool_use", "function_call"})
_TEXTS: Final = frozenset({"", "text", "input_text", "output_text"})
# What else LangChain hands to a model, whoever stored it.
_MEDIA: Final = frozenset({"image", "image_url", "audio", "input_audio", "video", "file"})

Said: TypeAlias = str | list[str | dict[Any, Any]]
"""The content of LangChain's messages."""


def to_native(message: BaseMessage) -> NativeMessage:
    """
    Return a message of LangChain's as it is stored: the plain message, and LangChain's own form beside it.

    A message without an id gets one, and keeps it. A tool's artifact can be any object, and no model sees it: it is
    kept if it is JSON; if not, it is left out, and the logger "voltmem" warns.

    Raises:
        InvalidInputError: Anything else in it is no JSON, or it is of a kind that LangChain cannot read again.
    """
    message.id = message.id or uuid7()
    role = _role(message)
    type, content = _plain(message)
    payload = message_to_dict(_without_foreign_artifact(message))
    return NativeMessage.of(
        {"id": message.id, "role": role, "content": content, "type": type, "format": FORMAT, "payload": payload}
    )


def to_langchain(messages: Iterable[NativeMessage]) -> list[BaseMessage]:
    """
    Return stored messages as LangChain's: its own just as they were, others translated from their plain form.

    One with several tool results becomes several. What only the framework that stored it can read, as its reasoning,
    is left out.
    """
    found: list[BaseMessage] = []
    unanswered: list[str] = []
    for message in messages:
        calls = [replace(call, id=call.id or f"{message.id}:{n}") for n, call in enumerate(tool_calls(message))]
        unanswered += [call.id for call in calls]
        # A result that does not say which call it answers, answers the oldest.
        results = [replace(result, id=result.id or (unanswered or [""])[0]) for result in tool_results(message)]
        unanswered = [id for id in unanswered if all(id != result.id for result in results)]
        found += _own(message) if message.format == FORMAT else _translated(message, calls, results)
    return found


def _role(message: BaseMessage) -> str:
    kind = message.type.removesuffix("MessageChunk").lower()
    role = message.role if isinstance(message, ChatMessage) else _ROLES.get(kind)
    if role is None:
        raise InvalidInputError(f"a {type(message).__name__} of type {message.type!r} cannot be stored: leave it out")
    return role


def _plain(message: BaseMessage) -> tuple[str, JsonValue]:
    """Return the type and the content of the plain message."""
    content = cast("str | list[JsonValue]", message.content)
    if isinstance(message, ToolMessage):
        return TOOL_RESULT, [result_part(ToolResult(message.tool_call_id, message.name or "", content))]
    calls = _calls(message)
    if isinstance(content, str) and not calls:
        return "text", content
    parts = [content] if isinstance(content, str) else content
    said: list[JsonValue] = [text_part(part) if isinstance(part, str) else part for part in parts if part]
    if not calls:
        return "text", said
    said = [part for part in said if _type(part) not in _CALL_BLOCKS]
    return TOOL_CALL, [*said, *map(call_part, calls)]


def _calls(message: BaseMessage) -> list[ToolCall]:
    """Return the calls that a model asks for, those included that are no valid JSON: they want an answer, too."""
    if not isinstance(message, AIMessage):
        return []
    valid = [ToolCall(call["id"] or "", call["name"], call["args"]) for call in message.tool_calls]
    return valid + [ToolCall(call["id"] or "", call["name"] or "", call["args"]) for call in message.invalid_tool_calls]


def _without_foreign_artifact(message: BaseMessage) -> BaseMessage:
    """Return the message, or a copy without an artifact that is no JSON."""
    if not isinstance(message, ToolMessage):
        return message
    try:
        json_value(message.artifact, "artifact")
    except InvalidInputError as error:
        _log.warning("the artifact of the tool message %s is not kept: %s", message.id, error)
        return message.model_copy(update={"artifact": None})
    return message


def _own(message: NativeMessage) -> list[BaseMessage]:
    return messages_from_dict([cast("dict[str, Any]", message.payload)])


def _translated(message: NativeMessage, calls: list[ToolCall], results: list[ToolResult]) -> list[BaseMessage]:
    """Return what LangChain can read of a message that it has not stored: what was said, asked and answered."""
    said = "" if results and not isinstance(message.content, list) else _said(message)
    spoken = [_spoken(message, said, calls)] if said or calls else []
    answers: list[BaseMessage] = [
        ToolMessage(_answer(result.result), tool_call_id=result.id, name=result.name or None) for result in results
    ]
    translated = spoken + answers if calls else answers + spoken
    for number, each in enumerate(translated):
        each.id = f"{message.id}:{number}" if number else message.id
    return translated


def _spoken(message: Message, said: Said, calls: list[ToolCall]) -> BaseMessage:
    if message.role == "assistant" or calls:
        return AIMessage(said, tool_calls=[_langchain_call(call) for call in calls])
    if message.role in SYSTEM_ROLES:
        return SystemMessage(said)
    return HumanMessage(said) if message.role == "user" else ChatMessage(content=said, role=message.role)


def _langchain_call(call: ToolCall) -> LangChainCall:
    args = call.args if isinstance(call.args, dict) else {} if call.args is None else {"input": call.args}
    return LangChainCall(id=call.id, name=call.name, args=args)


def _said(message: Message) -> Said:
    """Return the text of a message's content, or its texts and what else any model of LangChain's takes."""
    parts = message.content if isinstance(message.content, list) else [message.text]
    said = [said for part in parts if (said := _said_part(part))]
    if all(part["type"] == "text" for part in said):
        return "\n".join(part["text"] for part in said)
    return [*said]


def _said_part(part: JsonValue) -> dict[Any, Any] | None:
    if isinstance(part, str):
        return dict(text_part(part)) if part else None
    if not isinstance(part, dict):
        return None
    if _type(part) in _TEXTS and isinstance(text := part.get("text"), str):
        return dict(text_part(text))
    return dict(part) if _type(part) in _MEDIA else None


def _type(part: JsonValue) -> str:
    """Return what a part says that it is; "" if it doesn't."""
    type = part.get("type") if isinstance(part, dict) else None
    return type if isinstance(type, str) else ""


def _answer(result: JsonValue) -> str:
    """Return a tool's result as a model reads it."""
    return result if isinstance(result, str) else to_json(result)


# --- what the framework calls ---------------------------------------------------------------------------------------


class VoltMemState(AgentState[Any]):
    """An agent's state, and which of its messages are stored: LangGraph keeps both in its checkpoints, if it does."""

    voltmem_stored: NotRequired[Annotated[list[str], PrivateStateAttr]]
    """Ids; not there: this thread's history has not been loaded yet."""


class VoltMemMiddleware(AgentMiddleware[VoltMemState, Any]):
    """
    An agent's conversations: ``create_agent(model, tools, middleware=[VoltMemMiddleware(storage, user_id="ada")])``.

    A run begins with what the conversation, which the config's thread_id names, has had so far; so pass new messages
    only. What the user says is stored before the model is called; a tool call and its results, together, before the
    model is called again; the answer at the end. A run that fails or is cancelled keeps what it had stored.

    With a checkpointer the history comes from storage once, into a thread that is new to the checkpointer; then from
    the checkpoints. What is removed from an agent's state stays stored, and the summary of a SummarizationMiddleware
    is not: nobody said it. A checkpointer itself knows no users: it keeps what a stranger says in a thread, though
    the run is refused. Ask get_user_conversation() first, where users choose thread ids.

    Stand first among the middleware, or after one that edits what users say (PIIMiddleware): what it sees is stored.

    Args:
        storage: A PostgresStorage, for ainvoke() and astream(); or a voltmem.sync.PostgresStorage, for invoke() and
            stream(), too.
        user_id: Whose conversations; not given: the user_id of each run's context, an attribute or a key. A run whose
            context has none is refused.
        resource_id: The agent or project that new conversations are made with.
        limit: How many messages of the history at most, always a valid window; not given: the storage's
            storage_limit, None: all.
        turns: The turns since which the history begins, instead.

    A round trip loads, and one stores before each call of the model and at the end. Before the model is called:

    Raises:
        ConversationNotFoundError: The conversation is another user's.
        InvalidInputError: There is no thread_id or no user_id, or a message cannot be stored.
        EventLoopError: invoke() or stream() was called with the asynchronous storage, or on an event loop.
    """

    state_schema = VoltMemState

    def __init__(
        self,
        storage: Storage | BlockingStorage,
        *,
        user_id: str | Unset = UNSET,
        resource_id: str = DEFAULT_RESOURCE_ID,
        limit: int | Unset | None = UNSET,
        turns: int | None = None,
    ) -> None:
        super().__init__()
        if user_id is not UNSET:
            check_user("user_id", user_id, "a conversation belongs to one user")
        check_id(resource_id=resource_id)
        self._storage = EitherStorage(storage)
        self._user_id = user_id
        self._resource_id = resource_id
        self._limit = limit
        self._turns = turns

    # A Command is as good as a dict to LangGraph, but its type says that only a dict will do.
    def before_agent(  # type: ignore[override]
        self, state: VoltMemState, runtime: Runtime[Any]
    ) -> Command[Any] | None:
        """Load the conversation, if the thread is new to the state; refuse another user's."""
        return self._storage.run(partial(self._load, state, runtime), "ainvoke() or astream()")

    async def abefore_agent(  # type: ignore[override]
        self, state: VoltMemState, runtime: Runtime[Any]
    ) -> Command[Any] | None:
        """Load the conversation, if the thread is new to the state; refuse another user's."""
        return await self._storage.awaited(partial(self._load, state, runtime))

    def before_model(self, state: VoltMemState, runtime: Runtime[Any]) -> dict[str, object]:
        """Store what is new: what the user says, or what the model asked of tools and what they answered."""
        return self._storage.run(partial(self._store, state, runtime), "ainvoke() or astream()")

    async def abefore_model(self, state: VoltMemState, runtime: Runtime[Any]) -> dict[str, object]:
        """Store what is new: what the user says, or what the model asked of tools and what they answered."""
        return await self._storage.awaited(partial(self._store, state, runtime))

    def after_agent(self, state: VoltMemState, runtime: Runtime[Any]) -> dict[str, object]:
        """Store the answer."""
        return self._storage.run(partial(self._store, state, runtime), "ainvoke() or astream()")

    async def aafter_agent(self, state: VoltMemState, runtime: Runtime[Any]) -> dict[str, object]:
        """Store the answer."""
        return await self._storage.awaited(partial(self._store, state, runtime))

    async def _load(self, state: VoltMemState, runtime: Runtime[Any], storage: Storage) -> Command[Any] | None:
        memory = self._memory(runtime, storage)
        if "voltmem_stored" in state:
            await memory.newest_messages(0)  # only to see whose it is
            return None
        history = to_langchain(await memory.native_messages(limit=self._limit, turns=self._turns))
        stored = [message.id for message in history]
        given = {message.id for message in state["messages"]}
        earlier = [message for message in history if message.id not in given]
        update: list[tuple[str, object]] = [("voltmem_stored", stored)]
        if earlier:
            update.append(("messages", [RemoveMessage(REMOVE_ALL_MESSAGES), *earlier, *state["messages"]]))
        # As pairs, because what a node returns in a dict is streamed (stream_mode="messages"), as if it were said now.
        return Command(update=update)

    async def _store(self, state: VoltMemState, runtime: Runtime[Any], storage: Storage) -> dict[str, object]:
        messages = state["messages"]
        stored = set(state.get("voltmem_stored", ()))
        # All behind the last that is stored. What is unknown before it is no news: it fell out of the window.
        last = max((position for position, message in enumerate(messages) if message.id in stored), default=-1)
        await self._memory(runtime, storage).add_turn(
            to_native(message) for message in messages[last + 1 :] if not _is_summary(message)
        )
        return {"voltmem_stored": [message.id for message in messages]}

    def _memory(self, runtime: Runtime[Any], storage: Storage) -> NativeMemory:
        user_id = self._user_id
        if user_id is UNSET:
            user_id = _user_of(runtime.context)
            if user_id is None or user_id == "":
                raise InvalidInputError(
                    f"the run's context has {user_id!r} as its user_id: give the run a context with the signed-in "
                    "user's id, or VoltMemMiddleware a user_id"
                )
        thread_id = get_config().get("configurable", {}).get("thread_id")
        if thread_id is None:
            raise InvalidInputError(
                'the run names no conversation: pass a thread_id, as in config={"configurable": {"thread_id": "…"}}'
            )
        return NativeMemory(storage, user_id, str(thread_id), resource_id=self._resource_id)


def _user_of(context: object) -> Any:
    return context.get("user_id") if isinstance(context, Mapping) else getattr(context, "user_id", None)


def _is_summary(message: BaseMessage) -> bool:
    return message.additional_kwargs.get("lc_source") == "summarization"


class VoltMemChatMessageHistory(BaseChatMessageHistory):
    """
    One conversation for a RunnableWithMessageHistory: what its get_session_history returns.

    LangChain deprecates both, and removes them in 2.0: new programs take ``VoltMemMiddleware``.

    ::

        chain = RunnableWithMessageHistory(
            model, lambda session_id: VoltMemChatMessageHistory(storage, "ada", session_id)
        )
        await chain.ainvoke("Hello", {"configurable": {"session_id": "c1"}})

    Make one for each run, which costs nothing: it reads once, and again only after it has written. The runnable counts
    the history at the end of a run to find out what is new; what others added meanwhile would take its place.

    Args:
        storage: A PostgresStorage, for ainvoke() and astream(); or a voltmem.sync.PostgresStorage, for invoke() and
            stream(), too.
        user_id: Whose conversation it is, or will be.
        conversation_id: Which one; it is made on the first write.
        resource_id: The agent or project that it is made with.
        limit: How many messages of it at most, always a valid window; not given: the storage's storage_limit,
            None: all.
        turns: The turns since which the messages begin, instead.
    """

    def __init__(
        self,
        storage: Storage | BlockingStorage,
        user_id: str,
        conversation_id: str,
        *,
        resource_id: str = DEFAULT_RESOURCE_ID,
        limit: int | Unset | None = UNSET,
        turns: int | None = None,
    ) -> None:
        check_user("user_id", user_id, "a conversation belongs to one user")
        check_id(conversation_id=conversation_id, resource_id=resource_id)
        self._storage = EitherStorage(storage)
        self._user_id = user_id
        self._conversation_id = conversation_id
        self._resource_id = resource_id
        self._limit = limit
        self._turns = turns
        self._found: list[BaseMessage] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._conversation_id!r} of {self._user_id!r}>"

    __str__ = __repr__  # LangChain's reads the messages

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """The messages, as aget_messages() gives them."""
        return self._storage.run(self._read, "aget_messages(), or the chain's ainvoke()")

    async def aget_messages(self) -> list[BaseMessage]:
        """
        Return the newest messages, the oldest of them first, as they may be handed to a model.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
        return await self._storage.awaited(self._read)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store all of the messages, as aadd_messages() does."""
        self._storage.run(partial(self._add, messages), "aadd_messages(), or the chain's ainvoke()")

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """
        Store all of the messages, or none and an error. Those without an id get one; one that is there is replaced.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
            InvalidInputError: One of them cannot be stored: what it has is no JSON, or it is a RemoveMessage.
        """
        await self._storage.awaited(partial(self._add, messages))

    def clear(self) -> None:
        """Delete the messages, as aclear() does."""
        self._storage.run(self._clear, "aclear()")

    async def aclear(self) -> None:
        """Delete the messages; the conversation stays. ConversationNotFoundError for another user's."""
        await self._storage.awaited(self._clear)

    async def _read(self, storage: Storage) -> list[BaseMessage]:
        if self._found is None:
            self._found = to_langchain(
                await self._memory(storage).native_messages(limit=self._limit, turns=self._turns)
            )
        return list(self._found)

    async def _add(self, messages: Sequence[BaseMessage], storage: Storage) -> None:
        self._found = None
        await self._memory(storage).add_turn([to_native(message) for message in messages])

    async def _clear(self, storage: Storage) -> None:
        self._found = None
        await self._memory(storage).clear()

    def _memory(self, storage: Storage) -> NativeMemory:
        return NativeMemory(storage, self._user_id, self._conversation_id, resource_id=self._resource_id)
