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
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeAlias

from voltmem import PostgresStorage, VoltMemError

State: TypeAlias = list[list[str]] | None
"""Ids and texts of the messages of the line, in order; None: there is no such conversation."""

LIMIT = 12
"""The storage_limit of the conversations that have one."""
LONGEST = 30
"""A conversation with more messages is left, and another begun."""


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
        await self.write("create", [], lambda: self._storage.create_conversation(conversation))

    async def _add(self, verb: str, *texts: str) -> None:
        new = [{"id": self._client.new_id(), "role": "user", "content": text} for text in texts]
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
            message = {"id": id, "role": "user", "content": text}
            await self.write("edit", after, lambda: self._storage.add_message(message, self._client.user, self.id))

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


class Client:
    """The tasks of one process."""

    def __init__(self, dsn: str, schema: str, record: str, seconds: float, release: str) -> None:
        self.record = Record(record)
        self.user = os.path.basename(record)
        self._until = time.monotonic() + seconds
        options: dict[str, Any] = {"schema": schema, "search": True, "max_connections": 4, "migrate": "off"}
        options |= {"command_timeout": 10, "connect_timeout": 3, "retry_timeout": 20}
        self._all = PostgresStorage(dsn, storage_limit=None, **options)
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
        verbs = (Talk.append, Talk.turn, Talk.edit, Talk.branch, Talk.rewind, Talk.delete, Talk.end, Talk.file)
        weights = (40, 16, 12, 5, 5, 5, 1, 4)
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

    async def looks(self) -> None:
        """Read: the sidebar, the search, a window, an export."""

        reads: dict[str, Callable[[], Awaitable[object]]] = {
            "sidebar": self._sidebar,
            "search": lambda: self._all.search(self.user, "zurich more"),
            "window": lambda: self._all.get_messages("everybody", "shared", limit=20),
            "export": self._export,
        }
        while time.monotonic() < self._until:
            name = random.choices(list(reads), (10, 6, 10, 1))[0]
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
                group.create_task(self.looks())
        finally:
            watching.cancel()
            self.record.write(reads=dict(self.reads), release=self.release)
            await asyncio.gather(watching, self._all.close(), self._newest.close(), return_exceptions=True)


if __name__ == "__main__":
    dsn, schema, record, seconds, release = sys.argv[1:]
    asyncio.run(Client(dsn, schema, record, float(seconds), release).run())
