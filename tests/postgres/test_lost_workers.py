"""
A coordinator of Citus that has lost a worker: which error a call raises, and what is repeated.

A trigger raises what the coordinator says, so that no Citus is needed.
"""

from __future__ import annotations

import pytest

from tests.calls import Rows
from tests.conftest import Connection, MakeStorage
from voltmem import ConnectionFailedError, DatabaseError, OutcomeUnknownError

INTERNAL = "XX000"
ESSENTIAL = "failure on connection marked as essential: worker-1:5432"
HALF_COMMITTED = "could not commit transaction for shard 102008 on at least one active node"
ENDED = "terminating connection due to administrator command"


@pytest.fixture
def rows(connection: Connection, migrated: str) -> Rows:
    return Rows(connection, migrated)


async def test_write_that_a_coordinator_has_undone_is_repeated(make_storage: MakeStorage, rows: Rows) -> None:
    """Citus undoes everything before it says "marked as essential", so also what must not be done twice is repeated."""
    storage = make_storage()
    await rows.fail(INTERNAL, 2, ESSENTIAL)

    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    assert await storage.count_conversations() == 1


async def test_write_that_a_coordinator_undoes_for_long_has_failed(make_storage: MakeStorage, rows: Rows) -> None:
    """If that goes on beyond retry_timeout, nothing was stored, and the error says so."""
    storage = make_storage(retry_timeout=0.2)
    await rows.fail(INTERNAL, text=ESSENTIAL)

    with pytest.raises(ConnectionFailedError, match=r"essential.*Repeat the call"):
        await storage.create_conversation({"id": "c1", "user_id": "ada"})


@pytest.mark.parametrize("text", [ENDED, "server closed the connection unexpectedly", HALF_COMMITTED])
async def test_write_whose_worker_is_lost_is_unknown(text: str, make_storage: MakeStorage, rows: Rows) -> None:
    """The worker may have committed a lone statement: it is not repeated, unless that has the same result."""
    storage = make_storage()
    await rows.fail(INTERNAL, 2, text)

    with pytest.raises(OutcomeUnknownError):
        await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})

    assert await storage.count_conversations() == 1


@pytest.mark.parametrize("text", [ESSENTIAL, ENDED])
async def test_transaction_whose_worker_is_lost_has_failed(text: str, make_storage: MakeStorage, rows: Rows) -> None:
    """Within a transaction, a lost worker is a lost connection: the whole transaction is undone."""
    storage = make_storage()
    await rows.fail(INTERNAL, 1, text)

    with pytest.raises(ConnectionFailedError, match="Repeat the call, or the whole transaction"):
        async with storage.transaction() as tx:
            await tx.create_conversation({"id": "c1", "user_id": "ada"})

    assert await storage.count_conversations() == 0


@pytest.mark.parametrize(("text", "kind"), [(ESSENTIAL, ConnectionFailedError), (HALF_COMMITTED, OutcomeUnknownError)])
async def test_commit_says_whether_a_lost_worker_leaves_it_open(
    text: str, kind: type[DatabaseError], make_storage: MakeStorage, connection: Connection, rows: Rows, migrated: str
) -> None:
    """A worker that is lost before any has committed is no open outcome; one whose answer to COMMIT is lost is."""
    storage = make_storage()
    await connection.execute(f"""
        CREATE FUNCTION {migrated}.fails() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE '{text}' USING ERRCODE = '{INTERNAL}';
        END $$;
        CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON {rows.conversations} DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION {migrated}.fails()""")

    with pytest.raises(DatabaseError) as caught:
        async with storage.transaction() as tx:
            await tx.create_conversation({"id": "c1", "user_id": "ada"})

    assert type(caught.value) is kind


@pytest.mark.parametrize(("text", "sqlstate"), [("could not find a tuple", INTERNAL), (ENDED, "P0001")])
async def test_other_internal_errors_are_no_lost_worker(
    text: str, sqlstate: str, make_storage: MakeStorage, rows: Rows
) -> None:
    """Another internal error, or these words with another SQLSTATE, is an error of the database at once."""
    storage = make_storage()
    await rows.fail(sqlstate, 1, text)

    with pytest.raises(DatabaseError) as caught:
        await storage.create_conversation({"id": "c1", "user_id": "ada"})

    assert (type(caught.value), caught.value.sqlstate) == (DatabaseError, sqlstate)
