"""Agno's asynchronous database: messages are stored by runs, here two messages or a turn in each."""

import time
import uuid
from collections.abc import Sequence
from typing import Any

from agno.db.base import SessionType
from agno.db.postgres import AsyncPostgresDb
from agno.models.message import Message
from agno.run.agent import RunOutput
from agno.session.agent import AgentSession

from tests.benchmarks.peers.work import USER, Peer, Said

OF_A_RUN = 2


class Store(Peer):
    """The tables of sessions and of runs."""

    async def open(self) -> None:
        self._db = AsyncPostgresDb(db_url=self.sqlalchemy_url)

    async def close(self) -> None:
        await self._db.close()

    async def create(self, conversation: str) -> None:
        await self._db.upsert_session(
            AgentSession(conversation, agent_id="agent", user_id=USER, created_at=int(time.time()))
        )

    async def add(self, conversation: str, messages: Sequence[Said]) -> None:
        """Store a run, then the session, whose time changes: as an agent does at the end of a run."""
        run = RunOutput(
            run_id=str(uuid.uuid4()),
            session_id=conversation,
            agent_id="agent",
            messages=[_message(m) for m in messages],
        )
        await self._db.upsert_run(run, conversation, USER)
        await self.create(conversation)

    async def fill(self, conversation: str, messages: Sequence[Said]) -> None:
        for start in range(0, len(messages), OF_A_RUN):
            await self.add(conversation, messages[start : start + OF_A_RUN])

    async def load(self, conversation: str, newest: int) -> int:
        session = await self._db.get_session(conversation, SessionType.AGENT, USER, runs_limit=-(-newest // OF_A_RUN))
        runs: Any = session.runs if isinstance(session, AgentSession) else None
        return sum(len(run.messages or ()) for run in runs or ())

    async def list(self, page: int) -> int:
        found = await self._db.get_sessions(
            SessionType.AGENT, USER, limit=page, page=1, sort_by="updated_at", sort_order="desc", include_runs=False
        )
        return len(found)


def _message(said: Said) -> Message:
    if said.kind == "call":
        call = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": said.text}}
        return Message(id=said.id, role="assistant", tool_calls=[call])
    if said.kind == "result":
        return Message(id=said.id, role="tool", content=said.text, tool_call_id="t1")
    return Message(id=said.id, role=said.kind, content=said.text)
