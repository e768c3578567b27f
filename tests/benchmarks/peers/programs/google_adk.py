"""The sessions of Google ADK: an event at a time, with a session that stays in memory between them."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from tests.benchmarks.peers.work import USER, Peer, Said

APP: Final = "benchmark"
# Not installed where the types are checked.
sessions: Any = import_module("google.adk.sessions")
base: Any = import_module("google.adk.sessions.base_session_service")
events: Any = import_module("google.adk.events")
types: Any = import_module("google.genai.types")


class Store(Peer):
    """The database's service of sessions."""

    async def open(self) -> None:
        self._service = sessions.DatabaseSessionService(self.sqlalchemy_url)
        self._sessions: dict[str, Any] = {}

    async def close(self) -> None:
        await self._service.close()

    async def create(self, conversation: str) -> None:
        self._sessions[conversation] = await self._service.create_session(
            app_name=APP, user_id=USER, session_id=conversation
        )

    async def add(self, conversation: str, messages: Sequence[Said]) -> None:
        for each in messages:
            await self._service.append_event(self._sessions[conversation], _event(each))

    async def load(self, conversation: str, newest: int) -> int:
        session = await self._service.get_session(
            app_name=APP,
            user_id=USER,
            session_id=conversation,
            config=base.GetSessionConfig(num_recent_events=newest),
        )
        return len(session.events)

    async def list(self, page: int) -> int:
        """All of the user's sessions: there are no pages."""
        found = await self._service.list_sessions(app_name=APP, user_id=USER)
        return len(found.sessions)


def _event(said: Said) -> Any:
    part = types.Part(text=said.text)
    if said.kind == "call":
        part = types.Part.from_function_call(name="look", args={"text": said.text})
    elif said.kind == "result":
        part = types.Part.from_function_response(name="look", response={"result": said.text})
    is_users = said.kind in ("user", "result")
    content = types.Content(role="user" if is_users else "model", parts=[part])
    return events.Event(
        id=said.id, invocation_id="i1", author="user" if said.kind == "user" else "agent", content=content
    )
