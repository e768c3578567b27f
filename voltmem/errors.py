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
    ├── MemoryConflictError (ValueError)          .version: another version of the working memory is the newest
    ├── MemoryRefusedError (ValueError)           a change of the working memory would empty it, or is too large
    ├── OperationConflictError (ValueError)       .operation_id: it was another change of the working memory
    ├── LeaseHeldError                            .holder, .until: somebody else has the lease
    ├── LeaseLostError                            .purpose: the lease ended, or somebody else has taken it
    ├── EmbeddingError (ValueError)               embed() of recall=Recall(…) returned something else than vectors
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

from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeVar

__all__ = [
    "ConnectionFailedError",
    "ConversationExistsError",
    "ConversationNotFoundError",
    "DatabaseError",
    "DatabaseTimeoutError",
    "EmbeddedPostgresError",
    "EmbeddingError",
    "EventLoopError",
    "HistoryEntryNotFoundError",
    "InvalidInputError",
    "InvalidLineError",
    "InvalidOptionError",
    "InvalidQueryError",
    "LeaseHeldError",
    "LeaseLostError",
    "MemoryConflictError",
    "MemoryRefusedError",
    "MessageNotFoundError",
    "MigrationError",
    "MissingExtraError",
    "OperationConflictError",
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


class LeaseHeldError(VoltMemError):
    """Somebody else has the lease."""

    def __init__(self, conversation_id: str, purpose: str, holder: str, until: datetime) -> None:
        self.conversation_id = conversation_id
        """The conversation."""
        self.purpose = purpose
        """What the lease is for."""
        self.holder = holder
        """Who has it."""
        self.until = until
        """When it ends, unless its holder renews it."""
        super().__init__(
            f"the lease {purpose!r} of conversation {conversation_id!r} is held by {holder!r} until "
            f"{until.isoformat()}: try again then, or ask the holder to end with stop_lease()"
        )


class LeaseLostError(VoltMemError):
    """The lease ended, or its conversation was deleted. What confirm_lease() was called in is rolled back."""

    def __init__(self, conversation_id: str, purpose: str) -> None:
        self.conversation_id = conversation_id
        """The conversation."""
        self.purpose = purpose
        """What the lease was for."""
        super().__init__(
            f"the lease {purpose!r} of conversation {conversation_id!r} is not held any more: it was not renewed in "
            "time, or the conversation was deleted. Stop the work that it was for; another process may do it by now."
        )


class MemoryConflictError(VoltMemError, ValueError):
    """Another version of the working memory is the newest than the one of *if_version*. Nothing was stored."""

    def __init__(self, expected: int, version: int) -> None:
        self.expected = expected
        """The version that was required; 0: that there is none."""
        self.version = version
        """The newest version; 0: there is none."""
        super().__init__(
            f"the working memory {_version(version)}, not {_version(expected)}: it was changed since it was read. Read "
            "it again and repeat the change, or use append() or merge(), which lose nothing."
        )


def _version(number: int) -> str:
    return f"has version {number}" if number else "is empty"


class MemoryRefusedError(VoltMemError, ValueError):
    """A change of the working memory would lose what it holds, is too large, or does not fit. Nothing was stored."""


class OperationConflictError(VoltMemError, ValueError):
    """The operation has made another change of this working memory. Nothing was stored."""

    def __init__(self, operation_id: str) -> None:
        self.operation_id = operation_id
        super().__init__(
            f"operation {operation_id!r} was another change of this working memory: use an id for one change only, and "
            "repeat that change with the same arguments."
        )


class EmbeddingError(VoltMemError, ValueError):
    """The function embed() of recall=Recall(…) returned something else than a vector for each text, or refused some."""

    def __init__(self, message: str, refused: Sequence[tuple[str, str]] = ()) -> None:
        self.refused = list(refused)
        """The messages that have no vectors now, each as the conversation's id and its own; all others have one."""
        super().__init__(message)


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
