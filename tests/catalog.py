"""The catalog of a schema without the names of schema and prefix, for comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from voltmem._tables import Tables

if TYPE_CHECKING:
    from tests.conftest import Connection

_IN_SCHEMA: Final = "relnamespace = to_regnamespace($1) AND starts_with(relname::text, $2)"

# NOT NULL is a property of the column; since PostgreSQL 18 it is also a constraint, with a generated name.
_CATALOG: Final = f"""
    SELECT format('relation %s: kind %s, persistence %s, row security %s, replica identity %s, options %s',
            relname, relkind, relpersistence, relrowsecurity, relreplident, reloptions) AS text
        FROM pg_class WHERE {_IN_SCHEMA} AND relkind <> 'i'
    UNION ALL
    SELECT format('column %s.%s: %s, not null %s, default %s, identity %L, generated %L, collation %s',
            relname, attname, format_type(atttypid, atttypmod), attnotnull,
            (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum),
            attidentity, attgenerated, (SELECT collname FROM pg_collation WHERE oid = attcollation))
        || CASE WHEN $3 THEN ', position ' || rank() OVER (PARTITION BY attrelid ORDER BY attnum) ELSE '' END
        FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
        WHERE {_IN_SCHEMA} AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT format('constraint %s.%s: %s, valid %s', relname, conname, pg_get_constraintdef(s.oid), convalidated)
        FROM pg_constraint AS s JOIN pg_class AS c ON c.oid = conrelid WHERE {_IN_SCHEMA} AND contype <> 'n'
    UNION ALL
    SELECT format('index: %s, valid %s', pg_get_indexdef(indexrelid), indisvalid)
        FROM pg_index JOIN pg_class AS c ON c.oid = indrelid WHERE {_IN_SCHEMA}
    UNION ALL
    SELECT format('trigger: %s, enabled %s', pg_get_triggerdef(t.oid), tgenabled)
        FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = tgrelid WHERE {_IN_SCHEMA} AND NOT tgisinternal
    UNION ALL
    SELECT format('sequence %s: %s from %s by %s, cache %s, owned by %s', relname, seqtypid::regtype, seqstart,
            seqincrement, seqcache, (
                SELECT refobjid::regclass || '.' || attname
                FROM pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
                WHERE classid = 'pg_class'::regclass AND objid = seqrelid AND deptype = 'a'
            ))
        FROM pg_sequence JOIN pg_class AS c ON c.oid = seqrelid WHERE {_IN_SCHEMA}
    UNION ALL
    SELECT format('function: %s, rights %s', pg_get_functiondef(oid), proacl)
        FROM pg_proc WHERE pronamespace = to_regnamespace($1) AND starts_with(proname::text, $2)"""


async def catalog(connection: Connection, tables: Tables, *, positions: bool = True) -> list[str]:
    """
    Return a line for each relation, column, constraint, index, trigger, sequence and function of a prefix.

    Args:
        positions: Whether the order of a table's columns counts.
    """
    rows = await connection.fetch(_CATALOG, f'"{tables.schema}"', f"{tables.prefix}_", positions)
    return sorted(_without_names(row["text"], tables) for row in rows)


async def ledger(connection: Connection, tables: Tables) -> list[str]:
    """Return a line for each row of the ledger, without its time; nothing without a ledger."""
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", tables.migrations):
        return []
    rows = await connection.fetch(f"SELECT name, version, checksum FROM {tables.migrations}")
    return sorted(f"ledger: {row['name']} {row['version']} {row['checksum']}" for row in rows)


def _without_names(text: str, tables: Tables) -> str:
    for qualified in (f'"{tables.schema}".', f"{tables.schema}."):
        text = text.replace(qualified, "")
    return text.replace(tables.prefix, "")
