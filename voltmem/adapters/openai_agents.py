"""
OpenAI Agents SDK: a session that keeps a conversation in PostgreSQL.

::

    session = VoltMemSession("trip-to-oslo", storage, user_id="ada")
    result = await Runner.run(agent, "Do I need a coat?", session=session)

    # Or take the signed-in user from the run's context.
    session = VoltMemSession("trip-to-oslo", storage, user_id=lambda context: context.user_id)
    result = await Runner.run(agent, "Do I need a coat?", session=session, context=SignedIn("ada"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import dropwhile
from typing import Final, Generic, cast

from pydantic import JsonValue
from pydantic_core import from_json

from voltmem._agents.native import NativeMemory
from voltmem._areas.area import check_storage
from voltmem._parts import (
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
from voltmem._values import JsonObject, check_id, check_user, is_storable, json_value, short_repr, to_json
from voltmem.errors import InvalidInputError, MissingExtraError
from voltmem.models import NativeMessage
from voltmem.options import DEFAULT_RESOURCE_ID
from voltmem.storage import Storage

__all__ = ["FORMAT", "VoltMemSession", "to_items", "to_messages"]

try:
    from agents import RunContextWrapper, SessionSettings, TContext, TResponseInputItem
    from agents.memory.session_settings import coerce_session_settings, resolve_session_limit
except ImportError as error:
    raise MissingExtraError("openai-agents", "openai-agents") from error

FORMAT: Final = "openai-agents"

# --- conversion of messages -----------------------------------------------------------------------------------------

_ROLES: Final = frozenset({"user", "assistant", "system", "developer"})

# Calls whose result is an item of its own, and the field with their arguments.
_CALLS: Final = {
    "function_call": "arguments",
    "custom_tool_call": "input",
    "computer_call": "action",
    "shell_call": "action",
    "local_shell_call": "action",
    "apply_patch_call": "operation",
    "tool_search_call": "arguments",
}
_RESULTS: Final = frozenset({f"{call}_output" for call in _CALLS} | {"tool_search_output"})

# Parts of a user's message other than text, and the fields that hold their bytes.
_BYTES: Final = frozenset({"image_url", "file_data", "input_audio"})
_INPUTS: Final = frozenset({"input_image", "input_file", "input_audio"})
_THOUGHTS: Final = frozenset({"reasoning", "thinking"})
_TEXTS: Final = frozenset({"text", "input_text", "output_text"})


def to_messages(items: Iterable[TResponseInputItem]) -> list[NativeMessage]:
    """
    Convert items to messages: for each the plain message, together with the item itself.

    Raises:
        InvalidInputError: An item is not a dict, or has a value that is not JSON.
    """
    tool_names: dict[str, str] = {}
    return [_to_message(item, tool_names) for item in items]


def to_items(messages: Iterable[NativeMessage]) -> list[TResponseInputItem]:
    """Convert messages to items. The SDK's own are unchanged; others are converted from their plain form."""
    return [cast(TResponseInputItem, item) for message in messages for item in _items_of(message)]


def _to_message(given: object, tool_names: dict[str, str]) -> NativeMessage:
    if not isinstance(given, dict):
        raise InvalidInputError(f"an item must be a dict, not {short_repr(given)}")
    item = cast(JsonObject, given)
    role, type, content = _plain(item, tool_names)
    return NativeMessage.of({"role": role, "type": type, "content": content, "format": FORMAT, "payload": item})


def _plain(item: JsonObject, tool_names: dict[str, str]) -> tuple[str, str, JsonValue]:
    """Return the role, the type and the content of the plain message."""
    kind, role, call_id = _kind(item), item.get("role"), item.get("call_id")
    if kind == "message" and isinstance(role, str) and role in _ROLES:
        return role, "text", _plain_content(item.get("content"))
    if kind in _CALLS and isinstance(call_id, str):
        call = _call(item, kind, call_id)
        tool_names[call_id] = call.name
        return "assistant", TOOL_CALL, [call_part(call)]
    if kind in _RESULTS and isinstance(call_id, str):
        result = item.get("tools" if kind == "tool_search_output" else "output")
        return "tool", TOOL_RESULT, [result_part(ToolResult(call_id, tool_names.get(call_id, ""), result))]
    if kind == "reasoning":
        return "assistant", kind, [{"type": kind, "text": text} for text in _texts(_list(item.get("summary")))]
    # Only its kind, because the results of hosted tools are long (images, for example). The item has them.
    return "assistant", kind, [{"type": kind}]


def _kind(item: JsonObject) -> str:
    kind = item.get("type", "message" if "role" in item else None)
    return kind if isinstance(kind, str) and is_storable(kind) else "item"


def _plain_content(content: JsonValue) -> JsonValue:
    """Return the text of a content with a single text part, as in most messages; otherwise a list of parts."""
    if not isinstance(content, list):
        return content
    parts = [_plain_part(part) for part in content]
    only = parts[0] if len(parts) == 1 else None
    return only["text"] if isinstance(only, dict) and only.get("type") == "text" else parts


def _plain_part(part: JsonValue) -> JsonValue:
    if not isinstance(part, dict):
        return part
    for text in (part.get("text"), part.get("refusal")):
        if isinstance(text, str):
            return text_part(text)
    image = part.get("image_url")
    if isinstance(image, str) and not image.startswith("data:"):
        return {"type": "image", "url": image}
    # Without the bytes, which are in the item.
    return {key: value for key, value in part.items() if key not in _BYTES}


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _texts(parts: Sequence[JsonValue]) -> list[str]:
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return [text for text in texts if isinstance(text, str)]


def _call(item: JsonObject, kind: str, call_id: str) -> ToolCall:
    name = item.get("name")
    args = item.get(_CALLS[kind])
    call = ToolCall(call_id, name if isinstance(name, str) else kind, args)
    if kind != "function_call" or not isinstance(args, str):
        return call
    try:  # A model may write invalid JSON, or JSON that PostgreSQL cannot store.
        parsed = ToolCall(call_id, call.name, from_json(args))
        json_value([call_part(parsed)], "arguments")
    except ValueError:
        return call
    return parsed


def _items_of(message: NativeMessage) -> list[JsonObject]:
    if message.format == FORMAT and isinstance(message.payload, dict):
        return [message.payload]
    results: list[JsonObject] = [
        {"type": "function_call_output", "call_id": result.id, "output": _json_text(result.result)}
        for result in tool_results(message)
        if result.id
    ]
    calls: list[JsonObject] = [
        {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": _json_text(call.args or {})}
        for call in tool_calls(message)
        if call.id
    ]
    return [*results, *_text_items(message), *calls]


def _json_text(value: JsonValue) -> str:
    return value if isinstance(value, str) else to_json(value)


def _text_items(message: NativeMessage) -> list[JsonObject]:
    """Return one item with the text, images and files of a message, or none. Parts of unknown types are left out."""
    if message.role == "tool" or message.type in _THOUGHTS:
        return []
    role = message.role if message.role in _ROLES else "user"
    content = message.content
    if isinstance(content, dict) and "tool_calls" in content:  # a message of OpenAI's chat API, stored unchanged
        content = content.get("content") or ""
    parts = content if isinstance(content, list) else [content]
    if all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in parts):
        inputs = [each for part in parts for each in _input_parts(part)]
        texts = _texts(inputs)
        # Only a user's message may have parts other than text, and an assistant's may have no input parts.
        content = inputs if role == "user" and len(texts) < len(inputs) else "\n".join(texts)
    elif message.type in (TOOL_CALL, TOOL_RESULT):
        return []
    elif not isinstance(content, str):
        content = message.text
    return [{"role": role, "content": content}] if content else []


def _input_parts(part: JsonValue) -> list[JsonValue]:
    if not isinstance(part, dict):
        return []
    kind, text = part.get("type"), part.get("text")
    if kind in _TEXTS and isinstance(text, str):
        return [{"type": "input_text", "text": text}]
    if kind in ("image", "image_url") and (image := _image_url(part)):
        return [{"type": "input_image", "detail": "auto", "image_url": image}]
    return [part] if kind in _INPUTS else []


def _image_url(part: JsonObject) -> str | None:
    """Return the URL of an image part, as OpenAI's chat API, Agno or LangChain write it; None if it has none."""
    named = part.get("image_url")
    url = named.get("url") if isinstance(named, dict) else named or part.get("url")
    if url is None and isinstance(data := part.get("base64"), str):
        return f"data:{part.get('mime_type', 'image/png')};base64,{data}"
    return url if isinstance(url, str) else None


def _without_incomplete_turns(items: Sequence[TResponseInputItem]) -> list[TResponseInputItem]:
    """
    Return the items without the rest of turns that a storage_limit or an aborted run has cut: providers refuse them.

    These are results without their call and, for a model that reasons, its items after a reasoning that was deleted.
    The runner itself leaves out calls without a result.
    """
    found = [cast(JsonObject, item) for item in items]
    if any(_kind(item) == "reasoning" for item in found):
        found = list(dropwhile(_may_need_reasoning, found))
    called: set[JsonValue] = set()
    valid: list[JsonObject] = []
    for item in found:
        call_id = item.get("call_id")
        if isinstance(call_id, str):
            if _kind(item) in _RESULTS and call_id not in called:
                continue
            called.add(call_id)
        valid.append(item)
    return [cast(TResponseInputItem, item) for item in valid]


def _may_need_reasoning(item: JsonObject) -> bool:
    """Return whether the provider may require a reasoning before the item: it is the model's and has its id."""
    is_from_model = _kind(item) in _CALLS or item.get("role") == "assistant"
    return is_from_model and isinstance(item.get("id"), str)


# --- called by the framework ----------------------------------------------------------------------------------------


class VoltMemSession(Generic[TContext]):
    """
    A session of the OpenAI Agents SDK: one conversation, with the runner's items stored unchanged.

    Each item is a message of the conversation, which the sidebar and every other framework can read. Messages that
    others have added become items. Another user's conversation raises ConversationNotFoundError before the model is
    called. The constructor does no I/O, and there is nothing to close: create a session for each request, or keep it.

    ``Runner.run_sync`` has its own event loop, the same for each call: give it a storage of its own.

    Args:
        session_id: The conversation's id. The conversation is created on the first write.
        storage: The storage. It may be bound to a transaction.
        user_id: The user of the conversation, or a function that returns the user for a run's context. None, also as
            the function's result, raises InvalidInputError.
        resource_id: The agent or project of a new conversation.
        session_settings: The SDK's settings: ``{"limit": 50}`` passes the newest 50 items to the model.

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

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.session_id!r} in {self._storage!r}>"

    async def get_items(
        self, limit: int | None = None, *, wrapper: RunContextWrapper[TContext] | None = None
    ) -> list[TResponseInputItem]:
        """
        Return the newest items, the oldest of them first.

        Args:
            limit: The maximum number of items, which are returned exactly as stored: the runner compares them with the
                items it has added, and itself leaves out results without their call. None: the limit of
                session_settings, or all items within storage_limit, without items that providers refuse.
            wrapper: The run, for a session that takes its user from the run's context. The runner passes it.

        Raises:
            ConversationNotFoundError: The conversation is another user's. A conversation that does not exist yet is
                empty.

        One round trip.
        """
        most = resolve_session_limit(limit, self.session_settings)
        items = to_items(await self._memory(wrapper).newest_messages(most))
        newest = items[-most:] if most else items  # a message of another framework may become several items
        return _without_incomplete_turns(newest) if limit is None else newest

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
        await self._memory(wrapper).add_turn(to_messages(items))

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
            memory = self._memory(wrapper, tx)
            while (message := await memory.pop()) is not None:
                if items := to_items([message]):
                    await memory.add_turn(rest.stored_at(message.created_at) for rest in to_messages(items[:-1]))
                    return items[-1]
        return None

    async def clear_session(self, *, wrapper: RunContextWrapper[TContext] | None = None) -> None:
        """Delete all items but not the conversation. Raises ConversationNotFoundError if it is another user's."""
        await self._memory(wrapper).clear()

    def _memory(self, wrapper: RunContextWrapper[TContext] | None, storage: Storage | None = None) -> NativeMemory:
        return NativeMemory(
            storage or self._storage, self._user_of(wrapper), self.session_id, resource_id=self._resource_id
        )

    def _user_of(self, wrapper: RunContextWrapper[TContext] | None) -> str:
        if not callable(self._user_id):
            return self._user_id
        if wrapper is None:
            raise InvalidInputError(
                f"session {self.session_id!r} takes its user from a run's context, and this call is in no run: give "
                "wrapper=RunContextWrapper(context), or make a session with the user's id"
            )
        return check_user("the user_id that the session's function returned", self._user_id(wrapper.context))

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
