"""
Load conversations from a JSON-lines file: ``python examples/import_dialogues.py FILE [--user NAME]``.

Each line is an object with an "id" and a list of "messages", each with "role", "content" and optionally "type". FILE
may be compressed (.gz). Loading the same file again changes nothing, because a message with the same id is replaced.
"""

import argparse
import asyncio
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from voltmem import Conversation, Message, PostgresStorage

WORKERS = 8
TITLE_LENGTH = 60
BAR_LENGTH = 40


def read(file: Path) -> Iterator[dict[str, Any]]:
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rt", encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.strip())


async def load(storage: PostgresStorage, dialogue: dict[str, Any], user: str) -> int:
    messages = [
        Message(id=f"{dialogue['id']}-{number}", **message) for number, message in enumerate(dialogue["messages"])
    ]
    title = next((message.text[:TITLE_LENGTH] for message in messages if message.role == "user"), None)
    # One transaction: a conversation is stored as a whole or not at all, even if the program is stopped.
    async with storage.transaction() as tx:
        await tx.ensure_conversation(Conversation(id=dialogue["id"], user_id=user, resource_id="imported", title=title))
        return len(await tx.add_messages(messages, user, dialogue["id"]))


def show(done: int, total: int, messages: int) -> None:
    filled = BAR_LENGTH * done // total
    bar = "█" * filled + "░" * (BAR_LENGTH - filled)
    end = "\n" if done == total else ""
    print(f"\r{bar} {done:,} of {total:,} conversations, {messages:,} messages", end=end, flush=True, file=sys.stderr)


async def main(file: Path, user: str) -> None:
    dialogues = list(read(file))
    waiting, done, messages = iter(dialogues), 0, 0

    async def work(storage: PostgresStorage) -> None:
        nonlocal done, messages
        for dialogue in waiting:  # the workers share the iterator
            loaded = await load(storage, dialogue, user)
            done, messages = done + 1, messages + loaded
            show(done, len(dialogues), messages)

    storage = PostgresStorage(max_connections=WORKERS, storage_limit=None)
    async with storage, asyncio.TaskGroup() as tasks:
        for _ in range(WORKERS):
            tasks.create_task(work(storage))
    print(f"loaded {done:,} conversations and {messages:,} messages for {user}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Load conversations from a JSON-lines file.")
    parser.add_argument("file", type=Path, help="a .jsonl or .jsonl.gz file")
    parser.add_argument("--user", default="importer", help="the owner of the conversations (default: importer)")
    given = parser.parse_args()
    asyncio.run(main(given.file, given.user))
