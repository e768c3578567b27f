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
    ├── RevisionConflictError (ValueError)        .conversation_id: it was changed since it was read
    ├── StorageClosedError (RuntimeError)         the storage was used after close()
    ├── EventLoopError (RuntimeError)             the storage was used in a second event loop
    ├── MissingExtraError (ImportError)           an optional package is not installed
    ├── EmbeddedPostgresError (RuntimeError)      the embedded PostgreSQL could not be found or started
    ├── SchemaError                               the tables are missing or have another schema than this release
    │   ├── SchemaNotReadyError                   .missing: migrations are not applied (migrate="check")
    │   └── MigrationError                        .name: a migration failed, or was edited after it was applied
    └── DatabaseError                             .sqlstate: an error of PostgreSQL or of the connection
        ├── ConnectionFailedError (ConnectionError)   no server could be reached
        ├── DatabaseTimeoutError (TimeoutError)       no free connection, or no answer, in time
        └── OutcomeUnknownError                       the connection broke after a write was sent

The message of an error says what happened, with the value, and what to do. The driver's error is its ``__cause__``.
A call that raises has stored all of its data or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

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
    "RevisionConflictError",
    "SchemaError",
    "SchemaNotReadyError",
    "StorageClosedError",
    "VoltMemError",
    "translated",
]


_BACK: Final = "restore_conversation() brings it back, delete_conversation() ends it."


class VoltMemError(Exception):
    """The base class of all errors of voltmem."""


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
            f"line {line}: {what}. What stood before it is imported; when it is mended, import all of it again: "
            "what is there is passed over."
        )


class ConversationNotFoundError(VoltMemError, LookupError):
    """
    There is no conversation with this id, or it is another user's (the two cannot be told apart), or it was
    soft-deleted. In the last case is_deleted is true, for its own user and for trusted code only.
    """

    def __init__(
        self,
        conversation_id: str,
        user_id: str | None = None,
        *,
        is_deleted: bool | None = False,
        is_for_message: bool = False,
    ) -> None:
        self.conversation_id = conversation_id
        self.user_id = user_id
        self.is_deleted = bool(is_deleted)
        whose = "" if user_id is None else f" of user {user_id!r}"
        what = (
            f"conversation {conversation_id!r}{whose} was deleted"
            if is_deleted
            else (f"no conversation {conversation_id!r}{whose}")
        )
        # "foreign key constraint" stays in the text: VoltAgent's documented error handler looks for these words.
        why = ": a message would violate the foreign key constraint" if is_for_message else ""
        way_out = _BACK if is_deleted else "Make it first, with create_conversation() or ensure_conversation()."
        super().__init__(f"{what}{why}. {way_out}")


class MessageNotFoundError(VoltMemError, LookupError):
    """The conversation has no message with this id."""

    def __init__(self, message_id: str, conversation_id: str) -> None:
        self.message_id = message_id
        self.conversation_id = conversation_id
        super().__init__(f"no message {message_id!r} in conversation {conversation_id!r}: was it deleted?")


class ConversationExistsError(VoltMemError, ValueError):
    """A conversation with this id already exists; is_deleted: it is the user's and was soft-deleted."""

    def __init__(self, conversation_id: str, *, is_deleted: bool | None = False) -> None:
        self.conversation_id = conversation_id
        self.is_deleted = bool(is_deleted)
        super().__init__(
            f"conversation {conversation_id!r} was deleted, and has its id still. {_BACK}"
            if is_deleted
            else f"conversation {conversation_id!r} exists already. "
            "Leave the id out to get a new one, or call ensure_conversation() to use the one that is there."
        )


class HistoryEntryNotFoundError(VoltMemError, LookupError):
    """There is no agent history entry with this id, so a step or event of it cannot be stored."""

    def __init__(self, history_id: str) -> None:
        self.history_id = history_id
        super().__init__(
            f"no history entry {history_id!r}: a step or timeline event needs one. "
            "Make it first, with add_history_entry() or record_run()."
        )


class RevisionConflictError(VoltMemError, ValueError):
    """The value to be replaced was changed by another writer since it was read. Nothing was stored."""

    def __init__(self, conversation_id: str, expected: str | None) -> None:
        self.conversation_id = conversation_id
        self.expected = expected
        was = "it would be the first" if expected is None else f"it would follow revision {expected!r}"
        super().__init__(f"conversation {conversation_id!r} was changed meanwhile: {was}. Read it again, and repeat.")


class StorageClosedError(VoltMemError, RuntimeError):
    """The storage was used after close()."""

    def __init__(self) -> None:
        super().__init__("this storage was closed. 'await storage.open()' or 'async with storage:' opens it again.")


class EventLoopError(VoltMemError, RuntimeError):
    """The storage was used in a second event loop, but its connections belong to the first."""


class MissingExtraError(VoltMemError, ImportError):
    """An optional package that the call needs is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed. It comes with voltmem's extra {extra!r}: "
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
            "'await storage.upgrade_schema()', or open the storage with migrate=\"auto\"."
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
    """No PostgreSQL server could be reached, or it refused the login."""


class DatabaseTimeoutError(DatabaseError, TimeoutError):
    """
    No connection was free in time, or PostgreSQL did not answer in time.

    It is safe to repeat the call. Give a message an id of your own for that; without one, it would be stored twice.
    """


class OutcomeUnknownError(DatabaseError):
    """The connection broke after a write was sent and before its answer came: it may or may not have happened."""


# What to do, for errors whose own text does not say it, by SQLSTATE (PostgreSQL's manual, appendix A).
_HINTS = {
    "26000": "A pooler in transaction mode? Add pgbouncer=true to the connection string.",
    "42P05": "A pooler in transaction mode? Add pgbouncer=true to the connection string.",
    "08P01": "A pooler may refuse a startup parameter of the connection string; leave out all but application_name.",
    "42501": "The role lacks a privilege; voltmem needs SELECT, INSERT, UPDATE and DELETE on its tables, "
    'EXECUTE on its functions and, with migrate="auto", CREATE.',
    "25006": "This server is a standby; add target_session_attrs=read-write to the connection string.",
}

_NO_SUCH_OBJECT = frozenset({"42P01", "42703", "42883", "3F000"})
# The login was refused, there is no such database, there are too many connections, or the server is stopping or
# starting.
_NOT_CONNECTED = frozenset({"28000", "28P01", "3D000", "53300", "57P01", "57P02", "57P03"})


def translated(error: BaseException) -> VoltMemError:
    """
    Return voltmem's error for an error of the driver or of the network. Raise it with ``from error``.

    Depends only on the SQLSTATE and on built-in types, so that it works with every version of the driver, and with
    Citus, whose errors have no constraint names.
    """
    sqlstate = getattr(error, "sqlstate", None)
    message = str(error) or type(error).__name__
    if sqlstate in _NO_SUCH_OBJECT:
        return SchemaError(
            f"{message} [{sqlstate}]. The tables are missing or older than this release: "
            "open the storage with migrate=\"auto\" or run 'await storage.upgrade_schema()'."
        )
    if sqlstate in _NOT_CONNECTED or (sqlstate or "").startswith("08"):
        return ConnectionFailedError(_with_hint(message, sqlstate), sqlstate)
    if isinstance(error, TimeoutError):
        return DatabaseTimeoutError("PostgreSQL did not answer in time")
    if isinstance(error, OSError):
        return ConnectionFailedError(f"cannot reach PostgreSQL: {message}")
    return DatabaseError(_with_hint(message, sqlstate), sqlstate)


def _with_hint(message: str, sqlstate: str | None) -> str:
    hint = _HINTS.get(sqlstate or "")
    # Only the first line: the driver's own hints, on the lines after it, name options of the driver.
    return message if hint is None else f"{message.partition(chr(10))[0]}. {hint}"
