"""
Middleware that keeps the conversations of LangChain's agents in voltmem, with or without a checkpointer.

::

    from langchain.agents import create_agent
    from voltmem.adapters.langchain import VoltMemMiddleware

    agent = create_agent(model, tools, middleware=[VoltMemMiddleware(storage, user_id="ada")])
    config = {"configurable": {"thread_id": "c1"}}  # the conversation
    await agent.ainvoke({"messages": [{"role": "user", "content": "Hello"}]}, config)
    await storage.get_messages("ada", "c1")  # both sides; any process can continue the conversation

``VoltMemWorkingMemory`` is middleware, too: with it, an agent keeps what it writes down of a user.

``VoltMemChatMessageHistory`` is for programs that still use LangChain's RunnableWithMessageHistory.

With a ``voltmem.sync.PostgresStorage``, both also support ``invoke()`` and ``stream()``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, NotRequired, Unpack

from voltmem._agents.compact_when import CompactWhen, background_of
from voltmem._agents.looks import Looks
from voltmem._agents.native import NativeMemory
from voltmem._agents.windows import check_window
from voltmem._areas.recall import check_recall
from voltmem._repr import safe_repr
from voltmem._values import UNSET, Unset, check_id, check_user
from voltmem.adapters._either import EitherStorage
from voltmem.adapters._recalled import Recalled
from voltmem.adapters._working_memory import after_system
from voltmem.adapters.langchain._messages import FORMAT, to_langchain, to_native
from voltmem.adapters.langchain._working_memory import VoltMemWorkingMemory
from voltmem.errors import InvalidInputError, MissingExtraError
from voltmem.options import DEFAULT_RESOURCE_ID, Window
from voltmem.storage import Storage
from voltmem.sync import Storage as BlockingStorage

__all__ = [
    "FORMAT",
    "VoltMemChatMessageHistory",
    "VoltMemMiddleware",
    "VoltMemState",
    "VoltMemWorkingMemory",
    "to_langchain",
    "to_native",
]

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
    from langchain.agents.middleware.types import PrivateStateAttr
    from langchain_core.chat_history import BaseChatMessageHistory
    from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage
    from langgraph.config import get_config
    from langgraph.graph.message import REMOVE_ALL_MESSAGES
    from langgraph.runtime import Runtime
    from langgraph.types import Command
except ImportError as error:
    raise MissingExtraError("langchain", "langchain") from error

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
        compact_when: When to summarise what is old, beside the runs; None: only ``memory.compact()`` does.
        recall: Whether to put what the user's conversations have about the question before the messages of each
            request, after the system's, as quoted data in a message of the user's. It is not in the agent's state, nor
            stored; what the state has anyway is left out. The storage needs search=True, or recall=Recall(…).
        window: Which messages are the history, as in ``memory.messages()``: limit, turns or tokens; count,
            shorten_results.

    Loading takes one round trip. Storing takes one before each call of the model, and one at the end; recall one for
    each question. These errors are raised before the model is called:

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
        compact_when: CompactWhen | None = None,
        recall: bool = False,
        **window: Unpack[Window],
    ) -> None:
        super().__init__()
        if user_id is not UNSET:
            check_user("user_id", user_id, "a conversation belongs to one user")
        check_id(resource_id=resource_id)
        self._storage = EitherStorage(storage)
        self._user_id = user_id
        self._resource_id = resource_id
        background_of(self._storage.asynchronous, compact_when)  # checks it
        self._compact_when = compact_when
        check_recall(recall, self._storage.asynchronous)
        self._recalled = Recalled() if recall else None
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

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | AIMessage:
        """Put what was recalled before the messages of the request."""
        if self._recalled is None or _is_called_by_a_tool():
            return handler(request)
        return handler(
            self._storage.run(partial(self._with_recalled, request, self._recalled), "ainvoke() or astream()")
        )

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any] | AIMessage:
        """Put what was recalled before the messages of the request."""
        if self._recalled is None or _is_called_by_a_tool():
            return await handler(request)
        return await handler(await self._storage.run_async(partial(self._with_recalled, request, self._recalled)))

    async def _with_recalled(
        self, request: ModelRequest[Any], recalled: Recalled, storage: Storage
    ) -> ModelRequest[Any]:
        asked = next((each for each in reversed(request.messages) if isinstance(each, HumanMessage)), None)
        if asked is None:
            return request
        memory = self._memory(request.runtime, storage)
        shown = [each.id for each in request.messages]
        of = memory.user_id, memory.conversation_id
        quote = await recalled.quote(storage, *of, asked.id, str(asked.text), shown)
        if quote is None:
            return request
        start = after_system(request.messages, lambda each: each.type == "system")
        messages = [*request.messages[:start], HumanMessage(quote.text), *request.messages[start:]]
        return request.override(messages=messages)

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
        memory = NativeMemory(
            storage, user_id, str(thread_id), resource_id=self._resource_id, compact_when=self._compact_when
        )
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
        compact_when: When to summarise what is old, beside the runs; None: only ``memory.compact()`` does.
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
        compact_when: CompactWhen | None = None,
        **window: Unpack[Window],
    ) -> None:
        check_user("user_id", user_id, "a conversation belongs to one user")
        check_id(conversation_id=conversation_id, resource_id=resource_id)
        self._storage = EitherStorage(storage)
        self._user_id = user_id
        self._conversation_id = conversation_id
        self._resource_id = resource_id
        background_of(self._storage.asynchronous, compact_when)  # checks it
        self._compact_when = compact_when
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
                storage,
                self._user_id,
                self._conversation_id,
                resource_id=self._resource_id,
                compact_when=self._compact_when,
            )
        return NativeMemory.of(self._first_memory, storage)  # it knows what the others have seen
