"""The statement that adds messages: a call of the function add_messages, and with quotas the check of them."""

from __future__ import annotations

from voltmem._areas.quotas import room
from voltmem._tables import Tables


class AppendStatements:
    """The statement that stores the messages of any number of calls."""

    def __init__(self, tables: Tables) -> None:
        numbers = ", ".join(f"${number}" for number in range(1, 30))
        self.add_messages = f"SELECT item, stored_at FROM {tables.add_messages}({numbers})"
        has_room = room(
            tables,
            "$2",
            "$1",
            before="",
            patient="$18",
            messages="true",
            added="$4",
            conversations="pg_catalog.cardinality(pg_catalog.array_remove($3::text[], NULL)) > 0",
            file_bytes="$25::text[] IS NOT NULL",
            stored="(SELECT pg_catalog.count(*) FROM added WHERE item > 0 AND stored_at IS NOT NULL)",
        )
        if has_room:
            added = self.add_messages
            self.add_messages = f"WITH added AS ({added}) SELECT item, stored_at FROM added WHERE (SELECT {has_room})"
