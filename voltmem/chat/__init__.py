"""
A chat with a sidebar for one's own agent, which any ASGI application mounts (extra "chat").

::

    from fastapi import FastAPI
    from voltmem import PostgresStorage, chat

    async def my_agent(messages):
        for word in ["You ", "said: ", messages[-1].text]:
            yield word

    storage = PostgresStorage(search=True)
    app = FastAPI(lifespan=storage.lifespan)
    app.mount("/chat", chat.app(storage, answer=my_agent, user=signed_in))  # a dependency of the application's

``python -m voltmem chat mymodule:my_agent`` serves it on this machine, without an application. Its routes are those of
``voltmem.web``, and one that streams answers. Nothing comes from another host.
"""

from __future__ import annotations

from voltmem.chat._agents import Agent
from voltmem.chat._answering import Answer
from voltmem.chat._answers import MakeTitle
from voltmem.chat._app import app
from voltmem.chat._asking import OnFeedback, Rating
from voltmem.chat._context import Context
from voltmem.chat._features import Feature
from voltmem.chat._languages import Languages
from voltmem.chat._parts import Decision, File, Part, Reasoning, Source, Text, ToolCall, ToolInput, ToolResult

__all__ = [
    "Agent",
    "Answer",
    "Context",
    "Decision",
    "Feature",
    "File",
    "Languages",
    "MakeTitle",
    "OnFeedback",
    "Part",
    "Rating",
    "Reasoning",
    "Source",
    "Text",
    "ToolCall",
    "ToolInput",
    "ToolResult",
    "app",
]
