"""The query of a window: the newest messages of one conversation, as an immutable value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from voltmem._areas.queries import (
    IS_THEIRS,
    ON_LINE,
    ROLE,
    TYPE,
    Select,
    ShapedQuery,
    authored,
    message_columns,
    owner_of,
)
from voltmem._areas.summaries import AS_MESSAGE, END_OF_SUMMARY, summary_of
from voltmem._tables import Tables
from voltmem._values import ANY_USER, check_count, check_id, check_owner
from voltmem.models import Owner


@dataclass(frozen=True)
class WindowQuery(ShapedQuery):
    """
    The newest messages of one conversation, and its owner. Another user's gives one row without a message.

    A row has the conversation's user_id, has_summary (whether it has ever had one), is_first, and the columns of the
    message. The conversation's first message comes once with is_first, before the others, and again if it is one of the
    newest.
    """

    conversation_id: str
    user_id: Owner = ANY_USER
    """Only if the conversation is this user's; ANY_USER: no check, for trusted code."""
    limit: int | None = None
    """The maximum number of messages."""
    turns: int | None = None
    """Only the messages of the newest *turns* turns, including the current one."""
    exchanges: int | None = None
    """Only the newest *exchanges* exchanges: messages of the user and the assistant, without tools."""
    tokens: int | None = None
    """With a limit: only the newest messages that together may have no more tokens."""
    tokens_of_message: int = 0
    """With tokens: how many a plain text has, beside its bytes."""
    bytes_a_token: int = 1
    """With tokens: how many bytes of a plain text are a token, at most."""
    are_counted: bool = False
    """With tokens: whether they are those that are stored beside messages, as the last column; not where it is NULL."""
    summarised: bool | None = False
    """True, with a user_id: only messages after the summary in use, which is a row, too, without is_first. None: all,
    and the caller looks at has_summary, because a statement that asks for a summary takes longer."""
    format: str | None = None
    """The format of a framework whose own summaries are used, too."""

    def __post_init__(self) -> None:
        check_id(conversation_id=self.conversation_id)
        check_owner("user_id", self.user_id)
        for name in ("limit", "turns", "exchanges", "tokens"):
            if (count := getattr(self, name)) is not None:
                check_count(name, count)

    def _shape(self) -> tuple[object, ...]:
        given = (number is None for number in (self.limit, self.turns, self.exchanges, self.tokens))
        return WindowQuery, self.user_id is ANY_USER, self.summarised, self.format is None, *given

    def _select(self, tables: Tables) -> tuple[str, Sequence[str]]:
        statement = Select()
        conversation = statement.argument("conversation_id")
        of_it = f"FROM {authored(tables)} AS m WHERE conversation_id = {conversation} AND {ON_LINE}"
        if self.user_id is not ANY_USER:
            user = statement.argument("user_id")
            of_it += f" AND coalesce(author, {owner_of(tables, conversation)}) = {user}"
        whole, columns, counted = of_it, message_columns(tables), self.tokens is not None
        begun: list[str] = []
        summary = ""
        if self.summarised:
            format = None if self.format is None else statement.argument("format")
            begun = [f"summary AS ({summary_of(tables, conversation, '$2', format)})"]
            of_it += f" AND created_at > {END_OF_SUMMARY}"
            count = ", NULL::integer" if counted else ""
            summary = f"UNION ALL (SELECT NULL::boolean, {AS_MESSAGE}{count} FROM summary)"
        spoken = "" if self.exchanges is None else f" AND {_SPOKEN}"
        start, since = self._start(statement, of_it)
        begun += [start] if start else []
        if counted:
            newest = self._within_budget(statement, of_it)
            columns += f", CASE WHEN NOT {IS_THEIRS} THEN tokens END AS tokens"
        else:
            limits = [since] if since else []
            if self.limit is not None:
                limits.append(f"{statement.argument('limit')}::bigint")
            limit = f"LIMIT least({', '.join(limits)})" if limits else ""
            newest = f"{of_it}{spoken} ORDER BY created_at DESC, seq DESC {limit}"
        text = f"""{f"WITH {', '.join(begun)}" if begun else ""}
            SELECT c.user_id AS owner, c.summary_id IS NOT NULL AS has_summary, m.*
            FROM {tables.conversations} AS c
            LEFT JOIN (
                (SELECT true AS is_first, {columns} {whole} ORDER BY created_at, seq LIMIT 1)
                UNION ALL
                (SELECT false, {columns} {newest})
                {summary}
            ) AS m ON true
            WHERE c.id = {conversation} AND c.deleted_at IS NULL"""
        return text, statement.arguments

    def _within_budget(self, statement: Select, of_it: str) -> str:
        """Return the rest of the SELECT of the newest messages, up to those that have too many tokens for certain."""
        plain = f"""format IS NULL AND content_json IS NULL AND NOT {IS_THEIRS} AND {TYPE} = 'text'
                        AND {ROLE} NOT IN ('tool', 'function') AND pg_catalog.left(content, 1) NOT IN ('{{', '[')"""
        text = f"pg_catalog.octet_length(content) / {statement.argument('bytes_a_token')}::integer"
        uncounted = f"{statement.argument('tokens_of_message')}::integer + {text}"
        counted = f"coalesce(CASE WHEN {statement.argument('are_counted')} THEN tokens END, {uncounted})"
        # Others may be left out of the window, such as results without their call.
        at_least = f"CASE WHEN {plain} THEN {counted} ELSE 0 END"
        newest_first = "ORDER BY created_at DESC, seq DESC"
        # LIMIT of a subquery: the planner expects that it is a part of the rows, however many, so it walks the index.
        return f"""FROM (
                    SELECT m.*, pg_catalog.sum({at_least}) OVER ({newest_first} ROWS UNBOUNDED PRECEDING) AS at_least
                    {of_it} {newest_first} LIMIT (SELECT {statement.argument("limit")}::bigint)
                ) AS m WHERE at_least <= {statement.argument("tokens")}::bigint {newest_first}"""

    def _start(self, statement: Select, of_it: str) -> tuple[str, str]:
        """Return the part of a WITH that finds where the window begins, and an expression of the LIMIT (NULL: all)."""
        # <> and IS DISTINCT FROM: the planner expects that they exclude few rows, so it scans the index, not sorts all.
        if self.turns is not None:
            neighbour, filtered, count = "lead", "", "turns"
            begins = "role = 'user' AND speaker <> 'tool' AND neighbour IS DISTINCT FROM 'user'"
        elif self.exchanges is not None:
            neighbour, filtered, count = "lag", f" AND {_SPOKEN}", "exchanges"
            begins = "role = 'user' AND neighbour <> 'user'"
        else:
            return "", ""
        # The planner does not see that the inner LIMIT is all rows: it expects a part of them, so it walks the index.
        # lead() and lag() read one row further down the index, so no more is read than the window has.
        newest_first = "created_at DESC, seq DESC"
        start = f"""
            start AS (
                SELECT number FROM (
                    SELECT created_at, seq, {ROLE} AS role, {_SPEAKER} AS speaker,
                        pg_catalog.row_number() OVER newest_first AS number,
                        pg_catalog.{neighbour}({_SPEAKER}) OVER newest_first AS neighbour
                    FROM (SELECT m.* {of_it}{filtered} ORDER BY {newest_first} LIMIT (SELECT {_ALL})) AS m
                    WINDOW newest_first AS (ORDER BY {newest_first})
                ) AS each
                WHERE {begins} ORDER BY {newest_first}
                OFFSET greatest({statement.argument(count)}::bigint - 1, 0) LIMIT 1
            )"""
        return start, "(SELECT number FROM start)"


_ALL: Final = 2**31

# Tool results may have the role "user": Anthropic's blocks, which come first in their message, and OpenAI's items. They
# are matched as text, because JSON operators refuse NUL characters, and only in the beginning, because the content may
# have megabytes.
_IS_TOOL_RESULT: Final = (
    f"({TYPE} = 'tool-result' OR coalesce(pg_catalog.left(content_json::text, 1000) "
    f"""~ '"type":"(tool-result|tool_result|function_call_output)"', false) AND NOT {IS_THEIRS})"""
)
_SPEAKER: Final = f"CASE WHEN {ROLE} = 'user' AND {_IS_TOOL_RESULT} THEN 'tool' ELSE {ROLE} END"
# Messages of the user and the assistant, without tool calls and results.
# With <>, because the planner expects that it matches many rows, and so reads them by the index.
_SPOKEN: Final = (
    f"CASE WHEN {ROLE} IN ('user', 'assistant') AND {TYPE} NOT IN ('tool-call', 'tool-result', 'reasoning') "
    f"AND ({ROLE} <> 'user' OR NOT {_IS_TOOL_RESULT}) THEN 1 ELSE 0 END <> 0"
)
