"""The columns of the matrix: who stores a conversation, and what a form cannot say."""

from __future__ import annotations

from typing import Final

from tests.across import programs, writers
from tests.across.writers import Write, added

WRITERS: Final[dict[str, Write]] = {
    "plain": added(writers.plain_separate),
    "plain, results beside calls": added(writers.plain_together),
    "Chat Completions": added(writers.chat_completions),
    "Responses": added(writers.response_items),
    "Anthropic": added(writers.anthropic),
    "Gemini": added(writers.gemini),
    "useChat": writers.write_ui_messages,
    "UIMessages": added(writers.ui_messages),
    "assistant-ui": writers.write_aui,
    "OpenAI Agents": writers.write_openai_agents,
    "Pydantic AI": writers.write_pydantic_ai,
    "LangChain": writers.write_langchain,
    "Agno": writers.write_agno,
    "the chat": added(writers.chat),
    "ChatGPT": programs.write_chatgpt,
    "VoltAgent": programs.write_voltagent,
    "VoltAgent 0.1": programs.write_old_voltagent,
}
_PICTURES: Final = frozenset({"picture by URL", "picture by bytes", "stored picture"})
# Agno's agent does not leave calls without results, and its errors, reasoning and files come from its providers.
# ChatGPT's results name the tool and no call, so they are in the order of the calls; the export has no pictures, only
# ChatGPT's addresses of them.
# VoltAgent 0.1 stores no reasoning.
# The chat stores of each call what became of it.
CANNOT: Final[dict[str, frozenset[str]]] = {
    "ChatGPT": _PICTURES | {"answers out of order"},
    "VoltAgent 0.1": frozenset({"reasoning"}),
    "the chat": frozenset({"abandoned", "one of two abandoned"}),
    "Agno": _PICTURES | {"failed", "abandoned", "one of two abandoned", "reasoning"},
}
