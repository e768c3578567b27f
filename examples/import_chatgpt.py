"""
Import your ChatGPT conversations: ``python examples/import_chatgpt.py export.zip [--user NAME]``.

The zip file is what ChatGPT sends for "Export data". Importing it again changes nothing. Without a file, a sample
conversation is imported.
"""

import argparse
import asyncio
import json
from pathlib import Path

from voltmem import PostgresStorage
from voltmem.importers import from_chatgpt


def node(id: str, parent: str | None, role: str, text: str, time: float) -> dict[str, object]:
    content = {"content_type": "text", "parts": [text]}
    message = {"id": id, "author": {"role": role}, "create_time": time, "content": content}
    return {"id": id, "parent": parent, "message": message}


SAMPLE = {
    "conversation_id": "a-trip-to-oslo",
    "title": "A trip to Oslo",
    "create_time": 1_710_000_000.0,
    "current_node": "m3",
    "mapping": {
        "m1": node("m1", None, "user", "Do I need a coat in Oslo?", 1_710_000_000.0),
        "m2": node("m2", "m1", "assistant", "That depends.", 1_710_000_002.0),
        "m3": node("m3", "m1", "assistant", "In March, yes.", 1_710_000_009.0),  # regenerated: the chosen branch
    },
}


async def main(export: Path | str, user: str) -> None:
    async with PostgresStorage(search=True) as storage:
        result = await storage.import_conversations(user, from_chatgpt(export))
        print(f"imported {result.conversations} conversations")
        for skipped in result.skipped:
            print(f"skipped {skipped.id}: {skipped.reason}")
        for name, count in result.left_out.items():
            print(f"left out {count} {name}")
        for item in (await storage.list_conversations(user, limit=5)).items:
            print(f"{item.updated_at:%Y-%m-%d}  {item.title}: {item.preview}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Import ChatGPT's export.")
    parser.add_argument("file", type=Path, nargs="?", help="the zip file, its folder, or conversations.json")
    parser.add_argument("--user", default="importer", help="the owner of the conversations (default: importer)")
    given = parser.parse_args()
    asyncio.run(main(given.file or json.dumps([SAMPLE]), given.user))
