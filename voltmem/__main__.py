"""
The tables from the command line: what they are made of, making them, where a database stands, and what is in it.

    python -m voltmem sql       the exact SQL, for a role that may create tables
    python -m voltmem migrate   run it
    python -m voltmem status    what was applied, and what is missing
    python -m voltmem export    all of a user's data, as lines of JSON
    python -m voltmem import    such lines again, or ChatGPT's or OpenAI's files
    python -m voltmem index     the words of messages, for the search; unindex forgets them
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from io import TextIOWrapper
from typing import Final, NoReturn

from voltmem._postgres.schema import script
from voltmem._tables import Tables
from voltmem.errors import InvalidOptionError, VoltMemError
from voltmem.options import DEFAULT_TABLE_PREFIX
from voltmem.storage import PostgresStorage

DONE, FAILED, BEHIND = 0, 1, 3  # 2 is argparse's own, for arguments that it does not understand

_HELP = """\
exit codes:
  0  done; with status: nothing is missing
  1  failed; the error stands on standard error
  2  arguments that are none
  3  with status: migrations are missing

The database is --connection, or $VOLTMEM_DATABASE_URL, or $DATABASE_URL, which keep a password out of the list of
processes. A password is never shown."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Repeat nothing that was typed, as the message does: it may be a connection string in the wrong place."""
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: these arguments are not understood; --help explains them\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m voltmem",
        description="The tables of voltmem: making them, where a database stands, and what is in it.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = _Parser(add_help=False)
    names.add_argument("--schema", default="public", help="the PostgreSQL schema of the tables (default: %(default)s)")
    names.add_argument(
        "--prefix", default=DEFAULT_TABLE_PREFIX, help="the first part of their names (default: %(default)s)"
    )
    database = _Parser(add_help=False)
    database.add_argument(
        "--connection",
        metavar="DSN",
        help="postgresql://user:password@host:5432/database (default: $VOLTMEM_DATABASE_URL, then $DATABASE_URL)",
    )
    user = _Parser(add_help=False)
    user.add_argument("--user", required=True, help="whose conversations")
    commands = parser.add_subparsers(dest="command", required=True, metavar=f"{{sql,{','.join(_COMMANDS)}}}")
    commands.add_parser("sql", parents=[names], help="print the exact SQL that makes or upgrades the tables")
    commands.add_parser("migrate", parents=[names, database], help="make or upgrade the tables")
    commands.add_parser("status", parents=[names, database], help="list what was applied and what is missing")
    commands.add_parser("export", parents=[names, database, user], help="print all that is stored of a user")
    reading = commands.add_parser("import", parents=[names, database, user], help="store what standard input tells")
    reading.add_argument(
        "--format",
        choices=("voltmem", "chatgpt", "openai"),
        default="voltmem",
        help="lines of an export, ChatGPT's conversations.json, or messages in OpenAI's form (default: %(default)s)",
    )
    reading.add_argument("--search", action="store_true", help="index the words, too")
    commands.add_parser("index", parents=[names, database], help="index messages that are not yet, for the search")
    commands.add_parser("unindex", parents=[names, database], help="take all messages out of that index")
    return parser


async def _migrate(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    done = await storage.upgrade_schema()
    for name in done:
        print(f"applied  {name}")
    print(f"{len(done)} applied; the schema is current" if done else "nothing to do; the schema is current")
    return DONE


async def _status(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    found = await storage.schema_status()
    for each in found:
        when = "" if each.applied_at is None else f"  {each.applied_at:%Y-%m-%d %H:%M:%S %Z}"
        print(f"{'missing' if each.applied_at is None else 'applied'}  {each.name}{when}")
    missing = sum(each.applied_at is None for each in found)
    print(
        f"{missing} missing: run 'python -m voltmem migrate' with the same options"
        if missing
        else "the schema is current"
    )
    return BEHIND if missing else DONE


async def _export(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    async for line in storage.export_user(arguments.user):
        sys.stdout.buffer.write(line.encode())
    return DONE


async def _import(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    source = sys.stdin.buffer
    if arguments.format == "voltmem":
        result = await storage.import_user(arguments.user, source)
    else:
        from voltmem.importers import from_chatgpt, from_openai

        conversations = from_chatgpt(source.read()) if arguments.format == "chatgpt" else from_openai(source.read())
        result = await storage.import_conversations(arguments.user, conversations)
    for left_out in result.skipped:
        print(f"left out  {left_out.kind} {left_out.id}: {left_out.reason}")
    for renamed in result.renamed:
        print(f"renamed   {renamed.kind} {renamed.id}: its id is not free, it is {renamed.new_id} now")
    print(f"imported {result.conversations} conversations with {result.messages} messages, and {result.runs} runs")
    return DONE


async def _index(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    print(f"{await storage.index_messages()} messages indexed; open the storage with search=True")
    return DONE


async def _unindex(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    print(f"{await storage.forget_words()} messages taken out of the index; open the storage without search=True")
    return DONE


_COMMANDS: Final[Mapping[str, Callable[[PostgresStorage, argparse.Namespace], Awaitable[int]]]] = {
    "migrate": _migrate,
    "status": _status,
    "export": _export,
    "import": _import,
    "index": _index,
    "unindex": _unindex,
}


async def _run(arguments: argparse.Namespace) -> int:
    if isinstance(sys.stdout, TextIOWrapper):  # ids and titles have letters that not every terminal has
        sys.stdout.reconfigure(errors="backslashreplace")
    connection = arguments.connection or os.environ.get("VOLTMEM_DATABASE_URL") or os.environ.get("DATABASE_URL")
    if not connection:
        raise InvalidOptionError("no database: give --connection, or set VOLTMEM_DATABASE_URL or DATABASE_URL")
    storage = PostgresStorage(
        connection,
        schema=arguments.schema,
        table_prefix=arguments.prefix,
        migrate="off",
        search=arguments.command == "index" or getattr(arguments, "search", False),
    )
    try:
        return await _COMMANDS[arguments.command](storage, arguments)
    finally:
        await storage.close()


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = _parser().parse_args(words)
    try:
        if arguments.command == "sql":
            print(script(Tables(arguments.schema, arguments.prefix)), end="")
            code = DONE
        else:
            code = asyncio.run(_run(arguments))
        print(end="", flush=True)  # what cannot be written is told here, and not when Python ends
        return code
    except VoltMemError as error:
        print(f"voltmem: {error}", file=sys.stderr)
    except OSError as error:  # who was reading has gone; the disk is full
        print(f"voltmem: {error.strerror or error}: not everything was read or written", file=sys.stderr)
        # For nobody: Python would try once more to write it when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
