"""LangGraph's checkpoints: each holds the whole list of messages, and there is no list of threads."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.base import empty_checkpoint

from tests.benchmarks.peers.work import Peer, Said

# Not installed where the types are checked.
postgres: Any = import_module("langgraph.checkpoint.postgres.aio")
psycopg: Any = import_module("psycopg.rows")
psycopg_pool: Any = import_module("psycopg_pool")


class Store(Peer):
    """A saver on a pool. A step reads the last checkpoint and stores the next one, as a graph does."""

    async def open(self) -> None:
        options = {"autocommit": True, "prepare_threshold": 0, "row_factory": psycopg.dict_row}
        self._pool = psycopg_pool.AsyncConnectionPool(self.dsn, max_size=10, open=False, kwargs=options)
        await self._pool.open()
        self._saver = postgres.AsyncPostgresSaver(self._pool)
        await self._saver.setup()

    async def close(self) -> None:
        await self._pool.close()

    async def create(self, conversation: str) -> None:
        """Do nothing: the first message makes it."""

    async def add(self, conversation: str, messages: Sequence[Said]) -> None:
        config = {"configurable": {"thread_id": conversation, "checkpoint_ns": ""}}
        before = await self._saver.aget_tuple(config)
        values = before.checkpoint["channel_values"]["messages"] if before else []
        version = before.checkpoint["channel_versions"]["messages"] if before else None
        after = empty_checkpoint()
        after["channel_values"] = {"messages": [*values, *map(_message, messages)]}
        after["channel_versions"] = {"messages": self._saver.get_next_version(version, None)}
        await self._saver.aput(
            before.config if before else config, after, {"source": "loop", "step": 1}, after["channel_versions"]
        )

    async def fill(self, conversation: str, messages: Sequence[Said]) -> None:
        await self.add(conversation, messages)  # one checkpoint, since each would hold all messages before it

    async def load(self, conversation: str, newest: int) -> int:
        """Read the whole state, and take the newest messages of it."""
        found = await self._saver.aget_tuple({"configurable": {"thread_id": conversation}})
        return len(found.checkpoint["channel_values"]["messages"][-newest:])


def _message(said: Said) -> AnyMessage:
    if said.kind == "user":
        return HumanMessage(said.text, id=said.id)
    if said.kind == "result":
        return ToolMessage(said.text, tool_call_id="t1", id=said.id)
    calls: Any = [{"name": "look", "args": {"text": said.text}, "id": "t1"}] if said.kind == "call" else []
    return AIMessage("" if calls else said.text, id=said.id, tool_calls=calls)
