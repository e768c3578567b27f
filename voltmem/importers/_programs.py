"""Recognizes files of other programs, so that an error can name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

# What only this program's values have: paths of fields, all of which are there. A step into a list is a step into its
# first element; "*" is any field.
_PROGRAMS: Final[Sequence[tuple[str, Sequence[str]]]] = (
    ("DeepSeek's export", ["mapping.*.message.fragments"]),
    ("Claude's export", ["chat_messages"]),
    ("Gemini's history from Google Takeout", ["header", "products"]),
    ("Grok's export", ["conversation", "responses"]),
    ("Grok's export", ["conversations.conversation", "conversations.responses"]),
    ("Open WebUI's export", ["chat.history.messages"]),
    ("Open WebUI's export", ["history.messages", "messages"]),
    ("LibreChat's export", ["messages.isCreatedByUser"]),
    ("LobeChat's export", ["exportType", "state"]),
    ("TypingMind's export", ["data.chats"]),
    ("TypingMind's export", ["chatTitle", "messages"]),
    ("Chatbox's backup", ["chat-sessions-list"]),
    ("big-AGI's export", ["messages.fragments"]),
    ("big-AGI's export", ["conversations.messages.fragments"]),
    ("Chatbot UI's export", ["history.messages", "folders"]),
    ("ShareGPT's form", ["conversations.from", "conversations.value"]),
    ("ShareGPT's form", ["from", "value"]),
    ("a file of preferences, for fine-tuning", ["preferred_output", "non_preferred_output"]),
    ("a file of prompts and completions", ["prompt", "completion"]),
    ("OpenAI's Assistants API", ["thread_id", "object"]),
    ("OpenAI's Assistants API", ["data.thread_id", "object"]),
    ("LangChain's dumps() (message_to_dict() writes what is read)", ["lc", "kwargs"]),
    ("SillyTavern's chat", ["user_name", "character_name"]),
    ("voltmem's own export (read by import_user())", ["voltmem", "kind"]),
    ("ChatGPT's export (read by from_chatgpt())", ["mapping"]),
)


def program_of(value: object) -> str | None:
    """Return whose value it is; None: not known."""
    return next(
        (name for name, paths in _PROGRAMS if all(any(_reached(value, path.split("."))) for path in paths)), None
    )


def _reached(value: object, steps: Sequence[str]) -> Iterator[bool]:
    """Yield True for each value at the end of the path."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, Mapping):
        return
    step, *others = steps
    for each in value.values() if step == "*" else [value[step]] if step in value else ():
        yield from _reached(each, others) if others else [True]
