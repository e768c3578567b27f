"""A user as a whole: all that is stored of one, deleted."""

from __future__ import annotations

from voltmem._areas.area import Area
from voltmem._areas.queries import runs_of_user
from voltmem._postgres.listening import notify_sql
from voltmem._postgres.migrations.conversation_schema import forget_in_backup, has_backup
from voltmem._tables import Tables
from voltmem._values import check_user


class UserStatements:
    """The statements with one shape."""

    def __init__(self, tables: Tables) -> None:
        conversations = tables.conversations
        # Steps and events go with their entries; messages, payloads and links with their conversations. What is
        # somebody else's stays, and names none of the conversations that are gone. Who is watching is told here: the
        # trigger finds no watchers any more.
        self.delete_user = f"""
            WITH own AS (SELECT id FROM {conversations} WHERE user_id = $1)
            , runs AS (DELETE FROM {tables.agent_history} WHERE id IN ({runs_of_user(tables)}) RETURNING id)
            , steps AS (DELETE FROM {tables.agent_history_steps} WHERE history_id IN (SELECT id FROM runs))
            , events AS (DELETE FROM {tables.agent_history_timeline_events} WHERE history_id IN (SELECT id FROM runs))
            , others AS (
                UPDATE {tables.agent_history} SET conversationid = NULL
                WHERE conversationid IN (SELECT id FROM own) AND userid <> $1
            ), copies AS (
                UPDATE {conversations} SET forked_from = NULL, forked_up_to = NULL
                WHERE forked_from IN (SELECT id FROM own) AND user_id <> $1
            ), gone AS (DELETE FROM {conversations} WHERE user_id = $1 RETURNING id)
            , watchers AS (DELETE FROM {tables.watchers} WHERE user_id = $1 RETURNING until)
            SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM runs) AS deleted,
                {has_backup(tables)} AS has_backup,
                (
                    SELECT count({notify_sql(tables, "$1::text")}) FROM watchers WHERE until > statement_timestamp()
                ) AS told"""


class Users(Area):
    """The verb about a user as a whole."""

    async def delete_user(self, user_id: str) -> int:
        """
        Return how many conversations and recorded runs of a user were deleted: all, with everything that is in them.

        Deleted and archived conversations, too, and runs in a conversation of the user's that name nobody. Nothing of
        the user is left in the tables, nor in a backup that migrate_conversation_schema() made; what somebody else has
        that points there, a copy of a conversation or a run in it, stays and points nowhere. Whoever is watching the
        user is told, and hears of what comes later in half a minute or less.

        One statement, which reads all conversations for such copies; another where there is a backup.
        """
        check_user("user_id", user_id, "delete_user() deletes all that is stored of one user")
        row = await self._executor.fetchrow(self._sql(UserStatements).delete_user, user_id, repeatable=False)
        if row is None:
            return 0
        if row["has_backup"]:
            await self._executor.execute(forget_in_backup(self._options.tables), user_id)
        return int(row["deleted"])
