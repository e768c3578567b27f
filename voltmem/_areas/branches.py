"""
Branches: several messages that follow the same message, whoever made them.

The line is the chosen branch from the first message to the last, the head. Every reader reads the line. A message that
is added follows the head, unless it names another message as its parent: then a branch begins there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self, cast

from voltmem._areas.area import Area
from voltmem._areas.queries import authored, message_at, message_columns, owner_of
from voltmem._model import Key, Model, construct_unchecked
from voltmem._tables import Tables
from voltmem._values import ANY_USER, check_id, check_id_or_none, check_owner
from voltmem.errors import ConversationNotFoundError, MessageNotFoundError
from voltmem.models import Message, Owner


class BranchingPoint(Model):
    """A place where the line could have gone on differently."""

    parent_id: Key | None
    """The message that the others follow; None: they are first messages."""
    message_ids: list[Key]
    """The messages that follow it, one for each branch, in the order in which they were added."""
    chosen_id: Key | None
    """The one that is on the line; None: the line ends before them."""

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Self:
        """Return the branching point of a row, in the order of the fields."""
        return construct_unchecked(cls, dict(zip(cls.model_fields, row, strict=True)))


class BranchStatements:
    """The statements whose text does not depend on the arguments. Owner NULL: no check, for trusted code."""

    def __init__(self, tables: Tables) -> None:
        messages = tables.messages
        there = f"""EXISTS (
                SELECT 1 FROM {tables.conversations}
                WHERE id = $1 AND ($2::text IS NULL OR user_id = $2) AND deleted_at IS NULL
            )"""
        self.choose = f"SELECT owner, is_deleted, has_message, head FROM {tables.choose_branch}($1, $2, $3, $4, $5)"
        # A message of the line follows the message before it, whatever parent it names. A message off the line whose
        # parent is not there, or archived, is a first message.
        points = f"""
            WITH off_line AS (
                SELECT coalesce(parent_id, '') AS named_id, message_id, created_at, seq FROM {messages}
                WHERE conversation_id = $1 AND NOT archived AND aside AND {there}
            ), parent AS (
                SELECT named.id AS named_id, p.parent_id, p.is_off_line, p.created_at, p.seq
                FROM (SELECT DISTINCT named_id AS id FROM off_line) AS named CROSS JOIN LATERAL (
                    SELECT coalesce(pg_catalog.min(m.message_id), '') AS parent_id,
                        coalesce(pg_catalog.bool_or(m.aside), false) AS is_off_line,
                        coalesce(pg_catalog.min(m.created_at), '-infinity') AS created_at,
                        coalesce(pg_catalog.min(m.seq), 0) AS seq
                    FROM ({message_at(tables, "$1", "named.id")}
                    ) AS m WHERE m.message_id = named.id AND NOT m.archived
                ) AS p
            ), place AS (
                SELECT DISTINCT parent_id, is_off_line, created_at, seq FROM parent
            ), chosen AS (
                SELECT place.*, CASE WHEN NOT is_off_line THEN (
                    SELECT m.message_id FROM {messages} AS m
                    WHERE m.conversation_id = $1 AND NOT m.archived AND NOT m.aside
                        AND (m.created_at, m.seq) > (place.created_at, place.seq)
                    ORDER BY m.created_at, m.seq LIMIT 1
                ) END AS message_id
                FROM place
            ), member AS (
                SELECT parent.parent_id, o.message_id, o.created_at, o.seq
                FROM off_line AS o JOIN parent ON parent.named_id = o.named_id
                UNION ALL
                SELECT chosen.parent_id, m.message_id, m.created_at, m.seq
                FROM chosen CROSS JOIN LATERAL ({message_at(tables, "$1", "chosen.message_id")}
                ) AS m
                WHERE m.message_id = chosen.message_id
            ), siblings AS (
                SELECT parent_id, pg_catalog.array_agg(message_id ORDER BY created_at, seq) AS message_ids
                FROM member GROUP BY parent_id
            ), point AS (
                SELECT parent_id, siblings.message_ids, chosen.message_id AS chosen_id, chosen.created_at, chosen.seq
                FROM chosen JOIN siblings USING (parent_id)
                WHERE pg_catalog.cardinality(siblings.message_ids) > 1 OR NOT chosen.is_off_line
            )"""
        self.points = f"""{points}
            SELECT nullif(parent_id, '') AS parent_id, message_ids, chosen_id FROM point ORDER BY created_at, seq"""
        self.siblings = f"""{points}
            SELECT {message_columns(tables)} FROM {authored(tables)} AS m
            WHERE conversation_id = $1 AND {there}
                AND ($2::text IS NULL OR coalesce(author, {owner_of(tables, "$1")}) = $2)
                AND (
                    message_id = $3
                    OR message_id IN (SELECT pg_catalog.unnest(message_ids) FROM point WHERE $3 = ANY (message_ids))
                )
            ORDER BY created_at, seq"""


class Branches(Area):
    """The verbs about branches. PostgresStorage inherits from all areas."""

    async def branch_conversation(
        self, conversation_id: str, message_id: str | None, *, owner: Owner = ANY_USER
    ) -> None:
        """
        Begin a branch after a message: set the messages after it aside. Nothing is deleted.

        To regenerate an answer and keep the old one, branch after the question. To edit a question and keep the old
        one, branch after the message before it, and add the edited one with an id of its own. The messages that are set
        aside leave every reader's view, until choose_branch() brings them back. rewind_conversation() deletes them.

        Args:
            conversation_id: The conversation.
            message_id: The last message that stays, from any branch; None: none stays.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            MessageNotFoundError: It has no such message.
        """
        check_id_or_none(message_id=message_id)
        await self._move_head(conversation_id, message_id or "", owner, to_the_end=False)

    async def choose_branch(self, conversation_id: str, message_id: str, *, owner: Owner = ANY_USER) -> str:
        """
        Choose the branch of a message for all readers, up to its newest message. Returns the id of that message.

        The messages before it come with it; the branch that was chosen until now is set aside. A message of the chosen
        branch changes nothing.

        Args:
            conversation_id: The conversation.
            message_id: The message, most often one of list_siblings().
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            MessageNotFoundError: It has no such message.
        """
        check_id(message_id=message_id)
        return await self._move_head(conversation_id, message_id, owner, to_the_end=True) or message_id

    async def _move_head(self, conversation_id: str, message_id: str, owner: Owner, *, to_the_end: bool) -> str | None:
        check_id(conversation_id=conversation_id)
        owner_id = check_owner("owner", owner)
        arguments = conversation_id, owner_id, message_id, to_the_end, self._options.storage_limit
        # Repeatable: sent again, the head is there already.
        row = await self._executor.fetchrow(self._sql(BranchStatements).choose, *arguments)
        if row is None or row["has_message"] is None:
            raise ConversationNotFoundError(conversation_id, owner_id, is_deleted=row is not None and row["is_deleted"])
        if not row["has_message"]:
            raise MessageNotFoundError(message_id, conversation_id)
        return cast("str | None", row["head"])

    async def list_branches(self, conversation_id: str, *, owner: Owner = ANY_USER) -> list[BranchingPoint]:
        """
        Return the branching points of a conversation, oldest first, with the messages that follow each.

        A chat shows "2 / 3" beside each message that one of them holds. A conversation without branches has none, and
        so has one that does not exist or is not the owner's.

        Args:
            conversation_id: The conversation.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.

        Reads the messages that are set aside, by the index ``{prefix}_messages_in_line``.
        """
        check_id(conversation_id=conversation_id)
        owner_id = check_owner("owner", owner)
        rows = await self._executor.fetch(self._sql(BranchStatements).points, conversation_id, owner_id)
        return list(map(BranchingPoint.from_row, rows))

    async def list_siblings(self, conversation_id: str, message_id: str, *, owner: Owner = ANY_USER) -> list[Message]:
        """
        Return the messages that follow the same message as this one, itself included, in the order of adding.

        Args:
            conversation_id: The conversation. If it does not exist or is not the owner's, the list is empty.
            message_id: The message. If the conversation does not have it, the list is empty.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.

        Reads the messages that are set aside, like list_branches().
        """
        check_id(conversation_id=conversation_id, message_id=message_id)
        owner_id = check_owner("owner", owner)
        statement = self._sql(BranchStatements).siblings
        return list(map(Message.from_row, await self._executor.fetch(statement, conversation_id, owner_id, message_id)))
