"""The capability by which a model of Pydantic AI is shown a window of the conversation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn, Unpack

from voltmem._agents.native import NativeMemory
from voltmem._agents.windows import check_window
from voltmem._areas.area import check_storage
from voltmem._areas.recall import check_recall
from voltmem._values import check_user
from voltmem.adapters.pydantic_ai._messages import to_model_messages, with_prompts
from voltmem.errors import MissingExtraError
from voltmem.options import Window
from voltmem.storage import Storage

if TYPE_CHECKING or find_spec("pydantic_ai.capabilities"):
    from pydantic_ai.capabilities import AbstractCapability
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models import ModelRequestContext
    from pydantic_ai.tools import RunContext
else:  # an old release; load_history() and save_history() work with it

    class AbstractCapability:
        def __class_getitem__(cls, _: object) -> type:
            return cls

        def __init__(self) -> NoReturn:
            raise MissingExtraError("pydantic-ai-slim 2.66, or a later one,", "pydantic-ai")


class VoltMemWindow(AbstractCapability[Any]):
    """
    A capability: the model is shown a window of the stored conversation, in place of all that the run has loaded.

    ::

        window = VoltMemWindow(storage, user_id="ada", tokens=8_000, recall=True)
        agent = Agent(model, capabilities=[window])
        result = await agent.run("Do I need a coat?", conversation=await store.load("c1"))

        # Or for all users: the function gets the run's deps.
        agent = Agent(model, capabilities=[VoltMemWindow(storage, user_id=lambda deps: deps.user_id)])

    It begins with the summary, if there is one, and has what was recalled, and the messages since, as
    ``memory.messages()`` returns them; what is new in the run follows. System prompts stay at the beginning. The
    conversation is that of the run, with or without a VoltMemConversationStore, which loads and saves all of it as
    before: what the model is shown is in no message of the run's result.

    Args:
        storage: The storage.
        user_id: The user of the conversations; or a function of the run's deps that returns the user.
        recall: Whether to put what the user's conversations have about the question before the window, as quoted data.
            The storage needs search=True, or recall=Recall(…).
        window: Which messages, as in ``memory.messages()``: limit, turns or tokens; count, shorten_results.

    One round trip before the first request of a run to the model; with recall another one.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        user_id: str | Callable[[Any], str],
        recall: bool = False,
        **window: Unpack[Window],
    ) -> None:
        super().__init__()
        check_storage(storage, Storage)
        if not callable(user_id):
            check_user("user_id", user_id, "a conversation belongs to one user")
        check_recall(recall, storage)
        check_window(window)
        self.id = "voltmem_window"
        self._storage = storage
        self._user_id = user_id
        self._recall = recall
        self._window = window
        self._earlier: list[ModelMessage] | None = None

    async def for_run(self, ctx: RunContext[Any]) -> VoltMemWindow:
        """Return the capability for one run, for which it reads the conversation once."""
        user_id = self._user_id(ctx.deps) if callable(self._user_id) else self._user_id
        found = VoltMemWindow(self._storage, user_id=user_id, recall=self._recall, **self._window)
        found.id = self.id
        return found

    async def before_model_request(
        self, ctx: RunContext[Any], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        """Put the window in the place of the messages of earlier runs."""
        if ctx.conversation_id is None:
            return request_context
        if self._earlier is None:
            self._earlier = await self._read(ctx, ctx.conversation_id)
        given = request_context.messages
        own = [each for each in given if each.run_id == ctx.run_id] or given[-1:]
        return replace(request_context, messages=with_prompts(given, [*self._earlier, *own]))

    async def _read(self, ctx: RunContext[Any], conversation_id: str) -> list[ModelMessage]:
        memory = NativeMemory(self._storage, str(self._user_id), conversation_id)
        said = [ctx.prompt] if isinstance(ctx.prompt, str) else (ctx.prompt or [])
        asked = "\n".join(each for each in said if isinstance(each, str))
        found = await memory.native_messages(recall=asked if self._recall else None, **self._window)
        return to_model_messages(await memory.with_files(found))
