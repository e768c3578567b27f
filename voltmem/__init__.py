"""
An async conversation store for Python agents, on PostgreSQL.

``PostgresStorage`` stores conversations and their messages. The other names here are the types of its arguments and
results, its errors, and helpers.
"""

from voltmem._agents.compact_when import CompactWhen
from voltmem._agents.compaction import Summarize
from voltmem._agents.memory import ConversationMemory
from voltmem._agents.native import NativeMemory, Payload, list_payloads
from voltmem._agents.protocol import Memory
from voltmem._agents.working_memory import WorkingMemoryHandle
from voltmem._areas.branches import BranchingPoint
from voltmem._areas.changes import Change
from voltmem._areas.checks.check import Finding
from voltmem._areas.conversations import UserConversations
from voltmem._areas.files import StoredFile
from voltmem._areas.forgetting import Forgotten, RememberedVersion
from voltmem._areas.groups import ConversationGroup, group_by_date
from voltmem._areas.history.models import AgentHistoryEntry, AgentHistoryPage, AgentHistoryStep, TimelineEvent
from voltmem._areas.history.runs import AgentRun, RunEvent
from voltmem._areas.leases import HeldLease, Lease
from voltmem._areas.moments import Moment, quote_moments
from voltmem._areas.pruning import Pruned
from voltmem._areas.search import Highlight, SearchHit, SearchResults, as_html
from voltmem._areas.shares import Share, SharedConversation
from voltmem._areas.sidebar import ConversationItem, ConversationList
from voltmem._areas.summaries import Summary
from voltmem._areas.tags import TagCount
from voltmem._areas.transfer.models import (
    ImportedConversation,
    ImportedMemory,
    ImportedMessage,
    ImportedPayload,
    ImportedSummary,
    ImportResult,
    Renamed,
    Skipped,
)
from voltmem._areas.users import Usage
from voltmem._areas.working_memory import MemoryVersion, WorkingMemory
from voltmem._postgres.health import Health
from voltmem._postgres.migrations.conversation_schema import MigrationResult, SplitConversation
from voltmem._postgres.schema import MigrationStatus, SchemaStatus
from voltmem._user import UserStorage
from voltmem._values import ANY_USER, UNSET, AnyUser, Unset
from voltmem.errors import (
    ConnectionFailedError,
    ConversationExistsError,
    ConversationNotFoundError,
    DatabaseError,
    DatabaseTimeoutError,
    EmbeddedPostgresError,
    EmbeddingError,
    EventLoopError,
    HistoryEntryNotFoundError,
    InvalidInputError,
    InvalidLineError,
    InvalidOptionError,
    InvalidQueryError,
    LeaseHeldError,
    LeaseLostError,
    MemoryConflictError,
    MemoryRefusedError,
    MessageNotFoundError,
    MigrationError,
    MissingExtraError,
    OperationConflictError,
    OutcomeUnknownError,
    QuotaExceededError,
    RevisionConflictError,
    SchemaError,
    SchemaNotReadyError,
    StorageClosedError,
    StoredFileNotFoundError,
    UnreadableError,
    VoltMemError,
)
from voltmem.models import Conversation, ConversationPage, Message, NativeMessage
from voltmem.options import ConnectionOptions, Quotas, Recall
from voltmem.storage import BoundStorage, PostgresStorage, Storage

__version__ = "0.1.0"

__all__ = [
    "ANY_USER",
    "UNSET",
    "AgentHistoryEntry",
    "AgentHistoryPage",
    "AgentHistoryStep",
    "AgentRun",
    "AnyUser",
    "BoundStorage",
    "BranchingPoint",
    "Change",
    "CompactWhen",
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
    "EmbeddingError",
    "EventLoopError",
    "Finding",
    "Forgotten",
    "Health",
    "HeldLease",
    "Highlight",
    "HistoryEntryNotFoundError",
    "ImportResult",
    "ImportedConversation",
    "ImportedMemory",
    "ImportedMessage",
    "ImportedPayload",
    "ImportedSummary",
    "InvalidInputError",
    "InvalidLineError",
    "InvalidOptionError",
    "InvalidQueryError",
    "Lease",
    "LeaseHeldError",
    "LeaseLostError",
    "Memory",
    "MemoryConflictError",
    "MemoryRefusedError",
    "MemoryVersion",
    "Message",
    "MessageNotFoundError",
    "MigrationError",
    "MigrationResult",
    "MigrationStatus",
    "MissingExtraError",
    "Moment",
    "NativeMemory",
    "NativeMessage",
    "OperationConflictError",
    "OutcomeUnknownError",
    "Payload",
    "PostgresStorage",
    "Pruned",
    "QuotaExceededError",
    "Quotas",
    "Recall",
    "RememberedVersion",
    "Renamed",
    "RevisionConflictError",
    "RunEvent",
    "SchemaError",
    "SchemaNotReadyError",
    "SchemaStatus",
    "SearchHit",
    "SearchResults",
    "Share",
    "SharedConversation",
    "Skipped",
    "SplitConversation",
    "Storage",
    "StorageClosedError",
    "StoredFile",
    "StoredFileNotFoundError",
    "Summarize",
    "Summary",
    "TagCount",
    "TimelineEvent",
    "UnreadableError",
    "Unset",
    "Usage",
    "UserConversations",
    "UserStorage",
    "VoltMemError",
    "WorkingMemory",
    "WorkingMemoryHandle",
    "as_html",
    "group_by_date",
    "list_payloads",
    "quote_moments",
]
