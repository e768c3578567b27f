"""The session of the OpenAI Agents SDK: it has no list of sessions."""

from collections.abc import Sequence
from typing import Any

from agents.extensions.memory import SQLAlchemySession
from sqlalchemy.ext.asyncio import create_async_engine

from tests.benchmarks.peers.work import Peer, Said


class Store(Peer):
    """A session for each conversation, on one engine."""

    async def open(self) -> None:
        self._engine = create_async_engine(self.sqlalchemy_url)
        self._sessions: dict[str, SQLAlchemySession] = {}

    async def close(self) -> None:
        await self._engine.dispose()

    async def create(self, conversation: str) -> None:
        """Do nothing: the first message makes it."""

    async def add(self, conversation: str, messages: Sequence[Said]) -> None:
        await self._session(conversation).add_items([_item(each) for each in messages])

    async def load(self, conversation: str, newest: int) -> int:
        return len(await self._session(conversation).get_items(newest))

    def _session(self, conversation: str) -> SQLAlchemySession:
        if conversation not in self._sessions:
            self._sessions[conversation] = SQLAlchemySession(conversation, engine=self._engine, create_tables=True)
        return self._sessions[conversation]


def _item(said: Said) -> Any:
    if said.kind == "call":
        return {"type": "function_call", "call_id": "t1", "name": "look", "arguments": said.text}
    if said.kind == "result":
        return {"type": "function_call_output", "call_id": "t1", "output": said.text}
    return {"role": said.kind, "content": said.text}
