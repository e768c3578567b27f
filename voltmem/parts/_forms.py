"""The forms by their names: which reader reads a stored message, and which form a given message has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from voltmem.parts import (
    agno,
    ai_sdk,
    anthropic,
    assistant_ui,
    gemini,
    langchain,
    openai_chat,
    pydantic_ai,
    responses,
)
from voltmem.parts._shapes import read_block
from voltmem.parts._types import JsonObject, Part, string


@dataclass(frozen=True)
class Form:
    """One form, as messages are given in it and stored."""

    format: str
    is_message: Callable[[JsonObject], bool]
    read: Callable[[JsonObject], list[Part]]
    role: Callable[[JsonObject], str]
    outside: frozenset[str]
    """The fields of a given message that are ours: they go beside the payload, not into it."""
    as_stored: Callable[[JsonObject], JsonObject] = lambda message: message
    """Makes the payload of a message that is given in another spelling of the form."""
    metadata: Callable[[JsonObject], JsonObject] | None = None
    """Returns the message's metadata, if the form has it, too."""


def _role(message: JsonObject) -> str:
    return string(message, "role") or "assistant"


_OURS: Final = frozenset({"id", "metadata", "created_at", "createdAt", "parent_id"})
_ID: Final = frozenset({"id"})
_NONE: Final[frozenset[str]] = frozenset()

# In this order: a shape that is more particular comes first.
FORMS: Final = (
    Form(
        langchain.FORMAT,
        langchain.is_message,
        lambda message: langchain.read(langchain.as_stored(message), read_block),
        langchain.role,
        _NONE,
        langchain.as_stored,
    ),
    # Not "agno/…", which are the rows of a session.
    Form(agno.FAMILY, agno.is_message, lambda message: agno.read(message, read_block), _role, _OURS),
    Form(pydantic_ai.FORMAT, pydantic_ai.is_message, pydantic_ai.read, pydantic_ai.role, _NONE),
    Form(gemini.FORMAT, gemini.is_message, gemini.read, gemini.role, _OURS),
    Form(ai_sdk.FORMAT, ai_sdk.is_message, ai_sdk.read, _role, _ID, metadata=ai_sdk.metadata),
    Form(assistant_ui.FORMAT, assistant_ui.is_message, assistant_ui.read, _role, _ID),
    Form(anthropic.FORMAT, anthropic.is_message, anthropic.read, _role, _NONE),
    Form(responses.FORMAT, responses.is_message, responses.read, responses.role, _NONE),
    Form(openai_chat.FORMAT, openai_chat.is_message, openai_chat.read, _role, _OURS),
)

_BY_NAME: Final[Mapping[str, Callable[[JsonObject], list[Part]]]] = {
    **{form.format: form.read for form in FORMS},
    "openai-agents": responses.read,
}


def form_of(message: JsonObject) -> Form | None:
    """Return the form of a message that was given; None: it is plain, or nothing that we know."""
    return next((form for form in FORMS if form.is_message(message)), None)


def read_payload(format: str, payload: JsonValue) -> list[Part] | None:
    """Return the parts of a payload in this format; None: no form has this name."""
    if not isinstance(payload, dict):
        return None
    if format in _BY_NAME:
        return _BY_NAME[format](payload)
    if format.startswith(ai_sdk.FAMILY):
        return ai_sdk.read(payload)
    if format.startswith(assistant_ui.FAMILY):
        return assistant_ui.read(payload)
    if format.partition("/")[0] in (agno.FAMILY, f"{agno.FAMILY}-1"):
        message = agno.of_row(payload)
        return agno.read(message, read_block) if message else None  # a run without messages has its input and output
    return None
