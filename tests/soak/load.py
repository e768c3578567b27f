"""
One client of the soak test: a process that calls verbs, and records each write in a file of its own.

It is run as a script, so that it imports the voltmem of whichever checkout PYTHONPATH names, and imports nothing else
of this one. A line of the record is written before a call, with what the conversation holds afterwards, and one after
it, with the outcome. A conversation whose write had no answer is left alone from then on: it must be as it was before,
or as it would be after, and nothing in between.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from zlib import crc32

from voltmem import Message, PostgresStorage, Recall, VoltMemError
from voltmem.tokens import estimate_tokens

State: TypeAlias = list[list[str]] | None
"""Ids and texts of the messages of the line, in order; None: there is no such conversation."""

LIMIT = 12
"""The storage_limit of the conversations that have one."""
LONGEST = 30
"""A conversation with more messages is left, and another begun."""


def sign(id: str, text: str) -> str:
    """Return what a summary says of a message, so that it can be seen for which messages and texts it stands."""
    return f"{id}={crc32(text.encode()):x}"


async def embed(texts: Sequence[str]) -> list[list[float]]:
    """Return a vector for each text, the same each time."""
    return [[1.0 + (crc32(text.encode()) >> shift) % 16 for shift in (0, 4, 8)] for text in texts]


MEANING = Recall(embed=embed, dimensions=3, model="sums")


def _summarize(messages: list[Message], before: str | None) -> str:
    return " ".join([*([before] if before else []), *(sign(each.id, each.text) for each in messages)])


class _CutOffError(Exception):
    """A read has failed that had handed out a part. Its cause is the error."""


class Record:
    """The file of a client. Lines are written at once, so that they are there if the client is killed."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, **line: object) -> None:
        os.write(self._file, (json.dumps(line) + "\n").encode())


class Talk:
    """One conversation that only this task writes to."""

    def __init__(self, client: Client, storage: PostgresStorage, limit: int | None) -> None:
        self._client = client
        self._storage = storage
        self._limit = limit
        self.id = client.new_id()
        self.messages: list[list[str]] = []
        self.is_over = False

    async def write(self, verb: str, after: State, call: Callable[[], Awaitable[object]]) -> None:
        """Call a verb that leaves this state, and record its outcome."""
        if after is not None and self._limit is not None:
            after = after[-self._limit :]
        self._client.record.write(conversation=self.id, verb=verb, after=after)
        try:
            await call()
        except VoltMemError as error:
            self.is_over = True
            self._client.record.write(conversation=self.id, outcome=type(error).__name__, reason=str(error)[:200])
            return
        self._client.record.write(conversation=self.id, outcome="done")
        self.is_over = after is None
        self.messages = after or []

    async def begin(self) -> None:
        """Create the conversation."""
        conversation = {"id": self.id, "user_id": self._client.user, "title": f"title {self.id}"}
        conversation["resource_id"] = self.id  # what prune() is for
        await self.write("create", [], lambda: self._storage.create_conversation(conversation))

    async def _add(self, verb: str, *texts: str) -> None:
        new = [_message(self._client.new_id(), text) for text in texts]
        after = [*self.messages, *([each["id"], each["content"]] for each in new)]
        arguments = self._client.user, self.id
        if len(new) == 1:
            await self.write(verb, after, lambda: self._storage.add_message(new[0], *arguments))
        else:
            await self.write(verb, after, lambda: self._storage.add_messages(new, *arguments))

    async def append(self) -> None:
        await self._add("append", self._client.text())

    async def turn(self) -> None:
        await self._add("turn", self._client.text(), self._client.text(), self._client.text())

    async def edit(self) -> None:
        """Replace a message in its place."""
        if self.messages:
            place = random.randrange(len(self.messages))
            id, text = self.messages[place][0], self._client.text()
            after = [*self.messages[:place], [id, text], *self.messages[place + 1 :]]
            message = _message(id, text)
            await self.write("edit", after, lambda: self._storage.add_message(message, self._client.user, self.id))

    async def compact(self) -> None:
        """Summarise all but the newest turn. The messages stay; what the windows show then is compared at the end."""
        memory = self._storage.conversation(self._client.user, self.id)
        await self.write("compact", self.messages, lambda: memory.compact(_summarize, keep_turns=1))

    async def forget(self) -> None:
        """Delete some messages with what was derived from them."""
        ids = [id for id, _ in random.sample(self.messages, min(2, len(self.messages)))]
        after = [each for each in self.messages if each[0] not in ids]
        call = self._storage.forget
        await self.write("forget", after, lambda: call(self._client.user, ids, self.id))

    async def prune(self) -> None:
        """Delete the oldest messages, and leave the conversation. Those that are newer than a clock set back stay."""
        user, age, kept = self._client.user, timedelta(0), random.randint(1, 5)
        call = self._storage.prune
        await self.write(
            "prune", self.messages[-kept:], lambda: call(user, older_than=age, keep_last=kept, resource_id=self.id)
        )
        self.is_over = True

    async def branch(self) -> None:
        """Set the newest messages aside."""
        await self._cut(
            "branch", lambda last: self._storage.branch_conversation(self.id, last, owner=self._client.user)
        )

    async def rewind(self) -> None:
        """Delete the newest messages."""
        await self._cut(
            "rewind", lambda last: self._storage.rewind_conversation(self.id, last, owner=self._client.user)
        )

    async def _cut(self, verb: str, call: Callable[[str], Awaitable[object]]) -> None:
        if self.messages and self._limit is None:
            kept = self.messages[: random.randint(1, len(self.messages))]
            await self.write(verb, kept, lambda: call(kept[-1][0]))

    async def delete(self) -> None:
        """Delete some messages."""
        gone = random.sample(self.messages, min(2, len(self.messages)))
        ids = [id for id, _ in gone]
        after = [each for each in self.messages if each not in gone]
        await self.write("delete", after, lambda: self._storage.delete_messages(ids, self._client.user, self.id))

    async def end(self) -> None:
        """Delete the conversation."""
        await self.write("delete all", None, lambda: self._storage.delete_conversation(self.id))

    async def file(self) -> None:
        """Store a file, and a message that refers to it."""
        size = random.choice((10, 5_000, 300_000))
        stored = await self._storage.put_file(self._client.user, os.urandom(size))
        await self._add("file", stored.url)


def _message(id: str, text: str) -> dict[str, str]:
    return {"id": id, "role": "user" if int(id.rpartition("-")[2]) % 2 else "assistant", "content": text}


class Client:
    """The tasks of one process."""

    def __init__(self, dsn: str, schema: str, record: str, seconds: float, release: str) -> None:
        self.record = Record(record)
        self.user = os.path.basename(record)
        self._until = time.monotonic() + seconds
        options: dict[str, Any] = {"schema": schema, "search": True, "max_connections": 4, "migrate": "off"}
        options |= {"command_timeout": 10, "connect_timeout": 3, "retry_timeout": 20}
        self._all = PostgresStorage(dsn, storage_limit=None, count_tokens=True, recall=MEANING, **options)
        self._newest = PostgresStorage(dsn, storage_limit=LIMIT, **options)
        self._numbers = 0
        self.release = release
        self.reads: Counter[str] = Counter()
        self._active_at: dict[str, datetime] = {}

    def new_id(self) -> str:
        self._numbers += 1
        return f"{self.user}-{self._numbers}"

    def text(self) -> str:
        """Return a text that no other message has."""
        place = random.choice(("Zürich", "Αθήνα", "東京", "Łódź"))
        return f"words {self.new_id()} {place} {'more ' * random.randint(0, 40)}"

    async def talks(self, storage: PostgresStorage, limit: int | None) -> None:
        """Write to one conversation after the other."""
        verbs = (
            *(Talk.append, Talk.turn, Talk.edit, Talk.branch, Talk.rewind, Talk.delete, Talk.end, Talk.file),
            *(Talk.compact, Talk.forget, Talk.prune),
        )
        weights = (40, 16, 12, 5, 5, 5, 1, 4, 12, 3, 1)
        while time.monotonic() < self._until:
            talk = Talk(self, storage, limit)
            await talk.begin()
            while not talk.is_over and len(talk.messages) < LONGEST and time.monotonic() < self._until:
                try:
                    await random.choices(verbs, weights)[0](talk)
                except VoltMemError as error:  # of put_file()
                    self.record.write(refused=type(error).__name__, verb="put file", reason=str(error)[:200])

    async def meets(self) -> None:
        """Append to a conversation that all clients append to. Each append has a record as if it were the only one."""
        while time.monotonic() < self._until:
            message = {"id": self.new_id(), "role": "user", "content": self.text()}
            self.record.write(conversation="shared", verb="append to shared", adds=[message["id"], message["content"]])
            try:
                await self._all.add_message(message, "everybody", "shared")
            except VoltMemError as error:
                self.record.write(shared=message["id"], outcome=type(error).__name__, reason=str(error)[:200])
            else:
                self.record.write(shared=message["id"], outcome="done")

    async def remembers(self) -> None:
        """Append to a working memory that all clients append to."""
        memory = self._all.working_memory("everybody")
        while time.monotonic() < self._until:
            note = self.new_id()
            self.record.write(remembers=note)
            try:
                await memory.append(note)
            except VoltMemError as error:
                self.record.write(note=note, outcome=type(error).__name__, reason=str(error)[:200])
            else:
                self.record.write(note=note, outcome="done")
            await asyncio.sleep(0.5)

    async def embeds(self) -> None:
        """Make the vectors of messages, beside the other clients."""
        while time.monotonic() < self._until:
            try:
                self.reads["embedded"] += await self._all.embed_messages(limit=200)
            except VoltMemError as error:
                # Stored or not: what has no vector is embedded again.
                self.record.write(embedding=type(error).__name__, reason=str(error)[:200])
            await asyncio.sleep(0.5)

    async def looks(self) -> None:
        """Read: the sidebar, the search, recall, windows, a working memory, an export."""

        reads: dict[str, Callable[[], Awaitable[object]]] = {
            "sidebar": self._sidebar,
            "search": lambda: self._all.search(self.user, "zurich more"),
            "window": lambda: self._all.get_messages("everybody", "shared", limit=20),
            "recall": self._recall,
            "window of tokens": self._window_of_tokens,
            "memory": lambda: self._all.working_memory("everybody").get(),
            "export": self._export,
        }
        while time.monotonic() < self._until:
            name = random.choices(list(reads), (10, 6, 10, 6, 6, 4, 1))[0]
            try:
                await reads[name]()
                self.reads[name] += 1
            except VoltMemError as error:
                self.record.write(refused=type(error).__name__, verb=name, reason=str(error)[:200])
            except _CutOffError as error:
                reason = error.__cause__
                self.record.write(cut_off=type(reason).__name__, verb=name, reason=str(reason)[:200])

    async def _export(self) -> None:
        """Export. After the first line an error cuts it off: a part was handed out, so that nothing can repeat it."""
        lines = self._all.export_user(self.user)
        await anext(lines)
        try:
            async for _ in lines:
                pass
        except VoltMemError as error:
            raise _CutOffError from error

    async def _recall(self) -> None:
        """Recall by words and vectors, and record what is another user's or comes twice."""
        moments = await self._all.recall(self.user, "zurich more", limit=5)
        shown = [(each.conversation.id, message.id) for each in moments for message in each.messages]
        if len(set(shown)) < len(shown) or any(not id.startswith(f"{self.user}-") for id, _ in shown):
            self.record.write(wrong="recall", reason=f"recall of {self.user} has {shown}")

    async def _window_of_tokens(self) -> None:
        """Read a window of a budget, and record one that is beyond it."""
        window = await self._all.conversation("everybody", "shared").messages(tokens=500)
        if sum(4 + estimate_tokens(each.text) for each in window) > 500:
            self.record.write(wrong="window of tokens", reason=f"{[each.id for each in window]} has over 500 tokens")

    async def _sidebar(self) -> None:
        """Read the newest conversations, and record each whose time of activity has moved back."""
        for each in (await self._all.list_conversations(self.user)).items:
            before = self._active_at.get(each.id, each.updated_at)
            if each.updated_at < before:
                self.record.write(back=each.id, reason=f"{each.id}: updated_at was {before}, and is {each.updated_at}")
            self._active_at[each.id] = each.updated_at

    async def watches(self) -> None:
        """Watch the changes of the own conversations."""
        while True:
            try:
                async for _ in self._all.watch(self.user):
                    self.reads["watch"] += 1
            except VoltMemError as error:
                self.record.write(refused=type(error).__name__, verb="watch", reason=str(error)[:200])
                await asyncio.sleep(0.5)

    async def run(self) -> None:
        """Do all of it until the time is over."""
        watching = asyncio.create_task(self.watches())
        try:
            async with asyncio.TaskGroup() as group:
                for storage, limit in ((self._all, None), (self._all, None), (self._newest, LIMIT)):
                    group.create_task(self.talks(storage, limit))
                group.create_task(self.meets())
                group.create_task(self.remembers())
                group.create_task(self.embeds())
                group.create_task(self.looks())
        finally:
            watching.cancel()
            self.record.write(reads=dict(self.reads), release=self.release)
            await asyncio.gather(watching, self._all.close(), self._newest.close(), return_exceptions=True)


if __name__ == "__main__":
    dsn, schema, record, seconds, release = sys.argv[1:]
    asyncio.run(Client(dsn, schema, record, float(seconds), release).run())
