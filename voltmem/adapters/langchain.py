"""
Middleware that keeps the conversations of LangChain's agents in voltmem, with or without a checkpointer.

::

    from langchain.agents import create_agent
    from voltmem.adapters.langchain import VoltMemMiddleware

    agent = create_agent(model, tools, middleware=[VoltMemMiddleware(storage, user_id="ada")])
    config = {"configurable": {"thread_id": "c1"}}  # the conversation
    await agent.ainvoke({"messages": [{"role": "user", "content": "Hello"}]}, config)
    await storage.get_messages("ada", "c1")  # both sides; any process can continue the conversation

``VoltMemChatMessageHistory`` is for programs that still use LangChain's RunnableWithMessageHistory.

With a ``voltmem.sync.PostgresStorage``, both also support ``invoke()`` and ``stream()``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final, NotRequired, TypeAlias, Unpack, cast

from voltmem._agents.looks import Looks
from voltmem._agents.native import NativeMemory
from voltmem._agents.windows import check_window
from voltmem._repr import safe_repr
from voltmem._values import UNSET, JsonObject, Unset, check_id, check_user, json_value, uuid7
from voltmem.adapters._either import EitherStorage
from voltmem.errors import InvalidInputError, MissingExtraError
from voltmem.models import NativeMessage
from voltmem.options import DEFAULT_RESOURCE_ID, Window
from voltmem.parts import File, Part, Text, ToolCall, plain
from voltmem.parts import langchain as forms
from voltmem.parts._providers import (
    arguments_object,
    is_named_only,
    named_file,
    references,
    result_parts,
    result_text,
    spoken,
)
from voltmem.parts._settled import settle
from voltmem.parts._shapes import read_block
from voltmem.parts._steps import Settled
from voltmem.parts._told import Piece, told
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

# --- conversion of messages -----------------------------------------------------------------------------------------

_ROLES: Final = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "function"}
Content: TypeAlias = str | list[str | dict[Any, Any]]
"""The content of a LangChain message."""


def to_native(message: BaseMessage) -> NativeMessage:
    """
    Convert a LangChain message to the plain message together with LangChain's own form.

    A message without an id is given one. A tool's artifact can be any object, and no model reads it: it is kept if it
    is JSON; if not, it is left out, and the logger "voltmem" logs a warning.

    Raises:
        InvalidInputError: Another value in it is not JSON, or LangChain cannot read this kind of message again.
    """
    message.id = message.id or uuid7()
    role = _role(message)
    payload = cast(JsonObject, json_value(message_to_dict(_without_foreign_artifact(message)), "message"))
    type, content = plain.derive(role, forms.read(payload, read_block))
    return NativeMessage.of(
        {"id": message.id, "role": role, "content": content, "type": type, "format": FORMAT, "payload": payload}
    )


def to_langchain(messages: Iterable[NativeMessage]) -> list[BaseMessage]:
    """
    Convert stored messages to LangChain's. Its own are unchanged; others are converted.

    A message with tool results, or with a call and what was said after its result, becomes several messages. Calls that
    are stored one by one, with no result in between, become one message, as providers want them. Parts that only the
    framework that stored them can read, such as reasoning, are left out.
    """
    settled = settle(list(messages))
    own = [_own(each.message) for each in settled]
    pieces = told(settled, list(map(bool, own)))
    return [
        message
        for each, as_stored, said in zip(settled, own, pieces, strict=True)
        for message in (*as_stored, *_converted(each, said, len(as_stored)))
    ]


def _role(message: BaseMessage) -> str:
    kind = message.type.removesuffix("MessageChunk").lower()
    role = message.role if isinstance(message, ChatMessage) else _ROLES.get(kind)
    if role is None:
        raise InvalidInputError(f"a {type(message).__name__} of type {message.type!r} cannot be stored: leave it out")
    return role


def _without_foreign_artifact(message: BaseMessage) -> BaseMessage:
    """Return the message; if its artifact is not JSON, a copy without the artifact."""
    if not isinstance(message, ToolMessage):
        return message
    try:
        json_value(message.artifact, "artifact")
    except InvalidInputError as error:
        _log.warning("the artifact of the tool message %s is not kept: %s", message.id, error)
        return message.model_copy(update={"artifact": None})
    return message


def _own(message: NativeMessage) -> list[BaseMessage]:
    """Return the message that LangChain stored, unchanged; none if another framework stored it."""
    if message.format != FORMAT or not isinstance(message.payload, dict) or references(message.payload):
        return []  # a stored file that is not there is named
    try:
        return messages_from_dict([cast("dict[str, Any]", message.payload)])
    except Exception as error:  # whatever LangChain stumbles over
        _log.warning("this LangChain cannot read the message %s: its plain form is read (%s)", message.id, type(error))
        return []


def _converted(settled: Settled[NativeMessage], pieces: Iterable[Piece], begin: int) -> list[BaseMessage]:
    """Convert what a message says that LangChain did not store. The ids are numbered from *begin* on."""
    converted: list[BaseMessage] = []
    for piece in pieces:
        converted += _with_content(settled, piece.said)
        converted += [
            ToolMessage(
                _content(result_parts(result)) if result.state == "answered" else result_text(result),
                tool_call_id=result.call_id,
                name=result.name or None,
                status="success" if result.state == "answered" else "error",
            )
            for result in piece.results
        ]
    for number, each in enumerate(converted, begin):
        each.id = f"{settled.message.id}:{number}" if number else settled.message.id
    return converted


def _with_content(settled: Settled[NativeMessage], said: Sequence[Part]) -> list[BaseMessage]:
    # Providers refuse files in what a model says.
    content = spoken(said) if settled.speaker in ("assistant", "system") else _content(said)
    calls = [_langchain_call(part) for part in said if isinstance(part, ToolCall)]
    if not content and not calls:
        return []
    if settled.speaker == "assistant":
        return [AIMessage(content, tool_calls=calls)]
    return [SystemMessage(content) if settled.speaker == "system" else HumanMessage(content)]


def _langchain_call(call: ToolCall) -> LangChainCall:
    return LangChainCall(id=call.id, name=call.name, args=arguments_object(call))


def _content(said: Sequence[Part]) -> Content:
    """Return the text; a list of content blocks if there are files."""
    blocks = [block for part in said if (block := _block(part)) is not None]
    if all(block["type"] == "text" for block in blocks):
        return "\n".join(block["text"] for block in blocks)
    return [*blocks]


def _block(part: Part) -> dict[Any, Any] | None:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text} if part.text else None
    if not isinstance(part, File):
        return None
    if is_named_only(part):
        return {"type": "text", "text": named_file(part)}
    kind = part.media_type.partition("/")[0]
    where = {"base64": part.data} if part.data else {"url": part.url} if part.url else {"file_id": part.id}
    named = {"mime_type": part.media_type if "/" in part.media_type else "", "filename": part.name}
    type = kind if kind in ("image", "audio", "video") else "file"
    return {"type": type, **where, **{name: value for name, value in named.items() if value}}


# --- called by the framework ----------------------------------------------------------------------------------------


class VoltMemState(AgentState[Any]):
    """An agent's state, with the ids of stored messages. A checkpointer saves both."""

    voltmem_stored: NotRequired[Annotated[list[str], PrivateStateAttr]]
    """Ids of the messages that are stored. If it is missing, the thread's history has not been loaded yet."""


class VoltMemMiddleware(AgentMiddleware[VoltMemState, Any]):
    """
    Keeps an agent's conversations: ``create_agent(model, middleware=[VoltMemMiddleware(storage, user_id="ada")])``.

    The config's thread_id is the id of the conversation. A run starts with the conversation's history, so pass new
    messages only. A user's message is stored before the model is called; a tool call and its results are stored
    together before the next call of the model; the answer is stored at the end. If a run fails or is cancelled, the
    messages that it has stored stay.

    With a checkpointer, the history is loaded from the storage once, when the thread is new to the checkpointer; after
    that it comes from the checkpoints. Messages removed from an agent's state stay stored. The summary of a
    SummarizationMiddleware is not stored, because it is no part of the conversation. A checkpointer has no users: it
    keeps the messages that a run adds to a thread even if the run is refused because the conversation is another
    user's. So call get_user_conversation() first if users choose thread ids.

    A conversation that a thread has loaded or stored, and that is deleted for good, is not created again: the next call
    of the model raises ConversationNotFoundError. Continue with another thread_id.

    An agent that a tool of another agent calls neither reads nor writes the conversation of that agent: what it is
    asked is not what the user said. To keep what it does, call it with a thread_id of its own. Agents that are nodes of
    one graph share the thread's conversation.

    Put it first among the middleware, or after middleware that edits the users' messages (PIIMiddleware): messages are
    stored as this middleware receives them.

    Args:
        storage: A PostgresStorage for ainvoke() and astream(); or a voltmem.sync.PostgresStorage, which also supports
            invoke() and stream().
        user_id: The user of the conversations. Not given: the user_id of each run's context, an attribute or a key. A
            run whose context has none is refused.
        resource_id: The agent or project of new conversations.
        window: Which messages are the history, as in ``memory.messages()``: limit, turns or tokens; count,
            shorten_results.

    Loading takes one round trip. Storing takes one before each call of the model, and one at the end. These errors are
    raised before the model is called:

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
        **window: Unpack[Window],
    ) -> None:
        super().__init__()
        if user_id is not UNSET:
            check_user("user_id", user_id, "a conversation belongs to one user")
        check_id(resource_id=resource_id)
        self._storage = EitherStorage(storage)
        self._user_id = user_id
        self._resource_id = resource_id
        check_window(window)
        self._window = window
        self._looks = Looks()

    # LangGraph accepts a Command as well as a dict, but its type allows only a dict.
    def before_agent(  # type: ignore[override]
        self, state: VoltMemState, runtime: Runtime[Any]
    ) -> Command[Any] | None:
        """Load the conversation's history if it is not in the state yet. Checks that the conversation is the user's."""
        return self._storage.run(partial(self._load, state, runtime), "ainvoke() or astream()")

    async def abefore_agent(  # type: ignore[override]
        self, state: VoltMemState, runtime: Runtime[Any]
    ) -> Command[Any] | None:
        """Load the conversation's history if it is not in the state yet. Checks that the conversation is the user's."""
        return await self._storage.run_async(partial(self._load, state, runtime))

    def before_model(self, state: VoltMemState, runtime: Runtime[Any]) -> dict[str, object]:
        """Store the new messages: the user's, or tool calls with their results."""
        return self._storage.run(partial(self._store, state, runtime), "ainvoke() or astream()")

    async def abefore_model(self, state: VoltMemState, runtime: Runtime[Any]) -> dict[str, object]:
        """Store the new messages: the user's, or tool calls with their results."""
        return await self._storage.run_async(partial(self._store, state, runtime))

    def after_agent(self, state: VoltMemState, runtime: Runtime[Any]) -> dict[str, object]:
        """Store the answer."""
        return self._storage.run(partial(self._store, state, runtime), "ainvoke() or astream()")

    async def aafter_agent(self, state: VoltMemState, runtime: Runtime[Any]) -> dict[str, object]:
        """Store the answer."""
        return await self._storage.run_async(partial(self._store, state, runtime))

    async def _load(self, state: VoltMemState, runtime: Runtime[Any], storage: Storage) -> Command[Any] | None:
        if _is_called_by_a_tool():
            return None
        memory = self._memory(runtime, storage)
        self._looks.look((memory.user_id, memory.conversation_id))
        if "voltmem_stored" in state:
            await memory.newest_messages(0)  # checks the owner
            return None
        found = await memory.native_messages(**self._window)
        history = to_langchain(await memory.with_files(found))
        stored = [message.id for message in history]
        given = {message.id for message in state["messages"]}
        earlier = [message for message in history if message.id not in given]
        update: list[tuple[str, object]] = [("voltmem_stored", stored)]
        if earlier:
            update.append(("messages", [RemoveMessage(REMOVE_ALL_MESSAGES), *earlier, *state["messages"]]))
        # Pairs instead of a dict: with stream_mode="messages", LangGraph streams the messages of a dict as new ones.
        return Command(update=update)

    async def _store(self, state: VoltMemState, runtime: Runtime[Any], storage: Storage) -> dict[str, object]:
        if _is_called_by_a_tool():
            return {}
        messages = state["messages"]
        stored = set(state.get("voltmem_stored", ()))
        memory = self._memory(runtime, storage)
        if stored:
            memory.expect_existing()
        # Only messages after the last stored one are new. Earlier unknown messages are outside the window.
        last = max((position for position, message in enumerate(messages) if message.id in stored), default=-1)
        await memory.add_turn(to_native(message) for message in messages[last + 1 :] if not _is_summary(message))
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
        memory = NativeMemory(storage, user_id, str(thread_id), resource_id=self._resource_id)
        return memory.since(self._looks.last((memory.user_id, memory.conversation_id)))


def _user_of(context: object) -> Any:
    return context.get("user_id") if isinstance(context, Mapping) else getattr(context, "user_id", None)


def _is_called_by_a_tool() -> bool:
    """
    Return whether a tool of another agent has called this agent, in the other agent's thread.

    LangGraph's namespace has the nodes around this one, outermost first, as in "tools:UUID|model:UUID". The tools of an
    agent run in its node "tools". With a thread_id of its own, an agent has no nodes around it.
    """
    namespace: str = get_config().get("configurable", {}).get("checkpoint_ns", "")
    return any(node.partition(":")[0] == "tools" for node in namespace.split("|")[:-1])


def _is_summary(message: BaseMessage) -> bool:
    return message.additional_kwargs.get("lc_source") == "summarization"


class VoltMemChatMessageHistory(BaseChatMessageHistory):
    """
    A BaseChatMessageHistory of one conversation, for the get_session_history of a RunnableWithMessageHistory.

    LangChain has deprecated both and removes them in 2.0: in new programs use ``VoltMemMiddleware``.

    ::

        chain = RunnableWithMessageHistory(
            model, lambda session_id: VoltMemChatMessageHistory(storage, "ada", session_id)
        )
        await chain.ainvoke("Hello", {"configurable": {"session_id": "c1"}})

    Create one for each run, which costs nothing. It reads the messages once, and again only after a write, because the
    runnable finds the new messages by the length of the history: messages added meanwhile by others would count as old
    ones and shift the new ones.

    Args:
        storage: A PostgresStorage for ainvoke() and astream(); or a voltmem.sync.PostgresStorage, which also supports
            invoke() and stream().
        user_id: The user of the conversation.
        conversation_id: The id of the conversation, which is created on the first write.
        resource_id: The agent or project of a new conversation.
        window: Which messages are the history, as in ``memory.messages()``: limit, turns or tokens; count,
            shorten_results.
    """

    def __init__(
        self,
        storage: Storage | BlockingStorage,
        user_id: str,
        conversation_id: str,
        *,
        resource_id: str = DEFAULT_RESOURCE_ID,
        **window: Unpack[Window],
    ) -> None:
        check_user("user_id", user_id, "a conversation belongs to one user")
        check_id(conversation_id=conversation_id, resource_id=resource_id)
        self._storage = EitherStorage(storage)
        self._user_id = user_id
        self._conversation_id = conversation_id
        self._resource_id = resource_id
        check_window(window)
        self._window = window
        self._loaded: list[BaseMessage] | None = None
        self._first_memory: NativeMemory | None = None

    @safe_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._conversation_id!r} of {self._user_id!r}>"

    def __str__(self) -> str:  # LangChain's own reads the messages
        return repr(self)

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """The messages of aget_messages()."""
        return self._storage.run(self._read, "aget_messages(), or the chain's ainvoke()")

    async def aget_messages(self) -> list[BaseMessage]:
        """
        Return the newest messages, the oldest of them first, as a window that is valid for a model.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
        return await self._storage.run_async(self._read)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store the messages, as aadd_messages() does."""
        self._storage.run(partial(self._add, messages), "aadd_messages(), or the chain's ainvoke()")

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """
        Store the messages, all or none. A message without an id is given one; a message with a stored id replaces it.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
            InvalidInputError: A message cannot be stored: it has a value that is not JSON, or is a RemoveMessage.
        """
        await self._storage.run_async(partial(self._add, messages))

    def clear(self) -> None:
        """Delete the messages, as aclear() does."""
        self._storage.run(self._clear, "aclear()")

    async def aclear(self) -> None:
        """Delete the messages but not the conversation. Raises ConversationNotFoundError if it is another user's."""
        await self._storage.run_async(self._clear)

    async def _read(self, storage: Storage) -> list[BaseMessage]:
        if self._loaded is None:
            memory = self._memory(storage)
            found = await memory.native_messages(**self._window)
            self._loaded = to_langchain(await memory.with_files(found))
        return list(self._loaded)

    async def _add(self, messages: Sequence[BaseMessage], storage: Storage) -> None:
        self._loaded = None
        await self._memory(storage).add_turn([to_native(message) for message in messages])

    async def _clear(self, storage: Storage) -> None:
        self._loaded = None
        await self._memory(storage).clear()

    def _memory(self, storage: Storage) -> NativeMemory:
        if self._first_memory is None:
            self._first_memory = NativeMemory(
                storage, self._user_id, self._conversation_id, resource_id=self._resource_id
            )
        return NativeMemory.of(self._first_memory, storage)  # it knows what the others have seen
