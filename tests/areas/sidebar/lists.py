"""Helpers for the tests of the sidebar: create and read lists of conversations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from voltmem import PostgresStorage

START = datetime(2026, 1, 1, tzinfo=UTC)


async def make(storage: PostgresStorage, count: int, user_id: str = "ada", prefix: str = "c") -> list[str]:
    """Create conversations, each an hour older than the one before. Returns their ids, the newest first."""
    for number in range(count):
        await storage.create_conversation(
            {"id": f"{prefix}{number}", "user_id": user_id, "created_at": START + timedelta(hours=number)}
        )
    return [f"{prefix}{number}" for number in reversed(range(count))]


async def walk(storage: PostgresStorage, limit: int, **options: object) -> list[str]:
    ids: list[str] = []
    after: str | None = None
    while True:
        page = await storage.list_conversations("ada", limit=limit, after=after, **options)  # type: ignore[arg-type]
        assert len(page.items) <= limit
        ids += [item.id for item in page.items]
        if not page.has_more:
            assert page.next_cursor is None
            return ids
        after = page.next_cursor
