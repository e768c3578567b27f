"""
An async conversation store for Python agents, on PostgreSQL.

``PostgresStorage`` keeps conversations and their messages; everything else here is what it takes, returns or
raises. Names without a docstring of their own here are documented where they are defined.
"""

from voltmem._values import UNSET, Unset
from voltmem.conversations import UserConversations
from voltmem.errors import (
    ConnectionFailedError,
    ConversationExistsError,
    ConversationNotFoundError,
    DatabaseError,
    DatabaseTimeoutError,
    EmbeddedPostgresError,
    EventLoopError,
    InvalidInputError,
    InvalidOptionError,
    InvalidQueryError,
    MigrationError,
    MissingExtraError,
    OutcomeUnknownError,
    SchemaError,
    SchemaNotReadyError,
    StorageClosedError,
    VoltMemError,
)
from voltmem.models import Conversation, ConversationPage, Message
from voltmem.options import ConnectionOptions
from voltmem.storage import BoundStorage, PostgresStorage, Storage
from voltmem.user import UserStorage

__version__ = "0.1.0"

__all__ = [
    "UNSET",
    "BoundStorage",
    "ConnectionFailedError",
    "ConnectionOptions",
    "Conversation",
    "ConversationExistsError",
    "ConversationNotFoundError",
    "ConversationPage",
    "DatabaseError",
    "DatabaseTimeoutError",
    "EmbeddedPostgresError",
    "EventLoopError",
    "InvalidInputError",
    "InvalidOptionError",
    "InvalidQueryError",
    "Message",
    "MigrationError",
    "MissingExtraError",
    "OutcomeUnknownError",
    "PostgresStorage",
    "SchemaError",
    "SchemaNotReadyError",
    "Storage",
    "StorageClosedError",
    "Unset",
    "UserConversations",
    "UserStorage",
    "VoltMemError",
]
