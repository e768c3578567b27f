"""Users: deleting everything that is stored for one."""

from __future__ import annotations

from voltmem._areas.area import Area
from voltmem._areas.deleted_users import DeletedUserStatements, hash_of_user
from voltmem._model import Model
from voltmem._postgres.listening import notify_of_deletion_sql
from voltmem._postgres.migrations.conversation_schema import forget_in_backup, has_backup
from voltmem._tables import Tables
from voltmem._values import check_user


class UserStatements:
    """The statements whose text does not depend on the arguments."""

    def __init__(self, tables: Tables) -> None:
        conversations = tables.conversations
        self.usage = f"SELECT conversations, messages, file_bytes FROM {tables.usage}($1, true, true, true)"
        # Steps and events are deleted with their entries; messages, payloads and links with their conversations. Rows
        # of other users stay, without their references to the deleted conversations. Watchers are notified here,
        # because their rows are deleted and the trigger would not find them. A run that began during the deletion was
        # under way, too: the record of the user gets the time of the end.
        self.delete_user = f"""
            WITH own AS (SELECT id FROM {conversations} WHERE user_id = $1)
            , runs AS (
                DELETE FROM {tables.agent_history}
                WHERE userid = $1 OR userid IS NULL AND conversationid IN (SELECT id FROM own)
                RETURNING id
            )
            , steps AS (DELETE FROM {tables.agent_history_steps} WHERE history_id IN (SELECT id FROM runs))
            , events AS (DELETE FROM {tables.agent_history_timeline_events} WHERE history_id IN (SELECT id FROM runs))
            , others AS (
                UPDATE {tables.agent_history} SET conversationid = NULL
                WHERE conversationid IN (SELECT id FROM own) AND userid <> $1
            ), copies AS (
                UPDATE {conversations} SET forked_from = NULL, forked_up_to = NULL
                WHERE forked_from IN (SELECT id FROM own) AND user_id <> $1
            ), gone AS (DELETE FROM {conversations} WHERE user_id = $1 RETURNING id)
            , files AS (DELETE FROM {tables.files} WHERE user_id = $1)
            , memory AS (DELETE FROM {tables.user_memory} WHERE user_id = $1)
            , items AS (DELETE FROM {tables.user_items} WHERE user_id = $1)
            , counts AS (DELETE FROM {tables.quota_counts} WHERE user_id = $1)
            , recorded AS (
                UPDATE {tables.deleted_users} SET deleted_at = pg_catalog.clock_timestamp() WHERE user_hash = $2
            )
            , watchers AS (DELETE FROM {tables.watchers} WHERE user_id = $1 RETURNING until)
            SELECT (SELECT pg_catalog.count(*) FROM gone) + (SELECT pg_catalog.count(*) FROM runs) AS deleted,
                {has_backup(tables)} AS has_backup,
                (
                    SELECT pg_catalog.count({notify_of_deletion_sql(tables, "$1::text")}) FROM watchers
                    WHERE until > pg_catalog.statement_timestamp()
                ) AS notified,
                {tables.forget_in_voltagent}($1, ARRAY(SELECT id FROM own)) AS forgotten"""


class Usage(Model):
    """How much a user has stored. All that takes space counts, soft-deleted conversations too."""

    conversations: int
    """The number of conversations."""
    messages: int
    """The number of messages in them, with archived ones and those of all branches."""
    file_bytes: int
    """The bytes of the files, with uploads that are not complete."""


class Users(Area):
    """The verbs about a user as a whole. PostgresStorage inherits from all areas."""

    async def get_usage(self, user_id: str) -> Usage:
        """
        Count what is stored for a user, as the option ``quotas`` counts it.

        Recorded runs, links and the payloads of frameworks do not count. One round trip, which reads the index entries
        of all messages of the user.
        """
        check_user("user_id", user_id, "get_usage() counts what one user has")
        row = await self._executor.fetchrow(self._sql(UserStatements).usage, user_id)
        return Usage(**dict(row or {}))

    async def delete_user(self, user_id: str) -> int:
        """
        Delete everything that is stored for a user. Returns how many conversations and recorded runs were deleted.

        Includes soft-deleted and archived conversations, and runs without a user in the user's conversations. Nothing
        of the user remains in the tables, nor in a backup of migrate_conversation_schema(), and a run that is under way
        does not bring it back: for a day, a hash of the user's id is kept for that. Other users' copies of the
        conversations, and their runs in them, stay; their references to the conversations are cleared. Watchers of the
        user are notified, and go on if the user comes back. What VoltAgent stores of the user in tables of
        its own (working memory, steps, workflows) is deleted, too, and the user's messages in other users'
        conversations.

        Three round trips: the first records the hash, and waits for transactions that are creating a conversation of
        the user; the second reads all conversations to find such copies; the third deletes forks for which the second
        had to wait. Another one if there is a backup.
        """
        check_user("user_id", user_id, "delete_user() deletes all that is stored of one user")
        # Before the deletion, which takes long for a user with many messages: runs may end meanwhile.
        record, user_hash = self._sql(DeletedUserStatements).record, hash_of_user(self._options.tables, user_id)
        await self._executor.fetchrow(record, user_hash, repeatable=False)
        statement = self._sql(UserStatements).delete_user
        deleted = 0
        while True:  # until nothing is left: a statement that waits for a fork does not see the copy
            row = await self._executor.fetchrow(statement, user_id, user_hash, repeatable=False)
            assert row is not None  # it returns one row always
            deleted += row["deleted"]
            if not row["deleted"]:
                break
        if row["has_backup"]:
            await self._executor.execute(forget_in_backup(self._options.tables), user_id)
        return int(deleted)
