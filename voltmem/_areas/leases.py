"""Leases: one process at a time does a kind of work on a conversation, and what a stale one writes changes nothing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final

from voltmem._areas.area import Area, async_context
from voltmem._areas.queries import is_deleted
from voltmem._model import Key, Model, String, Time, construct_unchecked
from voltmem._postgres.connection import BoundConnection
from voltmem._postgres.driver import logger
from voltmem._repr import safe_repr
from voltmem._tables import Tables
from voltmem._values import check_count, check_id, check_seconds, check_user, uuid7
from voltmem.errors import (
    ConnectionFailedError,
    ConversationNotFoundError,
    DatabaseTimeoutError,
    InvalidInputError,
    LeaseHeldError,
    LeaseLostError,
    OutcomeUnknownError,
    VoltMemError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_MOST_SECONDS: Final = 3600
# A lease is renewed so often in its time that two attempts may fail.
_RENEWALS: Final = 3
# After which the next attempt may succeed.
_PASSING: Final = (ConnectionFailedError, DatabaseTimeoutError, OutcomeUnknownError, TimeoutError)


class Lease(Model):
    """The right to do a kind of work on a conversation, which one holder has at a time."""

    conversation_id: Key
    """The conversation."""
    purpose: Key
    """What it is for."""
    holder: String
    """Who has it: host, process and a number of its own."""
    fencing_token: int
    """The number of the lease: greater than that of each lease for this purpose before."""
    until: Time
    """When it ends, by the clock of the database, unless it is renewed."""
    stop_requested: bool
    """Whether somebody has asked the holder to end the work."""


def in_force(lease: str) -> str:
    """Return the condition that a lease is held now: see 0022_leases.sql."""
    moment = "pg_catalog.statement_timestamp()"
    # Citus updates no rows by a time minus an interval, which depends on the time zone.
    return f"{lease}.until > {moment} AND {lease}.until - {moment} < {lease}.lasts + {lease}.lasts"


class LeaseStatements:
    """The statements whose text does not depend on the arguments."""

    def __init__(self, tables: Tables) -> None:
        held = f"""c.id = l.conversation_id AND l.conversation_id = $1 AND l.purpose = $3
                AND c.user_id = $2 AND c.deleted_at IS NULL AND {in_force("l")}"""
        self.get = f"""
            SELECT l.conversation_id, l.purpose, l.holder, l.token, l.until, l.stop_requested
            FROM {tables.leases} AS l, {tables.conversations} AS c
            WHERE {held}"""
        # Nobody takes the lease before the transaction ends: see 0022_leases.sql.
        self.confirm = f"{self.get} AND l.token = $4 FOR KEY SHARE OF l"
        self.stop = f"""
            UPDATE {tables.leases} AS l SET stop_requested = true FROM {tables.conversations} AS c
            WHERE {held}
            RETURNING true"""
        self.take = f"""
            SELECT owner, {is_deleted(tables, "$1", "$2")} AS is_deleted, holder, token, until
            FROM {tables.take_lease}($1, $2, $3, $4, $5)"""
        self.keep = f"SELECT stop_requested FROM {tables.keep_lease}($1, $2, $3, $4, $5)"


class Leases(Area):
    """Methods by which one process at a time does a kind of work on a conversation."""

    async def get_lease(self, user_id: str, conversation_id: str, purpose: str) -> Lease | None:
        """Return the lease for this purpose; None if nobody has it, or there is no such conversation."""
        owner = _check(user_id, conversation_id, purpose)
        row = await self._executor.fetchrow(self._sql(LeaseStatements).get, conversation_id, owner, purpose)
        return None if row is None else _lease(row)

    async def stop_lease(self, user_id: str, conversation_id: str, purpose: str) -> bool:
        """
        Ask whoever has a lease to end the work. Returns whether somebody has it.

        The holder is told when it renews the lease: with lease(), after a third of its time at most.
        """
        owner = _check(user_id, conversation_id, purpose)
        row = await self._executor.fetchrow(self._sql(LeaseStatements).stop, conversation_id, owner, purpose)
        return row is not None

    async def confirm_lease(self, user_id: str, conversation_id: str, purpose: str, fencing_token: int) -> Lease:
        """
        Make sure, in a transaction, that all of it is stored under a lease, or nothing.

        ::

            async with storage.transaction() as tx:
                await tx.confirm_lease("ada", "c1", "answer", lease.fencing_token)
                await tx.add_message(answer, "ada", "c1")

        Nobody else takes the lease until the transaction ends; call it first. Returns the lease.

        Raises:
            LeaseLostError: It has ended, so somebody else may have it.
            InvalidInputError: It was called outside of a transaction, where it protects nothing.
        """
        owner = _check(user_id, conversation_id, purpose)
        check_count("fencing_token", fencing_token)
        if not isinstance(self._executor, BoundConnection) or not self._executor.connection.is_in_transaction():
            raise InvalidInputError(
                "confirm_lease() protects what the same transaction stores: call it within storage.transaction()"
            )
        row = await self._executor.fetchrow(
            self._sql(LeaseStatements).confirm, conversation_id, owner, purpose, fencing_token
        )
        if row is None:
            raise LeaseLostError(conversation_id, purpose)
        return _lease(row)

    def lease(
        self, user_id: str, conversation_id: str, purpose: str, *, seconds: float = 15.0
    ) -> AbstractAsyncContextManager[HeldLease]:
        """
        Do a block of work that only one process does at a time, under a lease that is renewed until the block ends.

        ::

            async with storage.lease("ada", "c1", "title") as lease:
                title = await model.title(...)
                async with storage.transaction() as tx:
                    await tx.confirm_lease("ada", "c1", "title", lease.fencing_token)
                    await tx.update_conversation("c1", title=title)

        It is renewed at each third of its time. If that fails until it has ended, the block is cancelled. In
        ``voltmem.sync``, the block goes on, and raises at its end.

        Args:
            user_id: The owner of the conversation.
            conversation_id: The conversation.
            purpose: What the lease is for. Leases for other purposes are independent of it.
            seconds: How long it lasts if this process dies; at most 3,600.

        Raises:
            LeaseHeldError: Somebody else has it.
            LeaseLostError: It could not be renewed, or the conversation was deleted. The block was cancelled.
            ConversationNotFoundError: There is no such conversation, or it belongs to somebody else.
        """
        owner = _check(user_id, conversation_id, purpose)
        check_seconds("seconds", seconds)
        if seconds > _MOST_SECONDS:
            raise InvalidInputError(f"seconds must be at most {_MOST_SECONDS:,}, not {seconds!r}: it is renewed anyway")
        if isinstance(self._executor, BoundConnection):
            raise InvalidInputError(
                "lease() needs connections of its own, and this storage is bound to one, or to a transaction: call it "
                "on the PostgresStorage, and confirm_lease() in the transaction"
            )
        return self._hold(owner, conversation_id, purpose, float(seconds))

    @async_context
    async def _hold(self, owner: str, conversation_id: str, purpose: str, seconds: float) -> AsyncIterator[HeldLease]:
        began = asyncio.get_running_loop().time()
        fencing_token = await self._take(owner, conversation_id, purpose, seconds)

        async def keep(seconds: float) -> bool | None:
            row = await self._executor.fetchrow(
                self._sql(LeaseStatements).keep, conversation_id, owner, purpose, fencing_token, seconds
            )
            return None if row is None else bool(row["stop_requested"])

        keeper = _Keeper(HeldLease(conversation_id, purpose, fencing_token), keep, seconds, began)
        try:
            async with keeper as held:
                yield held
        finally:
            await keeper.release()

    async def _take(self, owner: str, conversation_id: str, purpose: str, seconds: float) -> int:
        """Take the lease. Returns its token."""
        holder = f"{socket.gethostname()}/{os.getpid()}/{uuid7()}"
        row = await self._executor.fetchrow(
            self._sql(LeaseStatements).take, conversation_id, owner, purpose, holder, seconds
        )
        assert row is not None, "the function returns one row"
        if row["owner"] is None:
            raise ConversationNotFoundError(conversation_id, owner, is_deleted=row["is_deleted"])
        if row["holder"] != holder:
            raise LeaseHeldError(conversation_id, purpose, row["holder"], row["until"])
        return int(row["token"])


class HeldLease:
    """A lease that is renewed while a block of work runs: ``async with storage.lease(…) as lease``."""

    conversation_id: str
    """The conversation."""
    purpose: str
    """What it is for."""
    fencing_token: int
    """The number of the lease, for confirm_lease()."""

    def __init__(self, conversation_id: str, purpose: str, fencing_token: int) -> None:
        self.conversation_id, self.purpose, self.fencing_token = conversation_id, purpose, fencing_token
        self._stop = asyncio.Event()

    @safe_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.purpose!r} of {self.conversation_id!r}, token {self.fencing_token}>"

    @property
    def stop_requested(self) -> bool:
        """Whether stop_lease() was called, as of the last renewal."""
        return self._stop.is_set()

    async def wait_for_stop(self) -> None:
        """Wait until stop_lease() was called."""
        await self._stop.wait()


class _Keeper:
    """
    Renews a lease while its block runs, and cancels the task of the block when the lease is lost.

    Args:
        held: The lease.
        keep: Lets it last for so many seconds from now; 0: ends it. Returns whether to stop; None if it was lost.
        seconds: How long it lasts.
        began: When it was asked for, by the loop's clock: it lasts at least until so many seconds later.
    """

    def __init__(
        self, held: HeldLease, keep: Callable[[float], Awaitable[bool | None]], seconds: float, began: float
    ) -> None:
        self._held, self._keep, self._seconds = held, keep, seconds
        self._ends = began + seconds
        self._block = asyncio.current_task()
        self._lost: VoltMemError | None = None

    async def __aenter__(self) -> HeldLease:
        self._cancellations = 0 if self._block is None else self._block.cancelling()
        self._task = asyncio.create_task(self._run())
        return self._held

    async def __aexit__(self, kind: object, error: BaseException | None, _: object) -> None:
        self._task.cancel()
        try:
            await asyncio.wait([self._task])
        except asyncio.CancelledError as cancelled:
            error = error or cancelled
            if self._lost is None:
                raise
        if self._lost is None:
            return
        # As asyncio.timeout() does. A block of code that blocks has no task, and goes on.
        is_here = self._block is not None and self._block is asyncio.current_task()
        if is_here and self._block is not None and self._block.uncancel() > self._cancellations:
            raise asyncio.CancelledError  # somebody else cancels the task, too
        if error is None or isinstance(error, asyncio.CancelledError):
            raise self._lost from None

    async def release(self) -> None:
        """End the lease. If that fails, it ends by itself."""
        if self._lost is None:
            try:
                async with asyncio.timeout(self._seconds):
                    await self._keep(0)
            except _PASSING as error:
                logger.warning("%r was not released: %r", self._held, error)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._lost is None:
            await asyncio.sleep(self._seconds / _RENEWALS)
            began = clock()
            try:
                async with asyncio.timeout_at(self._ends):
                    stop = await self._keep(self._seconds)
            except _PASSING as error:
                logger.warning("%r was not renewed: %r", self._held, error)
                if clock() >= self._ends:
                    self._lose(LeaseLostError(self._held.conversation_id, self._held.purpose))
                continue
            except VoltMemError as error:
                return self._lose(error)
            if stop is None:
                self._lose(LeaseLostError(self._held.conversation_id, self._held.purpose))
            elif stop:
                self._held._stop.set()
            self._ends = began + self._seconds

    def _lose(self, error: VoltMemError) -> None:
        self._lost = error
        if self._block is not None:
            self._block.cancel()


def _lease(row: Iterable[Any]) -> Lease:
    return construct_unchecked(Lease, dict(zip(Lease.model_fields, row, strict=True)))


def _check(user_id: str, conversation_id: str, purpose: str) -> str:
    """Return the owner; InvalidInputError for what no lease can have."""
    owner = check_user("user_id", user_id)
    check_id(conversation_id=conversation_id, purpose=purpose)
    return owner
