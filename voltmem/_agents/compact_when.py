"""When a memory compacts its conversation beside the turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voltmem._agents.compaction import KEEP_TURNS, Summarize, check_summarize, compact
from voltmem._areas.area import Access, off_loop_if_long
from voltmem._areas.background import Background, tasks_of
from voltmem._areas.summaries import Range, read_range
from voltmem._areas.token_counts import counter, tokens_of
from voltmem._values import check_count, short_repr
from voltmem.errors import InvalidInputError, InvalidOptionError
from voltmem.models import Message
from voltmem.parts import ToolCall, ToolResult, parts
from voltmem.parts._settled import only_speaks
from voltmem.tokens import CountTokens, Encoding

if TYPE_CHECKING:
    from voltmem._areas.area import Area


@dataclass(frozen=True)
class CompactWhen:
    """
    When a memory summarises its conversation by itself, and how.

    ::

        memory = storage.conversation("ada", "c1", compact_when=CompactWhen(summarize, tokens=8_000))

    After each answer, a task reads the messages after the summary in use, and compacts if one of the conditions holds,
    or if they are three quarters of a storage_limit that deletes: what it deletes first, no summary would know. No call
    waits for it; storage.close() cancels it.
    """

    summarize: Summarize
    """As in compact()."""
    tokens: int | None = None
    """If the messages and the summary have more tokens, by the estimate."""
    messages: int | None = None
    """If there are more messages."""
    when: Callable[[Sequence[Message]], bool] | None = None
    """If this function of the messages returns True."""
    count: Encoding | CountTokens = "o200k"
    """What tokens are, as in messages()."""
    keep_turns: int = KEEP_TURNS
    """As in compact(). The condition should leave room for more than these turns."""

    def __post_init__(self) -> None:
        try:
            check_summarize(self.summarize)
            for name, value in (("tokens", self.tokens), ("messages", self.messages)):
                if value is not None:
                    check_count(name, value)
            check_count("keep_turns", self.keep_turns, minimum=1)
            counter(self.count)
        except InvalidInputError as error:
            raise InvalidOptionError(f"compact_when: {error}") from None
        if self.when is not None and not callable(self.when):
            raise InvalidOptionError(f"compact_when: when must be a function of messages, not {short_repr(self.when)}")
        if self.tokens is None and self.messages is None and self.when is None:
            raise InvalidOptionError("compact_when: pass tokens, messages or when: otherwise it never compacts")


def background_of(storage: Area, compact_when: object) -> Background | None:
    """Return where a handle's compactions run; None: it has none. InvalidOptionError for what is no CompactWhen."""
    if compact_when is None:
        return None
    if not isinstance(compact_when, CompactWhen):
        raise InvalidOptionError(f"compact_when must be a voltmem.CompactWhen, not {short_repr(compact_when)}")
    background = tasks_of(storage)
    if background is None:
        raise InvalidOptionError(
            "compact_when works beside the calls, on other connections than a transaction's: make the handle of the "
            "storage itself"
        )
    return background


def is_answer(message: Message) -> bool:
    """Return whether a turn may end with this message: the assistant speaks, and calls no tool."""
    return message.role == "assistant" and (
        only_speaks(message) or not any(isinstance(part, ToolCall | ToolResult) for part in parts(message))
    )


def _is_due(rule: CompactWhen, found: Range) -> bool:
    """Return whether one of the conditions holds."""
    if rule.messages is not None and len(found.messages) > rule.messages:
        return True
    if rule.when is not None and rule.when(found.messages):
        return True
    if rule.tokens is None:
        return False
    count = counter(rule.count)
    summary = 0 if found.before is None else count(found.before.content)
    return summary + sum(tokens_of(message, count) for message in found.messages) > rule.tokens


async def compact_if_due(access: Access, user_id: str, conversation_id: str, rule: CompactWhen) -> None:
    """Compact the conversation if a condition holds."""
    found = await read_range(access, user_id, conversation_id)
    size = sum(len(message.content) for message in found.messages if isinstance(message.content, str))
    limit = access.options.storage_limit if access.options.on_limit == "delete" else None
    is_near_limit = limit is not None and len(found.messages) >= limit * 3 / 4
    if is_near_limit or await off_loop_if_long(size, _is_due, rule, found):
        await compact(access, user_id, conversation_id, found, rule.summarize, rule.keep_turns)
