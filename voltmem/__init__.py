"""
An async conversation store for Python agents, on PostgreSQL.

``PostgresStorage`` keeps conversations and their messages; everything else here is what it takes, returns or
raises. Names without a docstring of their own here are documented where they are defined.
"""

from voltmem._agents.memory import ConversationMemory, Memory
from voltmem._areas.changes_models import Change
from voltmem._areas.conversations import UserConversations
from voltmem._areas.groups import ConversationGroup, group_by_date
from voltmem._areas.history.models import AgentHistoryEntry, AgentHistoryPage, AgentHistoryStep, TimelineEvent
from voltmem._areas.history.runs import AgentRun
from voltmem._areas.search_models import Highlight, SearchHit, SearchResults
from voltmem._areas.share_models import Share, SharedConversation
from voltmem._areas.sidebar_models import ConversationItem, ConversationList
from voltmem._areas.transfer.models import (
    ImportedConversation,
    ImportedMessage,
    ImportedPayload,
    ImportResult,
    Renamed,
    Skipped,
)
from voltmem._postgres.conversation_schema import MigrationResult, SplitConversation
from voltmem._postgres.schema import MigrationStatus
from voltmem._user import UserStorage
from voltmem._values import UNSET, Unset
from voltmem.errors import (
    ConnectionFailedError,
    ConversationExistsError,
    ConversationNotFoundError,
    DatabaseError,
    DatabaseTimeoutError,
    EmbeddedPostgresError,
    EventLoopError,
    HistoryEntryNotFoundError,
    InvalidInputError,
    InvalidLineError,
    InvalidOptionError,
    InvalidQueryError,
    MessageNotFoundError,
    MigrationError,
    MissingExtraError,
    OutcomeUnknownError,
    RevisionConflictError,
    SchemaError,
    SchemaNotReadyError,
    StorageClosedError,
    VoltMemError,
)
from voltmem.models import Conversation, ConversationPage, Message, NativeMessage
from voltmem.options import ConnectionOptions
from voltmem.storage import BoundStorage, PostgresStorage, Storage

__version__ = "0.1.0"

__all__ = [
    "UNSET",
    "AgentHistoryEntry",
    "AgentHistoryPage",
    "AgentHistoryStep",
    "AgentRun",
    "BoundStorage",
    "Change",
    "ConnectionFailedError",
    "ConnectionOptions",
    "Conversation",
    "ConversationExistsError",
    "ConversationGroup",
    "ConversationItem",
    "ConversationList",
    "ConversationMemory",
    "ConversationNotFoundError",
    "ConversationPage",
    "DatabaseError",
    "DatabaseTimeoutError",
    "EmbeddedPostgresError",
    "EventLoopError",
    "Highlight",
    "HistoryEntryNotFoundError",
    "ImportResult",
    "ImportedConversation",
    "ImportedMessage",
    "ImportedPayload",
    "InvalidInputError",
    "InvalidLineError",
    "InvalidOptionError",
    "InvalidQueryError",
    "Memory",
    "Message",
    "MessageNotFoundError",
    "MigrationError",
    "MigrationResult",
    "MigrationStatus",
    "MissingExtraError",
    "NativeMessage",
    "OutcomeUnknownError",
    "PostgresStorage",
    "Renamed",
    "RevisionConflictError",
    "SchemaError",
    "SchemaNotReadyError",
    "SearchHit",
    "SearchResults",
    "Share",
    "SharedConversation",
    "Skipped",
    "SplitConversation",
    "Storage",
    "StorageClosedError",
    "TimelineEvent",
    "Unset",
    "UserConversations",
    "UserStorage",
    "VoltMemError",
    "group_by_date",
]
