"""voltmem itself."""

from collections.abc import Sequence

from tests.benchmarks.peers.work import USER, Peer, Said
from voltmem import PostgresStorage


class Store(Peer):
    """A storage with the defaults, and without a limit."""

    async def open(self) -> None:
        self._storage = PostgresStorage(self.dsn, storage_limit=None)
        await self._storage.open()

    async def close(self) -> None:
        await self._storage.close()

    async def create(self, conversation: str) -> None:
        await self._storage.create_conversation({"id": conversation, "user_id": USER})

    async def add(self, conversation: str, messages: Sequence[Said]) -> None:
        if len(messages) == 1:
            await self._storage.add_message(_message(messages[0]), USER, conversation)
        else:
            await self._storage.add_messages([_message(each) for each in messages], USER, conversation)

    async def load(self, conversation: str, newest: int) -> int:
        return len(await self._storage.get_messages(USER, conversation, limit=newest))

    async def list(self, page: int) -> int:
        return len((await self._storage.list_conversations(USER, limit=page)).items)


def _message(said: Said) -> dict[str, object]:
    content: object = said.text
    if said.kind == "call":
        content = [{"type": "tool-call", "toolCallId": "t1", "toolName": "look", "args": {"text": said.text}}]
    elif said.kind == "result":
        content = [{"type": "tool-result", "toolCallId": "t1", "toolName": "look", "result": said.text}]
    role = {"call": "assistant", "result": "tool"}.get(said.kind, said.kind)
    return {"id": said.id, "role": role, "content": content}
