"""What a watcher is told: one change of a conversation, or how the watching itself goes."""

from __future__ import annotations

from typing import Literal, TypeAlias

from voltmem._areas.sidebar_models import ConversationItem
from voltmem.models import Id, Model

ChangeKind: TypeAlias = Literal["ready", "created", "updated", "message-added", "deleted", "reconnected"]


class Change(Model):
    """What watch() tells of: a conversation that changed, or that watching has begun or was interrupted."""

    kind: ChangeKind
    """
    - "ready": from here on nothing is missed. It comes first; list the conversations now.
    - "created": there is one more: a new one, one that was restored, or one that somebody gave to the user.
    - "message-added": its newest message is newer than before.
    - "updated": something else of it changed, or of its messages: they were edited, deleted, rewound.
    - "deleted": there is one less: deleted with a way back or without, or given to somebody else.
    - "reconnected": the connection was lost and is back. What changed meanwhile follows, merged: of several changes of
      one conversation only the last state is seen.
    """
    conversation_id: Id | None = None
    """Which one; None where the change is none of a conversation."""
    conversation: ConversationItem | None = None
    """As the sidebar shows it now; None where it is deleted."""

    @property
    def conversationId(self) -> str | None:
        """conversation_id in VoltAgent's spelling."""
        return self.conversation_id
