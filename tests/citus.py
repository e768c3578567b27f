"""
The suite on a cluster of Citus, with the tables distributed: VOLTMEM_TEST_CITUS_DSN is the DSN of the coordinator, with
sslmode=disable: a connection given up while asyncpg asks for TLS leaves an error, which test_cancellation.py finds.

Every schema that a test creates is distributed when it is created. Databases that a test creates have no Citus.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest

import voltmem.storage
from voltmem._postgres.migrations import citus
from voltmem._postgres.schema import upgrade
from voltmem._tables import Tables

if TYPE_CHECKING:
    from tests.conftest import Connection

DSN: Final = os.environ.get("VOLTMEM_TEST_CITUS_DSN")

needs_citus: Final = pytest.mark.skipif(DSN is None, reason="VOLTMEM_TEST_CITUS_DSN is not set: there is no Citus here")


def use() -> None:
    """Let the tests use the coordinator, and distribute the tables that a storage creates."""
    if DSN is None:
        return
    os.environ["VOLTMEM_TEST_DSN"] = DSN

    async def upgrade_and_distribute(
        connection: Connection, tables: Tables, *, looks_for_pooler: bool = False
    ) -> list[str]:
        done = await upgrade(connection, tables, looks_for_pooler=looks_for_pooler)
        if done and await citus.found(connection, tables) == "local":
            await citus.distribute(connection, tables)
        return done

    setattr(voltmem.storage, "upgrade", upgrade_and_distribute)  # noqa: B010 - the module does not export it


def script(tables: Tables) -> str:
    """Return the statements that distribute new tables; nothing without Citus."""
    return "" if DSN is None else citus.script(tables)


def at(server: str, database: str) -> str:
    """Return the coordinator's connection string, with another server and database."""
    return re.sub(r"(//(?:[^@/]*@)?)[^/?]*/[^?]*", rf"\g<1>{server}/{database}", DSN or "")


async def on(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


FILES_STAY: Final = "no trigger keeps the references to files: files stay"
CHECK: Final = "check() works on one server only (tests/postgres/test_citus.py)"
QUOTAS: Final = "quotas work on one server only (tests/postgres/test_citus.py)"
SESSIONS: Final = "session() needs policies that read other tables, which Citus refuses (tests/postgres/test_citus.py)"
ONE_QUERY: Final = "the test sends the script as one query, which Citus refuses"
PLANS: Final = "the plans of the coordinator show no index of the shards"
SLOW: Final = "a call with 1,000 messages, or with one of 10 MB, takes longer than command_timeout there"
TRIGGER: Final = "the test creates a trigger"
LOCK_TIMEOUT: Final = "lock_timeout does not reach the workers, so a batch waits for who creates a conversation"

VOLTAGENT: Final = "VoltAgent is not used on distributed tables"

EXCEPTED: Final = {
    "tests/across/test_matrix.py::test_every_reader_is_shown_what_every_writer_stores[VoltAgent": VOLTAGENT,
    "tests/areas/changes/": "no trigger notifies watchers: they poll (tests/postgres/test_citus.py)",
    "tests/areas/test_files_in_messages.py": FILES_STAY,
    "tests/agents/test_memory.py::test_a_conversation_that_cannot_have_its_message_is_not_made": TRIGGER,
    "tests/agents/test_memory.py::test_creating_a_conversation_delays_no_other": LOCK_TIMEOUT,
    "tests/agents/test_memory.py::test_waiting_for_a_conversation_that_is_made_leaves_the_lock_timeout": LOCK_TIMEOUT,
    "tests/areas/appends/test_lengths.py::test_messages_that_another_program_changes": "the test "
    "moves a message to another conversation, which Citus refuses",
    "tests/areas/appends/test_together.py::test_calls_that_come_together_have_the_outcome_of_one_at_a_time": "the test "
    "locks all conversations in one statement, which Citus refuses",
    "tests/areas/transfer/test_exports.py::test_export_user_reads_some_rows_at_a_time": SLOW,
    "tests/areas/transfer/test_exports.py::test_export_user_reads_one_moment": "each server has a snapshot of its own",
    "tests/areas/transfer/test_imports.py::test_nothing_half_written_remains": TRIGGER,
    "tests/areas/test_pruning.py::test_prune_reads_only_what_is_old": PLANS,
    "tests/areas/test_recall_of_forks.py::test_recall_reads_nothing_for_copies_where_there_are_no_forks": PLANS,
    "tests/areas/test_recall_by_meaning.py::test_recall_goes_by_words_without_the_table": "vectors work on one server "
    "only, whatever extension there is",
    "tests/chat/test_answers.py::test_an_answer_that_is_beyond_the_quota_has_failed": QUOTAS,
    "tests/areas/test_branches.py::test_choosing_and_listing_cost_what_the_branches_are_long": "as test_statements.py",
    "tests/areas/test_branches.py::test_branches_from_before_the_upgrade_keep_the_newest": "as test_migrations.py",
    "tests/areas/test_files.py::test_purge_unused_files_deletes_what_no_message_refers_to": FILES_STAY,
    "tests/areas/test_files.py::test_purge_unused_files_sends_as_many_statements": "a statement of its own deletes the "
    "files of each user, on the worker that has them",
    "tests/areas/test_files.py::test_put_file_sweeps_the_users_own_old_files": FILES_STAY,
    "tests/areas/test_files.py::test_purge_unused_files_leaves_a_file_that_is_locked": FILES_STAY,
    "tests/areas/test_files_exported.py::test_import_user_has_the_files_of_export_user": FILES_STAY,
    "tests/areas/test_files_extracted.py::test_add_message_stores_base64_of_a_payload_as_a_file": FILES_STAY,
    "tests/areas/test_files_extracted.py::test_add_message_of_a_growing_answer_stores_its_file_once": FILES_STAY,
    "tests/areas/test_files_extracted.py::test_export_user_has_extracted_bytes_once": FILES_STAY,
    "tests/adapters/agno/agno_3/test_faults.py::test_a_run_costs_the_same_after_a_thousand": SLOW,
    "tests/adapters/agno/agno_3/test_faults.py::test_a_read_takes_only_the_window": SLOW,
    "tests/adapters/agno/agno_3/test_sessions.py::test_no_text_is_lost[10 MB]": SLOW,
    "tests/agents/test_memory_windows.py::test_a_window_reads_no_more_than_it_has": PLANS,
    "tests/agents/test_memory_windows.py::test_the_whole_conversation_is_read_by_its_index": PLANS,
    "tests/areas/checks/": CHECK,
    "tests/areas/test_order_and_pages.py::test_get_messages_names_a_time_that_cannot_be_read": CHECK,
    "tests/areas/test_quota_counts.py": QUOTAS,
    "tests/areas/test_quotas.py": QUOTAS,
    "tests/areas/test_sessions.py": SESSIONS,
    "tests/command_line/test_check_command.py": CHECK,
    "tests/command_line/test_roles.py::test_the_application_role_has_no_privilege": "appends there "
    "read no changed lines and call no function for plain messages",
    "tests/command_line/test_roles.py::test_the_application_role_runs_no_ddl[DROP POLICY": SESSIONS,
    "tests/command_line/test_roles.py::test_the_owner_role_runs_migrations": "Citus connects to the workers as the "
    "owner role, which cannot log in",
    "tests/command_line/test_roles.py::test_sql_roles_prints_what_can_be_run_again": ONE_QUERY,
    "tests/command_line/test_roles.py::test_sql_roles_moves_all_tables_to_the_owner": ONE_QUERY,
    "tests/command_line/test_roles.py::test_sql_roles_needs_each_of_its_statements": ONE_QUERY,
    "tests/command_line/test_schema_commands.py::test_the_script_goes_on": "as test_migrations.py",
    "tests/postgres/test_plans.py": PLANS,
    "tests/postgres/test_schema_sql.py::test_schema_sql_makes": "schema.sql distributes nothing",
    "tests/postgres/test_statements.py": PLANS,
    "tests/postgres/test_lost_workers.py": TRIGGER,
    "tests/postgres/test_migrations.py": "the tests begin with older tables, and those are upgraded on one server",
    "tests/postgres/test_migration_faults.py": "as test_migrations.py",
    "tests/postgres/test_upgrades.py": "as test_migrations.py",
    "tests/postgres/test_unreleased.py": "as test_migrations.py",
    "tests/postgres/voltagent/": VOLTAGENT,
    "tests/test_errors.py::test_every_error_is_raised_by_something[QuotaExceededError]": QUOTAS,
    "tests/test_errors.py::test_a_fault_of_the_server_is_an_error_of_ours[disk full]": TRIGGER,
    "tests/test_cancellation.py::test_migrations_that_are_cancelled": "as test_migrations.py",
    "tests/soak/test_soak.py::test_nothing_is_lost_under_faults": CHECK,
    "tests/test_concurrency.py::test_a_write_that_was_undone_is_tried_again": TRIGGER,
    "tests/test_concurrency.py::test_the_victim_of_a_deadlock": "the test locks a message by its id alone, "
    "which Citus refuses",
    "tests/test_round_trip.py::test_ten_thousand_messages_at_once_come_back_in_their_order": SLOW,
    "tests/web/test_openapi.py::test_schemathesis_finds_nothing_about_a_user_with_data": SLOW,
    "tests/web/test_files.py::test_a_file_is_deleted_unless_a_message_shows_it": FILES_STAY,
    "tests/web/test_files.py::test_an_address_with_escaped_slashes_is_one": FILES_STAY,
}
"""Tests, by the beginning of their ids, that cannot be on Citus, with the reason."""


def skip_excepted(items: list[pytest.Item]) -> None:
    """Skip the tests that cannot be on Citus."""
    if DSN is not None:
        for item in items:
            for beginning, reason in EXCEPTED.items():
                if item.nodeid.startswith(beginning):
                    item.add_marker(pytest.mark.skip(reason=f"on Citus, {reason}"))
