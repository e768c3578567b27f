"""What the adapters have in common about a working memory: whose it is, its tools, and the ids of their calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from voltmem._agents import memory_tools
from voltmem._agents.looks import Looks
from voltmem._agents.working_memory import WorkingMemoryHandle, count_from
from voltmem._values import check_flag, short_repr
from voltmem.errors import InvalidInputError

if TYPE_CHECKING:
    from voltmem.sync import WorkingMemoryHandle as BlockingHandle

HandleT = TypeVar("HandleT", bound="WorkingMemoryHandle | BlockingHandle")
MessageT = TypeVar("MessageT")


class MemoryTool(NamedTuple):
    """A tool for a model, in no framework's form."""

    name: str
    description: str
    parameters: dict[str, Any]
    """The JSON schema of its arguments."""


class KeptMemory(Generic[HandleT]):
    """
    The working memory that an adapter gives to an agent.

    Args:
        memory: The handle; or a function that returns it for a run, by what the framework knows of the run.
        read_only: Whether the model may not write.
        may_clear: Whether it may empty the memory.
        kinds: The classes of handles that the framework can call.

    Raises:
        InvalidInputError: It is neither a handle nor a function.
    """

    def __init__(
        self,
        memory: HandleT | Callable[[Any], HandleT],
        *,
        read_only: bool,
        may_clear: bool,
        kinds: tuple[type[HandleT], ...],
    ) -> None:
        check_flag("read_only", read_only)
        check_flag("may_clear", may_clear)
        self._kinds = kinds
        self._memory = memory
        self._read_only = read_only
        self._may_clear = may_clear
        self._looks = Looks()
        if not callable(memory):
            self._checked(memory)

    def begin(self, run: object) -> HandleT:
        """Return the handle for a run that begins now."""
        memory = self._of(run)
        if callable(self._memory):
            self._looks.look((memory.user_id, memory.conversation_id))
        return memory

    def of(self, run: object, began_at: float | None = None) -> HandleT:
        """
        Return the handle for a run that has begun. It does not write if the user was deleted since.

        Args:
            run: What the framework knows of the run.
            began_at: When it began, by time.monotonic(); None: when begin() was last called for the memory.
        """
        memory = self._of(run)
        if callable(self._memory):  # it may have made the handle only now
            place = memory.user_id, memory.conversation_id
            handle: Any = memory if isinstance(memory, WorkingMemoryHandle) else vars(memory)["_asynchronous"]
            count_from(handle, self._looks.last(place) if began_at is None else began_at)
        return memory

    def _of(self, run: object) -> HandleT:
        return self._checked(self._memory(run) if callable(self._memory) else self._memory)

    @property
    def _known(self) -> Any:
        """The handle; None if a function returns it."""
        return None if callable(self._memory) else self._memory

    def _checked(self, memory: object) -> HandleT:
        if not isinstance(memory, self._kinds):
            raise InvalidInputError(
                f"memory must be a handle of storage.working_memory(), or a function that returns one, not "
                f"{short_repr(memory)}"
            )
        return memory

    def tools(self) -> list[MemoryTool]:
        """Return the tools. Where a function returns the handle, they fit any."""
        given = memory_tools.definitions(self._known, "mcp", read_only=self._read_only, may_clear=self._may_clear)
        found: list[dict[str, Any]] = list(given)
        return [MemoryTool(each["name"], each["description"], each["inputSchema"]) for each in found]

    def instructions(self, memory: HandleT) -> str:
        """Return what a model is to do with the memory, which a message shows it."""
        given: Any = memory  # a blocking handle has the same properties
        return memory_tools.instructions(given, read_only=self._read_only, with_schema=callable(self._memory))

    def instructions_to_read(self) -> str:
        """Return what a model is to do with the memory, which it has to read by a tool."""
        return memory_tools.instructions(self._known, by_tool=True, read_only=self._read_only)


def operation_of(answer: str | None, call_id: str | None, arguments: object) -> str | None:
    """
    Return the operation id of a model's call; None if the call has no id, or nothing names the answer that it is in.

    Some models number their calls from 0 in each answer. With the call's id alone, a call of another answer would be
    taken for a repeat, and lost; without an operation id, a repeat is applied twice, which loses nothing.
    """
    if not answer or not call_id:
        return None
    given = json.dumps([answer, call_id, arguments], sort_keys=True, default=str)
    return f"{call_id[:100]}:{sha256(given.encode()).hexdigest()[:16]}"


def after_system(messages: Sequence[MessageT], is_system: Callable[[MessageT], bool]) -> int:
    """Return the position after the system's messages at the beginning: some models take those only there."""
    return next((position for position, each in enumerate(messages) if not is_system(each)), len(messages))
