"""Conversations of a file, as if they had been held over the past year: the list has something to show."""

import asyncio
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

from examples.chat.model import shortened
from examples.import_dialogues import read
from voltmem import ImportedConversation, Message, PostgresStorage

AT_ONCE = 4
DAYS = 420
BETWEEN_MESSAGES = timedelta(seconds=20)
UNREAD = 3


async def load(storage: PostgresStorage, file: Path, user_id: str) -> int:
    """Return how many conversations were added; those that are there already stay as they are."""
    now = datetime.now(UTC)
    dialogues = sorted(read(file), key=lambda dialogue: crc32(dialogue["id"].encode()))  # a mixture, always the same
    conversations = [
        as_held(dialogue, now - age(place, len(dialogues)), None if place < UNREAD else now)
        for place, dialogue in enumerate(dialogues)
    ]
    shares = [conversations[first::AT_ONCE] for first in range(AT_ONCE)]
    results = await asyncio.gather(*(storage.import_conversations(user_id, share) for share in shares))
    return sum(result.conversations for result in results)


def age(place: int, count: int) -> timedelta:
    """Return how long ago the conversation at this place ended: many lately, fewer the longer ago."""
    return timedelta(minutes=5, days=DAYS * math.pow(place / count, 1.3))


def as_held(dialogue: dict[str, Any], ended: datetime, read_at: datetime | None) -> ImportedConversation:
    count = len(dialogue["messages"])
    messages = [
        Message(created_at=ended - (count - number) * BETWEEN_MESSAGES, **message)
        for number, message in enumerate(dialogue["messages"], 1)
    ]
    questions = [message.text for message in messages if message.role == "user"]
    title = shortened(questions[0]) if questions else None
    return ImportedConversation(
        id=dialogue["id"], resource_id="chat", title=title, messages=messages, read_at=read_at, updated_at=ended
    )
