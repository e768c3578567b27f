"""Tags: which ones a user's conversations have, and replacing one in many conversations at once."""

from __future__ import annotations

from collections.abc import Sequence

from voltmem._areas.area import Area
from voltmem._model import Key, Model, construct_unchecked
from voltmem._tables import Tables
from voltmem._values import check_ids, check_key_or_none, check_user
from voltmem.errors import InvalidInputError


class TagCount(Model):
    """A tag, and how many conversations have it. Soft-deleted conversations are not counted."""

    tag: Key
    """The tag."""
    listed: int
    """How many conversations of the sidebar's list have it."""
    archived: int
    """How many archived conversations have it."""


class TagStatements:
    """The statements whose text does not depend on the arguments."""

    def __init__(self, tables: Tables) -> None:
        self.tags = f"""
            SELECT t.tag,
                pg_catalog.count(*) FILTER (WHERE NOT c.archived), pg_catalog.count(*) FILTER (WHERE c.archived)
            FROM {tables.conversations} AS c CROSS JOIN LATERAL pg_catalog.unnest(c.tags) AS t (tag)
            WHERE c.user_id = $1 AND c.deleted_at IS NULL
            GROUP BY t.tag ORDER BY t.tag COLLATE pg_catalog."C" """
        has = "c.tags OPERATOR(pg_catalog.@>) ARRAY[{}::text]"
        without = "pg_catalog.array_remove(c.tags, $2::text)"
        self.replace = f"""
            WITH changed AS (UPDATE {tables.conversations} AS c
            SET tags = CASE WHEN $3::text IS NULL OR {has.format("$3")} THEN {without}
                ELSE pg_catalog.array_append({without}, $3::text) END
            WHERE c.user_id = $1 AND ($4::text[] IS NULL OR c.id = ANY ($4::text[]))
                AND ($2::text IS NULL OR {has.format("$2")}) AND ($2 IS NOT NULL OR NOT {has.format("$3")})
            RETURNING c.id)
            SELECT pg_catalog.array_agg(id ORDER BY id COLLATE pg_catalog."C") AS ids FROM changed"""


class Tags(Area):
    """The verbs about tags. PostgresStorage inherits from all areas."""

    async def list_tags(self, user_id: str) -> list[TagCount]:
        """
        Return the tags of a user's conversations, in the order of their characters, with the number of conversations.

        Reads all of the user's conversations.
        """
        check_user("user_id", user_id)
        rows = await self._executor.fetch(self._sql(TagStatements).tags, user_id)
        return [construct_unchecked(TagCount, {"tag": t, "listed": n, "archived": a}) for t, n, a in rows]

    async def replace_tag(
        self, user_id: str, tag: str | None, by: str | None, *, conversation_ids: Sequence[str] | None = None
    ) -> list[str]:
        """
        Replace a tag of a user's conversations, archived and soft-deleted ones included. Returns the ids changed.

        Args:
            user_id: The user.
            tag: The tag to remove; None: only add *by*, to those that don't have it.
            by: The tag to put in its place; None: only remove *tag*.
            conversation_ids: Only among these, which *tag=None* needs; None: all that have the tag.

        One statement for all. No conversation changes its place in the list.
        """
        check_user("user_id", user_id)
        check_key_or_none(tag=tag)
        check_key_or_none(by=by)
        ids = None if conversation_ids is None else check_ids("conversation_ids", conversation_ids)
        if tag is None and (by is None or ids is None):
            raise InvalidInputError("tag is None: pass the tag to add, and the conversation_ids to add it to")
        row = await self._executor.fetchrow(self._sql(TagStatements).replace, user_id, tag, by, ids, repeatable=False)
        return [] if row is None else list(row["ids"] or [])
