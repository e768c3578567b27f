"""
LISTEN/NOTIFY: one connection for all watchers of a storage learns that a user's conversations changed.

    a writer's commit ── notification: the user's key ── our one connection ──┬── a watcher of that user looks
                                                                             └── … and another

A notification is only a hint: watchers query what changed, of conversations, or of working memories, too. Where none
arrives they query every few seconds. Notifications serialise the commits of all senders, so a trigger sends them only
for users who are being watched. The rows that name these users are written here, and expire unless they are renewed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from voltmem._postgres.database import Database
from voltmem._postgres.driver import CLOSE_TIMEOUT, DRIVER_ERRORS, FIRST_DELAY, LONGEST_DELAY, jittered, logger
from voltmem._tables import Tables, bare, rendered
from voltmem._values import user_key, user_key_sql, uuid7
from voltmem.errors import ConnectionFailedError, DatabaseError, DatabaseTimeoutError, VoltMemError
from voltmem.options import StorageOptions

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection

# Seconds.
_RENEWED_EVERY: Final = 20.0
_LOOK_ANYWAY: Final = 30.0
# Hints within this time lead to one query.
_TOGETHER: Final = 0.1
_PROOF_WITHIN: Final = 2.0
_ANSWER_WITHIN: Final = 10.0
_BEGIN_WITHIN: Final = 5.0

# What a notification says beside the user's key.
_MEMORY: Final = "memory"
_DELETED: Final = "deleted"

# The server could not be reached. The next try may succeed.
UNREACHABLE: Final = (ConnectionFailedError, DatabaseTimeoutError)


def channel(tables: Tables) -> str:
    """Return the notification channel of these tables. The trigger's function computes the same name."""
    from hashlib import sha256  # here: it loads OpenSSL

    return f"voltmem_{sha256(tables.render('{schema}.{prefix}').encode()).hexdigest()[:16]}"


def notify_of_deletion_sql(tables: Tables, user_id: str) -> str:
    """Return the SQL expression that notifies all watchers of the user whose id *user_id* yields of the deletion."""
    name = tables.render("{schema}.{prefix}")
    digest = f"pg_catalog.sha256(pg_catalog.convert_to('{name}', 'UTF8'))"
    channel = f"'voltmem_' || pg_catalog.left(pg_catalog.encode({digest}, 'hex'), 16)"
    return f"pg_catalog.pg_notify({channel}, {user_key_sql(user_id)} || ' {_DELETED}')"


class ListenerStatements:
    """The statements whose text does not depend on the arguments."""

    def __init__(self, tables: Tables) -> None:
        self.prove = f"""
            SELECT pg_catalog.pg_notify($1, $2), EXISTS (
                SELECT 1 FROM pg_catalog.pg_trigger
                WHERE tgrelid = pg_catalog.to_regclass('{tables.conversations}')::oid
                    AND tgname = '{bare(tables.tell_watchers)}'
                    AND tgenabled IN ('O', 'A')
            ) AS has_trigger"""
        # Three times the interval of renewal.
        self.watch = f"""
            INSERT INTO {tables.watchers} (user_id, listener, until)
            SELECT DISTINCT user_id, $2::text, pg_catalog.statement_timestamp() + interval '1 minute'
            FROM pg_catalog.unnest($1::text[]) AS user_id
            ON CONFLICT (user_id, listener) DO UPDATE SET until = excluded.until"""
        # SKIP LOCKED: two listeners that clean up at the same time do not wait for each other.
        self.forget_expired = f"""
            DELETE FROM {tables.watchers} WHERE (user_id, listener) IN (
                SELECT user_id, listener FROM {tables.watchers}
                WHERE until < pg_catalog.statement_timestamp() FOR UPDATE SKIP LOCKED
            )"""
        self.leave = f"DELETE FROM {tables.watchers} WHERE listener = $1"


class Watcher:
    """One watcher of a user: decides when to query next."""

    def __init__(self, user_id: str, listener: Listener) -> None:
        self.user_id = user_id
        self.missed = False
        """Whether the connection was lost since the last query."""
        self._listener = listener
        self._hint = asyncio.Event()
        self._closed = False
        self._looked = float("-inf")
        self._is_of_memory = False

    def begin(self) -> None:
        """Drop the hints that arrived before the first query."""
        self._hint.clear()
        self._is_of_memory = False

    async def wait(self, poll_interval: float) -> bool:
        """Wait until it is time to query: after a hint, or a while. Returns False when the watcher is closed."""
        listening = self._listener.is_listening and not self.missed
        if not listening:
            self._is_of_memory = True  # no hint says so
        if not self._closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_ANYWAY if listening else poll_interval):
                    await self._hint.wait()
        time = asyncio.get_running_loop().time
        if not self._closed and (rest := self._looked + _TOGETHER - time()) > 0:
            await asyncio.sleep(rest)
        self._looked = time()
        self._hint.clear()
        return not self._closed

    def is_back(self) -> bool:
        """Return whether this query is the first since the connection was lost."""
        missed, self.missed = self.missed, False
        return missed

    def is_of_memory(self) -> bool:
        """Return whether a working memory may have changed since the query before."""
        is_of_memory, self._is_of_memory = self._is_of_memory, False
        return is_of_memory

    def hint(self, *, missed: bool = False, of_memory: bool = False) -> None:
        """Make the watcher query soon."""
        self.missed = self.missed or missed
        self._is_of_memory = self._is_of_memory or missed or of_memory
        self._hint.set()

    def close(self) -> None:
        """End the watcher."""
        self._closed = True
        self._hint.set()


class Listener:
    """The connection that listens, open from the first watcher to the last."""

    def __init__(self, options: StorageOptions, database: Database) -> None:
        self.is_listening = False
        """Whether notifications arrive. Until then, watchers query every few seconds."""
        self._database = database
        self._sql = rendered(ListenerStatements, options.tables)
        self._channel = channel(options.tables)
        self._name = uuid7()
        self._watchers: dict[str, set[Watcher]] = {}
        self._was_listening = False
        self._registered: set[str] = set()
        self._deleted: set[str] = set()  # keys of users whose rows are gone
        self._due = asyncio.Event()
        self._proof = asyncio.Event()
        self._tried = asyncio.Event()
        self._delay = FIRST_DELAY
        self._task = asyncio.create_task(self._run(), name="voltmem: listens for changes")

    # --- the watchers -----------------------------------------------------------------------------------------

    def add(self, watcher: Watcher) -> None:
        """Send the watcher the hints for its user."""
        self._watchers.setdefault(user_key(watcher.user_id), set()).add(watcher)

    def remove(self, watcher: Watcher) -> bool:
        """Remove a watcher. Returns whether it was the last."""
        key = user_key(watcher.user_id)
        self._watchers[key].discard(watcher)
        if not self._watchers[key]:
            del self._watchers[key]
        return not self._watchers

    def all_watchers(self) -> list[Watcher]:
        """Return all watchers."""
        return [watcher for each in self._watchers.values() for watcher in each]

    async def watched(self, user_id: str) -> None:
        """Wait until notifications for the user are registered, or it is known that none will arrive."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_BEGIN_WITHIN):
                await self._tried.wait()
        if self.is_listening and user_id not in self._registered:
            await self._database.fetch(self._sql.watch, [user_id], self._name)
            self._registered.add(user_id)

    async def stop(self) -> None:
        """Stop listening. Returns when the connection is closed."""
        self._task.cancel()
        await asyncio.wait([self._task])

    # --- the connection ---------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                try:
                    await self._listen()
                except VoltMemError as error:
                    if not self._was_listening and not isinstance(error, UNREACHABLE):
                        logger.info("no notifications: watch() queries every few seconds instead (%s)", error)
                        return
                    logger.debug("the connection that listens for changes was lost: %s", error)
                self._tried.set()
                await asyncio.sleep(jittered(self._delay))
                self._delay = min(2 * self._delay, LONGEST_DELAY)
        finally:
            self._tried.set()

    async def _listen(self) -> None:
        """Listen until the connection is lost, which raises an error in any case."""
        gone = asyncio.Event()

        def end(_connection: object) -> None:
            gone.set()
            self._due.set()

        async with self._database.connection_to_listen() as connection:
            connection.add_termination_listener(end)
            await connection.add_listener(self._channel, self._on_notification)
            try:
                await self._prove()
                while self._users() - self._registered:  # others may be added meanwhile
                    await self._renew(connection)
                self._begin()
                while not gone.is_set():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_RENEWED_EVERY):
                            await self._due.wait()
                    if not gone.is_set():
                        await self._renew(connection)
            finally:
                self._end()
                await self._unregister(connection)
        raise ConnectionFailedError("the server closed it")

    def _on_notification(self, _connection: object, _process: int, _channel: str, payload: object) -> None:
        if payload == self._name:
            self._proof.set()
        user, _, what = str(payload).partition(" ")
        for watcher in self._watchers.get(user, ()):
            watcher.hint(of_memory=what == _MEMORY)
        if what == _DELETED:
            # Our row of the user is gone, too: until it is back, no change is notified.
            self._registered = {each for each in self._registered if user_key(each) != user}
            if user in self._watchers:
                self._deleted.add(user)
                self._due.set()

    async def _prove(self) -> None:
        """Check that a notification from another connection arrives. Some poolers deliver none."""
        self._proof.clear()
        row = await self._database.fetchrow(self._sql.prove, self._channel, self._name)
        if row is None or not row["has_trigger"]:
            raise DatabaseError("the table of conversations has no trigger for notifications (Citus allows none)")
        try:
            async with asyncio.timeout(_PROOF_WITHIN):
                await self._proof.wait()
        except TimeoutError:
            raise DatabaseError("no notification arrives; is there a pooler in transaction mode?") from None

    async def _renew(self, connection: Connection) -> None:
        """Renew the rows of the watched users. Also finds out whether the server is still there."""
        self._due.clear()
        deleted, self._deleted = self._deleted, set()
        users = self._registered = self._users()
        await connection.execute(self._sql.watch, list(users), self._name, timeout=_ANSWER_WITHIN)
        for watcher in [each for key in deleted for each in self._watchers.get(key, ())]:
            watcher.hint(of_memory=True)  # nothing was notified until the row was back
        await connection.execute(self._sql.forget_expired, timeout=_ANSWER_WITHIN)

    def _users(self) -> set[str]:
        return {watcher.user_id for watcher in self.all_watchers()}

    def _begin(self) -> None:
        self._was_listening = self.is_listening = True
        self._delay = FIRST_DELAY
        self._tried.set()
        for watcher in self.all_watchers():
            watcher.hint(of_memory=True)

    def _end(self) -> None:
        if self.is_listening:
            for watcher in self.all_watchers():
                watcher.hint(missed=True)
        self.is_listening = False
        self._registered = set()

    async def _unregister(self, connection: Connection) -> None:
        """Remove our rows if the server still answers; otherwise they expire."""
        with suppress(*DRIVER_ERRORS):
            if not connection.is_closed():
                await connection.execute(self._sql.leave, self._name, timeout=CLOSE_TIMEOUT)
                await connection.remove_listener(self._channel, self._on_notification)


class Watching:
    """The watchers of a storage. The listener starts with the first and stops with the last."""

    def __init__(self, options: StorageOptions, database: Database) -> None:
        self._options = options
        self._database = database
        self._listener: Listener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def watcher(self, user_id: str) -> AsyncIterator[Watcher]:
        """Yield a watcher of the user. It is notified of all changes from now on."""
        self._database.admit()
        if self._loop is not (loop := asyncio.get_running_loop()):
            self._loop, self._listener = loop, None  # the other loop has ended, and its listener with it
        listener = self._listener = self._listener or Listener(self._options, self._database)
        watcher = Watcher(user_id, listener)
        listener.add(watcher)
        try:
            await listener.watched(user_id)
            watcher.begin()
            yield watcher
        finally:
            if listener.remove(watcher):
                if self._listener is listener:
                    self._listener = None
                await listener.stop()

    async def close(self) -> None:
        """End all watchers. Returns when the connection is closed."""
        listener, self._listener = self._listener, None
        if listener is not None and self._loop is asyncio.get_running_loop():
            for watcher in listener.all_watchers():
                watcher.close()
            await listener.stop()
