"""
The text of every statement and function keeps the rules of docs/decisions/sql-that-scales-out.md.

Citus is not needed: a statement that it could not plan, or would run on the wrong server, is found by its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.checkout import ROOT
from tests.conftest import Connection
from tests.postgres.test_statements import GROUPS, statements
from voltmem._postgres.migrations import citus
from voltmem._postgres.migrations.files import migrations
from voltmem._tables import Tables, bare

TABLES = Tables("app", "chat")
DISTRIBUTED = [getattr(TABLES, each.table) for each in citus.LAYOUT if each.column is not None]
# Functions whose value differs from call to call, or from statement to statement.
VOLATILE = r"\b(clock_timestamp|gen_random_uuid|random|nextval|timeofday|set_config)\s*\("
STABLE = r"\b(now|statement_timestamp|transaction_timestamp|current_setting)\s*\("
ONE_TABLE = r'"app"\.chat_\w+'


def without_comments(sql: str) -> str:
    return re.sub(r"--[^\n]*", "", sql)


@cache
def functions() -> dict[str, str]:
    """Return the text of each function by its name, without comments."""
    return {
        each.name.removeprefix("functions/"): without_comments(TABLES.render(each.text))
        for each in migrations()
        if each.is_function
    }


def body(text: str) -> str:
    return text.partition("\nBEGIN\n")[2]


def in_functions() -> Iterator[str]:
    """Yield the statements in the functions."""
    for text in functions().values():
        yield from body(text).split(";")


@cache
def everything() -> tuple[str, ...]:
    """Return the statements that are sent, and those in functions."""
    sent = dict.fromkeys(without_comments(each) for each in statements(TABLES))
    return (*sent, *in_functions())


def without_checks() -> tuple[str, ...]:
    """Return everything but the statements of check(), which does not run on Citus yet."""
    checks = r"\bAS (named|token) \(id\)|\bgiven\.conversation_id OFFSET 0|\bchat_messages AS t\b"
    return tuple(text for text in everything() if not re.search(checks, text))


def enclosed(text: str, start: int) -> str:
    """Return the text from a place to the end of the parentheses around it."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth < 0:
            return text[start:place]
    return text[start:]


def updates(text: str) -> Iterator[str]:
    """Yield each UPDATE of a distributed table, without those within it."""
    for found in re.finditer(rf"\bUPDATE ({ONE_TABLE})", text):
        if found[1] in DISTRIBUTED:
            yield enclosed(text, found.start())


def returned(text: str) -> Iterator[str]:
    """Yield what stands after each RETURNING."""
    for found in re.finditer(r"\bRETURNING\b", text):
        yield enclosed(text, found.end())


def conditional(text: str) -> Iterator[str]:
    """Yield what stands within CASE and coalesce."""
    yield from re.findall(r"\bCASE\b.*?\bEND\b", text, re.DOTALL)
    for found in re.finditer(r"\b(?:coalesce|greatest|least)\(", text):
        yield enclosed(text, found.end())


def wrong(rule: str, texts: Iterator[str] | tuple[str, ...]) -> list[str]:
    return [text for text in texts if re.search(rule, text)]


def test_no_select_list_is_empty() -> None:
    """SELECT 1 FROM …: of a CTE without columns, Citus cannot read the result."""
    assert wrong(r"\bSELECT\s+FROM\b|\(\s*SELECT\s*\)", everything()) == []


def test_do_update_has_no_volatile_or_stable_function() -> None:
    """In DO UPDATE SET, excluded has the new time, or a parameter."""
    sets = [
        re.split(r"\bRETURNING\b", enclosed(text, found.end()))[0]
        for text in everything()
        for found in re.finditer(r"\bDO UPDATE SET\b", text)
    ]

    assert len(sets) > 5
    assert wrong(f"{VOLATILE}|{STABLE}", iter(sets)) == []


def named() -> Iterator[tuple[str, str]]:
    """Yield the statements without arguments, and the functions, with their names."""
    for group in GROUPS:
        for name, text in vars(group(TABLES)).items():
            yield f"{type(group(TABLES)).__name__}.{name}", text
    yield from functions().items()


NEED_EVERY_WORKER = {
    *("ImportStatements.store", "ImportStatements.store_user_memory", "copy_files", "fork_conversation"),
    "ItemStatements.store",
    "add_plain_messages",  # not called on Citus
}


def test_a_row_is_inserted_with_values_or_from_the_table_that_has_its_key() -> None:
    """Citus sends the rows of another INSERT … SELECT by way of the coordinator to every worker, in two phases."""
    into = re.compile(rf"\bINSERT INTO ({ONE_TABLE})(?: AS \w+)?\s*\([^()]*\)\s*(?=SELECT)")
    key_of = rf"[ ,](\w+)\.(?:id|conversation_id|user_id)\b.*\bFROM {ONE_TABLE} AS \1\b"
    found = {
        name
        for name, text in named()
        for insert in into.finditer(text)
        if insert[1] in DISTRIBUTED and not re.search(key_of, enclosed(text, insert.end()), re.DOTALL)
    }

    assert found == NEED_EVERY_WORKER


def test_an_update_has_no_volatile_function() -> None:
    """An UPDATE of a distributed table calls no volatile function: each server would call its own."""
    found = [each for text in everything() for each in updates(text)]

    assert len(found) > 20
    assert wrong(VOLATILE, iter(found)) == []


def test_an_update_reads_the_time_outside_of_conditions() -> None:
    """An UPDATE has no statement_timestamp() within CASE or coalesce: FROM (SELECT statement_timestamp() AS now)."""
    found = [part for text in everything() for each in updates(text) for part in conditional(each)]

    assert len(found) > 10
    assert wrong(STABLE, iter(found)) == []


def test_an_update_hashes_no_column() -> None:
    """convert_to() is not immutable: with a column as its argument, Citus refuses the UPDATE of a function."""
    # answer_calls is for VoltAgent's tables, which are not distributed.
    texts = [body(text) for name, text in functions().items() if name != "answer_calls"]
    found = [each for text in texts for part in text.split(";") for each in updates(part)]

    assert len(found) > 10
    assert wrong(r"convert_to\(\s*(\w+\.|coalesce)", iter(found)) == []


def test_an_update_calls_no_function_that_reads_tables() -> None:
    """A worker runs the UPDATE, and a function cannot query distributed tables from there; nor in its RETURNING."""
    readers = [name for name, text in functions().items() if re.search(rf"(FROM|INTO|UPDATE) {ONE_TABLE}", body(text))]
    called = "|".join(rf"chat_{name}\(" for name in readers)
    found = [each for text in everything() for each in (*updates(text), *returned(text))]

    assert {"message_before", "fill_in_files", "hand_over"} <= {*readers}
    assert wrong(called, iter(found)) == []


def test_a_void_function_is_not_in_from() -> None:
    """A function in FROM returns a value: Citus makes a column of it."""
    void = [name for name, text in functions().items() if re.search(r"\)\s*RETURNS void\b", text)]
    in_from = "|".join(rf"\b(FROM|JOIN|LATERAL)\s+\S*chat_{name}\(" for name in void)

    assert "hand_over" in void
    assert wrong(in_from, everything()) == []


def test_an_expression_in_a_function_reads_no_table() -> None:
    """
    PERFORM 1 FROM …, then FOUND; SELECT … INTO … FROM …: never EXISTS or a subquery in an expression.

    An expression is a SELECT without FROM, and with a generic plan Citus cannot plan it.
    """
    rule = (
        rf"(:=|\bIF\b|\bELSIF\b|\bWHEN\b(?!\s+lock)|\bRETURN\b(?! QUERY))[^;]*\bSELECT\b[^;]*\bFROM {ONE_TABLE}\b(?!\()"
    )
    expressions = [re.split(r"\b(?:THEN|LOOP|BEGIN)\b", text) for text in in_functions()]
    heads = [part for parts in expressions for part in parts if re.match(r"\s*(\w+\s*:=|(IF|ELSIF|RETURN)\b)", part)]

    assert len(heads) > 50
    assert wrong(rule, iter(heads)) == []


def test_a_select_with_a_subquery_on_a_table_has_from_in_a_function() -> None:
    """SELECT (SELECT … FROM messages) INTO …, without a FROM of its own, cannot be planned for unknown arguments."""
    found = []
    for text in in_functions():
        for select in re.finditer(r"(?:^|\bTHEN|\bLOOP|\bELSE|\bBEGIN)\s*SELECT\b", text):
            outer = re.sub(r"\([^()]*\)", "", text[select.start() :])
            while outer != (outer := re.sub(r"\([^()]*\)", "", outer)):
                pass
            if " FROM " not in outer.replace("\n", " ") and re.search(ONE_TABLE, text[select.start() :]):
                found.append(text)

    assert found == []


def test_a_recursion_in_a_function_is_planned_with_its_arguments() -> None:
    """A recursion needs the id of the conversation when it is planned: EXECUTE, or no generic plan."""
    generic = [
        name
        for name, text in functions().items()
        if "force_generic_plan" in text
        and "RECURSIVE" in re.sub(r"EXECUTE \$\w+\$.*?\$\w+\$", "", text, flags=re.DOTALL)
    ]

    assert generic == []


def test_an_update_with_a_subquery_is_planned_with_its_arguments() -> None:
    """An UPDATE that joins a subquery has no generic plan, not even that of a function that calls its function."""
    generic = {name for name, text in functions().items() if "force_generic_plan" in text}
    called = {name for name in functions() for other in generic if f"chat_{name}(" in body(functions()[other])}
    updating = {
        name
        for name in generic | called
        if re.search(r"\b(UPDATE|DELETE)\b[^;]*\b(FROM|IN) \(\s*(SELECT|WITH)", body(functions()[name]))
    }

    assert "answer_calls" in updating
    # answer_calls is for VoltAgent's tables, which are not distributed.
    assert {name for name in updating - {"answer_calls"} if "plan_cache_mode = auto" not in functions()[name]} == set()


def test_a_generic_plan_is_of_one_table() -> None:
    """
    A statement of a function with force_generic_plan is of one table, and has no subquery in FROM.

    For others, Citus plans with the values of the arguments.
    """
    generic = {name: body(text) for name, text in functions().items() if "force_generic_plan" in text}
    planned_by_values = set()
    for name, text in generic.items():
        executed = re.sub(r"EXECUTE \$\w+\$.*?\$\w+\$", "", text, flags=re.DOTALL)
        for statement in re.split(r";|\b(?:THEN|LOOP|BEGIN|ELSE)\b", executed):
            read = re.findall(rf"\b(?:FROM|INTO|JOIN|UPDATE) ({ONE_TABLE})", statement)
            subqueries = len(re.findall(r"\bFROM\s*\(\s*SELECT\b", statement))
            if len([each for each in read if each in DISTRIBUTED]) + subqueries > 1:
                planned_by_values.add(name)

    assert "keep_file" in generic
    # Not on Citus: VoltAgent's tables, what triggers call or keep, and the fast ways of add_messages.
    not_there = {"answer_calls", "refer_to_files", "count_line", "add_message", "add_plain_messages"}
    assert planned_by_values - not_there == set()


def test_a_generic_plan_finds_a_conversation_by_a_variable() -> None:
    """In a function with force_generic_plan, the id of a conversation is a variable, not an expression."""
    generic = {name: body(text) for name, text in functions().items() if "force_generic_plan" in text}
    found = [(name, each) for name in generic for each in re.findall(r"\.(?:conversation_)?id = (\S+)", generic[name])]

    assert len(found) > 20
    # Not on Citus: the lock before add_plain_messages.
    assert [each for each in found if re.search(r"[\[(]", each[1])] == [("add_messages", "conversation_ids[1]")]


def test_a_row_lock_has_the_column_by_which_the_table_is_distributed() -> None:
    """FOR UPDATE and FOR SHARE: WHERE id = $1, never ($1 IS NULL OR …), of which Citus does not know one server."""
    by = {getattr(TABLES, each.table): each.column for each in citus.LAYOUT if each.column is not None}
    locks = [
        (select, by[table[1]])
        for text in everything()
        for lock in re.finditer(r"\bFOR (?:NO KEY UPDATE|UPDATE|KEY SHARE|SHARE)\b", text)
        for select in [re.split(r"\b(?:SELECT|PERFORM)\b", text[: lock.start()])[-1]]
        if (table := re.search(rf"\bFROM ({ONE_TABLE})", select)) and table[1] in by
    ]

    assert len(locks) > 10
    assert [
        select for select, column in locks if not re.search(rf"\b(?:WHERE|AND) (?:\w+\.)?{column} = (?!ANY)", select)
    ] == []


def test_conversations_and_files_are_not_joined() -> None:
    """They are distributed by different columns: a scalar subquery instead."""
    rule = r'"app"\.chat_(conversations|messages) AS \w+\s+JOIN "app"\.chat_file'
    trigger = functions()["refer_to_files"]

    assert [each for each in wrong(rule, without_checks()) if each not in body(trigger)] == []


@pytest.mark.parametrize("statement", [each for each in everything() if "RECURSIVE" in each])
def test_a_recursion_is_of_one_conversation(statement: str) -> None:
    """Each part of a recursion has the id of the conversation as an argument, not from another table."""
    assert re.search(r"conversation_id = (\$1|conversation)\b", statement)
    assert not re.search(r"conversation_id = \(SELECT", statement.partition("RECURSIVE")[2].partition("UNION")[0])


def test_a_lateral_outer_join_has_no_limited_or_computed_rows() -> None:
    """LEFT JOIN LATERAL stands directly behind tables: not behind a subquery, which may have a LIMIT, or a CTE."""
    found = []
    for text in everything():
        for join in re.finditer(r"\bLEFT JOIN LATERAL\b", text):
            before = text[: join.start()]
            source = [each for each in re.finditer(r"\bFROM\s+(\S+)", before) if "(" not in enclosed_tail(before, each)]
            if not source or not re.match(ONE_TABLE, source[-1][1]):
                found.append(text)

    assert found == []


def enclosed_tail(text: str, found: re.Match[str]) -> str:
    """Return "(" if a parenthesis that is open at the end of the text was opened after the match, or closed before."""
    depth = lowest = 0
    for sign in text[found.end() :]:
        depth += (sign == "(") - (sign == ")")
        lowest = min(lowest, depth)
    return "(" if depth > 0 or lowest < 0 else ""


def test_an_outer_join_of_rows_with_a_table_has_a_condition_on_the_table() -> None:
    """Behind a CTE, LEFT JOIN (SELECT … FROM messages) without WHERE sends the whole table to the coordinator."""
    joined = [
        enclosed(text, join.end())
        for text in everything()
        for join in re.finditer(r"\b(?:LEFT|RIGHT|FULL) JOIN \((?=\s*[(]?\s*SELECT)", text)
    ]
    tables = [part for each in joined for part in each.split("UNION ALL") if re.search(rf"FROM {ONE_TABLE}", part)]

    assert [each for each in tables if "WHERE" not in each] == []


def test_a_lateral_subquery_has_no_offset() -> None:
    """Behind a CTE, Citus refuses OFFSET 0 in a lateral subquery; ORDER BY keeps PostgreSQL from joining it, too."""
    laterals = [
        enclosed(text, lateral.end())
        for text in without_checks()
        for lateral in re.finditer(r"\bLATERAL \(", text)
        if "RECURSIVE" not in text
    ]

    assert len(laterals) > 3
    assert wrong(r"\bOFFSET\b", iter(laterals)) == []


def test_locks_are_of_transactions() -> None:
    """No statement has session state: a session lock, or SET without LOCAL."""
    assert wrong(r"pg_(try_)?advisory_lock|^\s*SET (?!LOCAL)|\bSET SESSION\b", everything()) == []


def test_no_error_is_told_apart_by_the_name_of_a_constraint() -> None:
    """Citus gives no names of constraints, so the package reads none."""
    readers = [
        str(file.relative_to(ROOT))
        for file in sorted((ROOT / "voltmem").rglob("*.py"))
        if re.search(r"\.(constraint_name|column_name|table_name)\b", file.read_text("utf-8"))
    ]

    assert readers == []


async def test_every_unique_key_has_the_column_by_which_the_table_is_distributed(
    connection: Connection, migrated: str
) -> None:
    """A unique key without it could be checked on no single server."""
    keys = await connection.fetch(
        """
        SELECT c.relname, array_agg(a.attname::text) AS columns
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
            JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
        WHERE i.indisunique AND c.relnamespace = $1::text::regnamespace GROUP BY c.relname, i.indexrelid""",
        migrated,
    )
    tables = Tables(migrated, "voltagent_memory")
    by = {bare(getattr(tables, each.table)): each.column for each in citus.LAYOUT if each.column is not None}

    without_key = {bare(tables.changed_lines)}
    assert {key["relname"] for key in keys} >= {*by} - without_key
    assert [key for key in keys if key["relname"] in by and by[key["relname"]] not in key["columns"]] == []


async def test_every_table_has_a_place(connection: Connection, migrated: str) -> None:
    """Every table is either distributed, or named as one that stays on the coordinator."""
    placed = {bare(getattr(TABLES, name)) for name in (*(each.table for each in citus.LAYOUT), *citus.LOCAL)}

    assert placed == {bare(name) for name in TABLES.all_tables()}


async def test_every_table_can_be_replicated(connection: Connection, migrated: str) -> None:
    """Each table has a primary key or a replica identity: Citus moves shards by logical replication."""
    without = await connection.fetch(
        """
        SELECT relname FROM pg_class AS c
        WHERE relnamespace = $1::text::regnamespace AND relkind = 'r' AND (
            relreplident = 'n'
            OR relreplident = 'd' AND NOT EXISTS (SELECT 1 FROM pg_index WHERE indrelid = c.oid AND indisprimary)
        )""",
        migrated,
    )

    assert without == []
