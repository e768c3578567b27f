"""
All errors that voltmem raises.

::

    VoltMemError
    ├── InvalidInputError (ValueError)            a value is invalid; no SQL was run
    │   ├── InvalidOptionError                    … an option of the storage, a prefix, a connection string
    │   ├── InvalidQueryError                     … an order field, a direction, a limit, an offset, a page
    │   └── InvalidLineError                      .line: a line of an import is malformed
    ├── ConversationNotFoundError (LookupError)   .conversation_id; .is_deleted: it can be restored
    ├── ConversationExistsError (ValueError)      .conversation_id; .is_deleted
    ├── HistoryEntryNotFoundError (LookupError)   .history_id
    ├── MessageNotFoundError (LookupError)        .message_id
    ├── StoredFileNotFoundError (LookupError)     .file_id
    ├── QuotaExceededError                        .quota, .limit, .needed, .user_id: it would be more than the quota
    ├── RevisionConflictError (ValueError)        .conversation_id: it was changed since it was read
    ├── UnreadableError (ValueError)              .conversation_id: the framework installed here cannot read it
    ├── StorageClosedError (RuntimeError)         the storage was used after close()
    ├── EventLoopError (RuntimeError)             the storage was used in a second event loop
    ├── MissingExtraError (ImportError)           an optional package is not installed
    ├── EmbeddedPostgresError (RuntimeError)      the embedded PostgreSQL could not be found or started
    ├── SchemaError                               the tables are missing or have another schema than this release
    │   ├── SchemaNotReadyError                   .missing: migrations are not applied (migrate="check")
    │   └── MigrationError                        .name: a migration failed, or was edited after it was applied
    └── DatabaseError                             .sqlstate: an error of PostgreSQL or of the connection
        ├── ConnectionFailedError (ConnectionError)   no server could be reached, or the connection was lost
        ├── DatabaseTimeoutError (TimeoutError)       no free connection, or no answer, in time; nothing was stored
        └── OutcomeUnknownError                       a write was sent, and its answer was lost

The message of an error says what happened, with the value, and what to do. The driver's error is its ``__cause__``.
A call that raises has stored all of its data or nothing.

The constructors of the models are pydantic's: ``Message(id="")`` raises ``pydantic.ValidationError``. ``Message.of(…)``
and the methods of a storage, which take dicts, raise InvalidInputError.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias, TypeVar

__all__ = [
    "ConnectionFailedError",
    "ConversationExistsError",
    "ConversationNotFoundError",
    "DatabaseError",
    "DatabaseTimeoutError",
    "EmbeddedPostgresError",
    "EventLoopError",
    "HistoryEntryNotFoundError",
    "InvalidInputError",
    "InvalidLineError",
    "InvalidOptionError",
    "InvalidQueryError",
    "MessageNotFoundError",
    "MigrationError",
    "MissingExtraError",
    "OutcomeUnknownError",
    "QuotaExceededError",
    "RevisionConflictError",
    "SchemaError",
    "SchemaNotReadyError",
    "StorageClosedError",
    "StoredFileNotFoundError",
    "UnreadableError",
    "VoltMemError",
]


_BACK: Final = "Undo that with restore_conversation(), or delete it for good with delete_conversation()."


class VoltMemError(Exception):
    """The base class of all errors of voltmem."""


Raised = TypeVar("Raised", bound=BaseException)


def twin(error: Raised) -> Raised:
    """Return a copy of an error for another caller, who may change it, such as its traceback."""
    copy: Raised = type(error).__new__(type(error))
    copy.args, copy.__cause__ = error.args, error.__cause__
    copy.__dict__.update(vars(error))
    return copy


class InvalidInputError(VoltMemError, ValueError):
    """A value is invalid. Nothing was sent to PostgreSQL."""


class InvalidOptionError(InvalidInputError):
    """The value of a storage option is invalid."""


class InvalidQueryError(InvalidInputError):
    """An order field, direction, limit, offset, page or cursor is invalid."""


class InvalidLineError(InvalidInputError):
    """A line of the import is malformed. The conversations and runs before the one that it belongs to are stored."""

    def __init__(self, line: int, what: str) -> None:
        self.line = line
        super().__init__(
            f"line {line}: {what}. The conversations and runs before it are stored. Correct the line and import the "
            "whole file again: what is stored already is skipped."
        )


class ConversationNotFoundError(VoltMemError, LookupError):
    """
    There is no conversation with this id, or it is another user's (the error is the same for both), or it was
    soft-deleted. In the last case is_deleted is true, for its own user and for trusted code only. Or it was not
    created, because the user was deleted while the run was under way.
    """

    def __init__(
        self,
        conversation_id: str,
        user_id: str | None = None,
        *,
        is_deleted: bool | None = False,
        is_user_deleted: bool = False,
        is_for_message: bool = False,
    ) -> None:
        self.conversation_id = conversation_id
        self.user_id = user_id
        self.is_deleted = bool(is_deleted)
        if is_deleted:
            what, way_out = "was deleted", _BACK
        elif is_user_deleted:
            what = f"was not created: user {user_id!r} was deleted while this run was under way"
            way_out = "Store nothing of the run. If the user has come back, begin a new run with a new handle."
        elif user_id is None:
            what = "does not exist"
            way_out = "Check the id, or create it first with create_conversation() or ensure_conversation()."
        else:
            # The same text for both, so that a read or a write does not show whether another user has this id.
            what = f"was not found among those of user {user_id!r}: it does not exist, or it is another user's"
            way_out = (
                "Check both ids. If it does not exist, create it with ensure_conversation(); if it is another user's, "
                "use another id."
            )
        # "foreign key constraint" stays in the text: VoltAgent's documented error handler looks for these words.
        why = "; a message in it would violate the foreign key constraint" if is_for_message else ""
        super().__init__(f"conversation {conversation_id!r} {what}{why}. {way_out}")


class MessageNotFoundError(VoltMemError, LookupError):
    """The conversation has no message with this id."""

    def __init__(self, message_id: str, conversation_id: str) -> None:
        self.message_id = message_id
        self.conversation_id = conversation_id
        super().__init__(
            f"message {message_id!r} was not found in conversation {conversation_id!r}: it never was there, was "
            "deleted, or is in another branch. Check both ids, or read the messages again with get_messages()."
        )


class StoredFileNotFoundError(VoltMemError, LookupError):
    """
    The user has no file with this id, or it was deleted while it was being stored or read.

    With the user None, a public link shows no file with this id.
    """

    def __init__(self, file_id: str, user_id: str | None) -> None:
        self.file_id = file_id
        super().__init__(
            f"file {file_id!r} is not shown by this link: no message has it, or the link was revoked."
            if user_id is None
            else f"file {file_id!r} was not found among those of user {user_id!r}: it was never stored, or was "
            "deleted. Check both ids, or store it again with put_file()."
        )


class ConversationExistsError(VoltMemError, ValueError):
    """A conversation with this id already exists; is_deleted: it is the user's and was soft-deleted."""

    def __init__(self, conversation_id: str, *, is_deleted: bool | None = False) -> None:
        self.conversation_id = conversation_id
        self.is_deleted = bool(is_deleted)
        super().__init__(
            f"conversation {conversation_id!r} was deleted, but it keeps its id. {_BACK}"
            if is_deleted
            else f"conversation {conversation_id!r} already exists. "
            "Leave the id out to get a new one. If it is this user's, ensure_conversation() returns it."
        )


class HistoryEntryNotFoundError(VoltMemError, LookupError):
    """There is no agent history entry with this id, so neither it nor a step or event of it can be stored."""

    def __init__(self, history_id: str) -> None:
        self.history_id = history_id
        super().__init__(
            f"history entry {history_id!r} does not exist: it was never created, or was deleted, perhaps with its "
            "user. Create an entry first with add_history_entry() or record_run(); its steps and events need it."
        )


class QuotaExceededError(VoltMemError):
    """
    The user would have more than a quota of the storage allows. Nothing was stored.

    In a transaction it undoes the transaction, as any refusal of the server does: put what may be refused into a
    transaction() of its own within it.
    """

    def __init__(self, quota: str, limit: int, needed: int, user_id: str) -> None:
        self.quota = quota
        """Which one: "conversations", "messages" or "file_bytes"."""
        self.limit = limit
        """Its value."""
        self.needed = needed
        """What the user would have."""
        self.user_id = user_id
        what = {"file_bytes": "bytes of files"}.get(quota, quota)
        super().__init__(
            f"user {user_id!r} would have {needed} {what}, and the quota is {limit}: nothing was stored. Delete some "
            "for good, or raise the quota of the storage."
        )


class RevisionConflictError(VoltMemError, ValueError):
    """The value to be replaced was changed by another writer since it was read. Nothing was stored."""

    def __init__(self, conversation_id: str, expected: str | None) -> None:
        self.conversation_id = conversation_id
        self.expected = expected
        what = "has a revision already" if expected is None else f"no longer has revision {expected!r}"
        super().__init__(
            f"conversation {conversation_id!r} {what}: another writer changed it. Read it again and repeat the change."
        )


class UnreadableError(VoltMemError, ValueError):
    """What is stored has a form that the framework installed here cannot read. Nothing was changed."""

    def __init__(self, conversation_id: str, framework: str, what: str, why: str) -> None:
        self.conversation_id = conversation_id
        super().__init__(
            f"this {framework} cannot read {what} of conversation {conversation_id!r}: {why}. Another release of "
            f"{framework}, or another program, wrote it. It stays as it is."
        )


class StorageClosedError(VoltMemError, RuntimeError):
    """The storage was used after close()."""

    def __init__(self) -> None:
        super().__init__("this storage is closed. Its open() opens it again.")


class EventLoopError(VoltMemError, RuntimeError):
    """The storage was used in a second event loop, while it is still open in the first."""


class MissingExtraError(VoltMemError, ImportError):
    """An optional package that the call needs is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed. Install voltmem's extra {extra!r}: "
            f"pip install '.[{extra}]' in a checkout of voltmem."
        )


class EmbeddedPostgresError(VoltMemError, RuntimeError):
    """The embedded PostgreSQL server could not be found, started or shared."""


class SchemaError(VoltMemError):
    """The tables are missing, or their schema is not the one that this release of voltmem needs."""


class SchemaNotReadyError(SchemaError):
    """Migrations are missing, and migrate="check" does not apply them."""

    def __init__(self, missing: Sequence[str], schema: str, prefix: str) -> None:
        self.missing = list(missing)
        options = f"--schema {schema} --prefix {prefix}"
        super().__init__(
            f"the tables {schema}.{prefix}_* lack {len(self.missing)} of voltmem's migrations: "
            f'{", ".join(self.missing)}. With migrate="check" nothing is changed. With a role that may create tables '
            f"run 'python -m voltmem migrate {options}' ('python -m voltmem sql {options}' shows what it runs) or "
            'call upgrade_schema(), or open the storage with migrate="auto".'
        )


class MigrationError(SchemaError):
    """A migration failed, or its file is not the one that was applied."""

    def __init__(self, name: str, what: str) -> None:
        self.name = name
        super().__init__(f"migration {name}: {what}")


class DatabaseError(VoltMemError):
    """An error of PostgreSQL or of the connection to it. The driver's error is the cause."""

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        self.sqlstate = sqlstate
        super().__init__(message if sqlstate is None else f"{message} [{sqlstate}]")


class ConnectionFailedError(DatabaseError, ConnectionError):
    """
    No PostgreSQL server could be reached, it refused the login, or the connection was lost.

    Nothing was stored. A transaction in which it is raised is undone as a whole: run its block again.
    """


class DatabaseTimeoutError(DatabaseError, TimeoutError):
    """
    No connection was free in time, a read had no answer in time, or statement_timeout ended a statement.

    Nothing was stored, so it is safe to repeat the call.
    """


class OutcomeUnknownError(DatabaseError):
    """
    A write was sent, and its answer was lost or did not come in time: it may or may not have happened.

    Also if the call was repeated, because that is harmless, and no try was answered. Read what is stored, or repeat the
    call with the same ids. A message without an id of its own would be stored a second time.
    """


_NO_ROOM: Final = "Lower max_connections of the storages, or raise max_client_conn of the pooler"
_POOLER: Final = "Is there a pooler in transaction mode? Add pgbouncer=true to the connection string"
# What to do about errors by SQLSTATE (PostgreSQL's manual, appendix A), where PostgreSQL's text does not say it.
_HINTS: Final[Mapping[str, str]] = {
    "08P01": "A pooler may refuse a startup parameter of the connection string: leave out all but application_name",
    "25P03": "The server's idle_in_transaction_session_timeout ended the connection: do nothing long in a transaction",
    "25P04": "The server's transaction_timeout ended the connection: use shorter transactions",
    "25P02": "An earlier statement of the transaction failed: end the transaction. Put what may fail into a savepoint, "
    "with the transaction's own transaction()",
    "26000": _POOLER,
    "28000": "Check the user, the password and the server's pg_hba.conf",
    "28P01": "Check the user and the password",
    "3D000": "Create the database, or correct its name in the connection string",
    "40001": "Repeat the call or the whole transaction",
    "40P01": "Repeat the call or the whole transaction",
    "42501": "voltmem needs USAGE on the schema, SELECT, INSERT, UPDATE and DELETE on its tables and EXECUTE on its "
    "functions; migrations also need CREATE on the schema and a role that owns the tables. GRANT what is missing "
    "('python -m voltmem sql --roles' prints roles that have it), or run 'python -m voltmem migrate' as the owner and "
    'open the storage with migrate="check"',
    "42704": "Check the parameters of the connection string",
    "42P05": _POOLER,
    "53300": "Lower max_connections of the storages, raise it on the server, or put a pooler in between",
    "55P03": "Another transaction holds the lock: repeat the call, or look for that transaction in pg_stat_activity",
    "57014": "The server's statement_timeout ended it, or an administrator: raise statement_timeout for the role",
    "57P03": "Repeat the call when the server has started, or raise retry_timeout",
}

ReadOnly: TypeAlias = Literal["standby", "default", "transaction"]
"""Why a connection is read-only: its server is a standby, default_transaction_read_only, or its transaction is."""

_TO_STANDBY: Final = "This server is a standby: add target_session_attrs=read-write to the connection string"
_READ_ONLY_BY_DEFAULT: Final = (
    "default_transaction_read_only is on for this server, database or role: reset it (ALTER ROLE … RESET "
    "default_transaction_read_only). Some providers set it when the disk is full"
)
_READ_ONLY_HINTS: Final[Mapping[ReadOnly | None, str]] = {
    "standby": _TO_STANDBY,
    "default": _READ_ONLY_BY_DEFAULT,
    "transaction": "The transaction was made read-only: write in another",
    # Servers before 14 do not report it.
    None: f"{_TO_STANDBY}. Otherwise: {_READ_ONLY_BY_DEFAULT}".replace("This", "If this").replace("by: add", "by, add"),
}

_NO_SUCH_OBJECT: Final = frozenset({"42P01", "42703", "42883", "3F000"})
# The login was refused, there is no such database, there are too many connections, or the server is stopping or
# starting, or ended the connection after a time-out of its own.
_NOT_CONNECTED: Final = frozenset(
    {"28000", "28P01", "3D000", "53300", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04"}
)
_CANCELED: Final = "57014"
# PgBouncer in statement mode says so at each BEGIN, with the SQLSTATE of a lost connection. It will not pass.
STATEMENT_POOLING: Final = "statement pooling mode"
_OVER_QUOTA: Final = "VM001"  # of our function require_room


def translated(
    error: BaseException,
    *,
    server: str | None = None,
    role: str | None = None,
    read_only: ReadOnly | None = None,
    lost: bool = False,
) -> VoltMemError:
    """
    Return voltmem's error for an error of the driver or of the network. Raise it with ``from error``.

    Depends only on the SQLSTATE and on built-in types, so that it works with every version of the driver, and with
    Citus, whose errors have no constraint names.

    Args:
        error: The driver's.
        server: Host, port and database, if it was raised while connecting.
        role: The role that lacks a privilege, if it is known.
        read_only: Why the connection is read-only, if it is known.
        lost: Whether there is no connection, which some of the driver's errors do not say.
    """
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate == _OVER_QUOTA:
        quota, limit, needed, user_id = str(getattr(error, "detail", "")).split(" ", 3)
        return QuotaExceededError(quota, int(limit), int(needed), user_id)
    if sqlstate in _NO_SUCH_OBJECT:
        return SchemaError(
            f"{error} [{sqlstate}]. The tables are missing or older than this release: check schema and table_prefix, "
            'open the storage with migrate="auto", call upgrade_schema() or run \'python -m voltmem '
            "migrate'."
        )
    message = describe(error, role, read_only)
    is_refused = STATEMENT_POOLING in message
    if not is_refused and (sqlstate in _NOT_CONNECTED or (sqlstate or "").startswith("08")):
        return ConnectionFailedError(f"{_refusal(server)}{message}", sqlstate)
    if sqlstate == _CANCELED:
        return DatabaseTimeoutError(message, sqlstate)
    if isinstance(error, TimeoutError):
        return DatabaseTimeoutError(_silence(server))
    if isinstance(error, OSError):
        return ConnectionFailedError(f"cannot reach PostgreSQL{_at(server)}: {message}. {_way_to(error)}")
    if server is not None and sqlstate is None:  # the driver refused, not the server
        kind = ConnectionFailedError if lost else DatabaseError
        return kind(f"cannot connect to PostgreSQL at {server}: {message}")
    if lost:
        what = "the connection to PostgreSQL was lost" if sqlstate is None else message
        return ConnectionFailedError(f"{_refusal(server)}{what}. Repeat the call, or the whole transaction", sqlstate)
    return DatabaseError(f"{_refusal(server)}{message}", sqlstate)


def describe(error: BaseException, role: str | None = None, read_only: ReadOnly | None = None) -> str:
    """Return the text of a driver's error, and what to do, if that is known."""
    message = str(error) or type(error).__name__
    sqlstate = getattr(error, "sqlstate", None) or ""
    hint = _READ_ONLY_HINTS[read_only] if sqlstate == "25006" else _HINTS.get(sqlstate)
    if sqlstate == "08P01" and "startup parameter" not in message:  # PgBouncer says everything with it
        hint = _NO_ROOM if "no more connections" in message else None
    if STATEMENT_POOLING in message:
        hint = "Migrations and transactions need more than single statements: set pool_mode = transaction in PgBouncer"
    if "another operation is in progress" in message:
        hint = (
            "A connection runs one statement at a time: wait for the end of each call on it, or in its transaction, "
            "before the next"
        )
    if hint is None:
        return message
    who = "" if role is None else f", logged in as {role!r}"
    # Only the first line: the driver's own hints, on the lines after it, name options of the driver.
    return f"{message.partition(chr(10))[0]}{who}. {hint}"


def _at(server: str | None) -> str:
    return "" if server is None else f" at {server}"


def _refusal(server: str | None) -> str:
    return "" if server is None else f"PostgreSQL at {server} refused the connection: "


def _silence(server: str | None) -> str:
    if server is None:
        return (
            "PostgreSQL did not answer within command_timeout. Raise it, or look in pg_stat_activity for what the "
            "statement waits for"
        )
    return f"PostgreSQL at {server} did not answer in time. Check host, port and firewall, or raise connect_timeout"


def _way_to(error: OSError) -> str:
    """Return what to check when there is no connection."""
    if isinstance(error, socket.gaierror):
        return "The host name is unknown: check its spelling and the DNS"
    if isinstance(error, ssl.SSLError) or "SSL" in str(error):
        return "Check sslmode and sslrootcert in the connection string, and that the server has TLS and a certificate"
    if isinstance(error, FileNotFoundError):
        return "Check the path of the server's socket, and of sslrootcert, sslcert and sslkey"
    return "Check that the server is running, and that host and port are right"
