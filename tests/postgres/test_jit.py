"""
Just-in-time compilation takes a tenth of a second or more, and no statement of ours is long enough to gain from it.

PostgreSQL 12 to 17 cost a kind of plan that is turned off at 1e10, which is above jit_above_cost: where no other plan
is possible, each call would be compiled.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest

from tests.calls import with_parameters
from tests.pgbouncer import PROGRAM, PgBouncer
from voltmem._postgres.migrations.files import migrations

if TYPE_CHECKING:
    from tests.conftest import MakeStorage

FUNCTIONS: Final = {each.name.removeprefix("functions/"): each.text for each in migrations() if each.is_function}
TRIGGERS: Final = [name for name, text in FUNCTIONS.items() if "RETURNS trigger" in text]


async def jit(storage_dsn: str, make_storage: MakeStorage) -> str:
    """Return the setting of a connection of the storage's pool."""
    async with make_storage(storage_dsn, migrate="off").transaction() as tx:
        return str(await tx.connection.fetchval("SELECT current_setting('jit')"))


@pytest.mark.parametrize("name", [name for name, text in FUNCTIONS.items() if "\nSET enable_" in text])
def test_a_function_that_turns_off_kinds_of_plans_is_never_compiled(name: str) -> None:
    """A function with SET enable_… = off has SET jit = off."""
    assert "\nSET jit = off\n" in FUNCTIONS[name]


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_triggers_function_is_never_compiled(name: str) -> None:
    """So has one of a trigger, which inherits the settings of the function that fired it; one that sorts may sort."""
    settings = re.findall(r"^SET (\w+ = \w+)$", FUNCTIONS[name], re.MULTILINE)

    assert "jit = off" in settings
    assert "ORDER BY" not in FUNCTIONS[name] or "enable_sort = on" in settings


@pytest.mark.backend("a pooler takes no such setting")
async def test_connections_of_the_pool_compile_nothing(make_storage: MakeStorage, dsn: str) -> None:
    """The storage's own connections have jit=off."""
    assert await jit(dsn, make_storage) == "off"


@pytest.mark.backend("a pooler takes no such setting")
@pytest.mark.parametrize("parameter", [{"options": "-c jit=on"}, {"jit": "on"}], ids=str)
async def test_jit_can_be_turned_on_by_the_connection_string(
    make_storage: MakeStorage, dsn: str, parameter: dict[str, str]
) -> None:
    """What the connection string says about jit is kept."""
    assert await jit(with_parameters(dsn, **parameter), make_storage) == "on"


@pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed")
@pytest.mark.parametrize("parameter", [{}, {"pgbouncer": "false"}, {"pgbouncer": "true"}], ids=str)
async def test_a_pooler_that_refuses_the_setting_is_used_without_it(
    make_storage: MakeStorage, backend: str, parameter: dict[str, str]
) -> None:
    """PgBouncer refuses startup parameters that it does not know; the storage then connects without it."""
    with PgBouncer(backend) as pooler:
        storage = make_storage(with_parameters(pooler.dsn, **parameter))

        assert await storage.count_conversations() == 0
