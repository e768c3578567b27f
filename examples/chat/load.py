"""Load the conversations of a file with times spread over the past year, to fill the list."""

import asyncio
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

from examples.import_dialogues import read
from voltmem import ImportedConversation, Message, PostgresStorage
from voltmem.chat._titles import shortened

WORKERS = 4
DAYS = 420
BETWEEN_MESSAGES = timedelta(seconds=20)
UNREAD = 3


async def load(storage: PostgresStorage, file: Path, user_id: str) -> int:
    """Load the conversations; stored ones are not changed. Returns the number of new conversations."""
    now = datetime.now(UTC)
    dialogues = sorted(read(file), key=lambda dialogue: crc32(dialogue["id"].encode()))  # a stable shuffle
    conversations = [
        with_times(dialogue, now - age(place, len(dialogues)), None if place < UNREAD else now)
        for place, dialogue in enumerate(dialogues)
    ]
    shares = [conversations[first::WORKERS] for first in range(WORKERS)]
    results = await asyncio.gather(*(storage.import_conversations(user_id, share) for share in shares))
    return sum(result.conversations for result in results)


def age(place: int, count: int) -> timedelta:
    """Return how long ago the conversation at this place ended. Recent times are more frequent."""
    return timedelta(minutes=5, days=DAYS * math.pow(place / count, 1.3))


def with_times(dialogue: dict[str, Any], ended: datetime, read_at: datetime | None) -> ImportedConversation:
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
