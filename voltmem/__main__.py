"""
The command line: creates and upgrades the tables, moves data in and out, indexes messages, and serves a chat.

    python -m voltmem sql       print the SQL that creates or upgrades the tables; with --roles, that of the roles
    python -m voltmem migrate   run it
    python -m voltmem status    list the migrations that are applied and missing
    python -m voltmem check     look for what is wrong in the stored data
    python -m voltmem export    print all of a user's data, as lines of JSON
    python -m voltmem import    import such lines, or a file of ChatGPT or of OpenAI's API
    python -m voltmem prune     delete what is older than a time; purge empties the trash
    python -m voltmem forget    delete messages with all that was derived from them
    python -m voltmem delete    delete everything that is stored of a user
    python -m voltmem index     index messages for the search; unindex removes the index
    python -m voltmem embed     make the vectors of messages, for recall by meaning
    python -m voltmem chat      serve a chat with a function of yours that answers, or with a scripted model
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

from voltmem._postgres import roles
from voltmem._postgres.roles import RoleNames
from voltmem._postgres.schema import script
from voltmem._tables import Tables
from voltmem._values import ANY_USER, UNSET, Unset
from voltmem.errors import EmbeddingError, InvalidOptionError, VoltMemError
from voltmem.options import DEFAULT_TABLE_PREFIX, Recall
from voltmem.storage import PostgresStorage

DONE, FAILED, BEHIND = 0, 1, 3  # 2 is argparse's own exit code for invalid arguments

_HELP = """\
exit codes:
  0  success; with status: nothing is missing; with check: nothing is wrong
  1  failure; the error is on standard error; with check: something is wrong
  2  invalid arguments
  3  with status: migrations are missing

The database is --connection, else $VOLTMEM_DATABASE_URL, else $DATABASE_URL. The variables keep a password out of the
list of processes. A password is never printed."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Leave the arguments out of the message; argparse would print them, and one may be a connection string."""
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: invalid arguments; see --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m voltmem",
        description="Create, upgrade and check the tables of voltmem; export, import, prune and index what is in them.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = _Parser(add_help=False)
    names.add_argument("--schema", default="public", help="the PostgreSQL schema of the tables (default: %(default)s)")
    names.add_argument(
        "--prefix", default=DEFAULT_TABLE_PREFIX, help="the prefix of their names (default: %(default)s)"
    )
    database = _Parser(add_help=False)
    database.add_argument(
        "--connection",
        metavar="DSN",
        help="postgresql://user:password@host:5432/database (default: $VOLTMEM_DATABASE_URL, then $DATABASE_URL)",
    )
    user = _Parser(add_help=False)
    user.add_argument("--user", required=True, help="the id of the user")
    commands = parser.add_subparsers(dest="command", required=True, metavar=f"{{sql,{','.join(_COMMANDS)},chat}}")
    citus = _Parser(add_help=False)
    citus.add_argument("--citus", action="store_true", help="also distribute them, on the coordinator of Citus")
    _add_sql(commands.add_parser("sql", parents=[names, citus], help="print the SQL of the tables, or of the roles"))
    commands.add_parser("migrate", parents=[names, database, citus], help="create or upgrade the tables")
    commands.add_parser("status", parents=[names, database], help="list applied and missing migrations")
    checking = commands.add_parser("check", parents=[names, database], help="look for what is wrong in the stored data")
    _add_options_of_check(checking)
    commands.add_parser("export", parents=[names, database, user], help="print all of a user's data")
    reading = commands.add_parser("import", parents=[names, database, user], help="import a file for a user")
    reading.add_argument("file", metavar="FILE", type=Path, nargs="?", help="the file (default: standard input)")
    reading.add_argument(
        "--format",
        choices=("voltmem", "chatgpt", "openai"),
        default="voltmem",
        help="the lines of an export; ChatGPT's zip file, its folder or its conversations.json; or messages of "
        "OpenAI's API and of others, as JSON or lines of JSON (default: %(default)s)",
    )
    reading.add_argument("--search", action="store_true", help="also index the messages for the search")
    _add_deletions(commands.add_parser, [names, database], user)
    commands.add_parser("index", parents=[names, database], help="index messages for the search that are not yet")
    commands.add_parser("unindex", parents=[names, database], help="remove all messages from that index")
    _add_embed(commands.add_parser("embed", parents=[names, database], help="make vectors for recall by meaning"))
    _add_chat(commands.add_parser("chat", parents=[names, database], help="serve a chat on this machine"))
    return parser


def _add_chat(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command chat."""
    parser.add_argument(
        "answer",
        nargs="?",
        metavar="MODULE:NAME",
        help="the function, generator or agent that answers, such as mymodule:my_agent (default: a scripted model)",
    )
    parser.add_argument(
        "--port", type=_port, default=8765, help="the port, or a free one if it is in use (default: %(default)s)"
    )
    parser.add_argument(
        "--languages",
        action="append",
        type=_language,
        default=[],
        metavar="TAG=FILE",
        help="a JSON file with the page's texts in a language, such as nl=texts/nl.json, or with other texts in one of "
        "its own; nothing after the =: the page is not in this language; may be given several times",
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open the browser")


def _add_embed(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command embed."""
    parser.add_argument(
        "--recall",
        required=True,
        metavar="MODULE:NAME",
        help="the Recall of your application, or a function that returns it, such as voltmem.embedders:local_recall",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="embed at most N messages (default: all)")


def _language(word: str) -> tuple[str, str | None]:
    """Return a tag, and the path of its texts. A ValueError is an invalid argument."""
    tag, equals, path = word.partition("=")
    if not equals:
        raise ValueError(word)
    return tag, path or None


def _port(word: str) -> int:
    number = int(word)
    if not 0 <= number < 65_536:
        raise ValueError
    return number


def _named(argument: str, name: str, example: str) -> Any:
    """Return what an argument names, such as app:recall."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidOptionError(
            f"{argument} {name!r}: {error}: pass the module and the name, as in {example}"
        ) from None


def _recall_of(name: str | None) -> Recall | None:
    """Return the Recall that the command line names."""
    if name is None:
        return None
    found = _named("--recall", name, "app:recall")
    made = found() if callable(found) else found
    if not isinstance(made, Recall):
        raise InvalidOptionError(f"--recall {name!r} is no voltmem.Recall, nor a function that returns one")
    return replace(made, every=None)


def _add_deletions(add: Callable[..., argparse.ArgumentParser], parents: Sequence[_Parser], user: _Parser) -> None:
    """Add the commands that delete, with the add_parser() of the commands."""
    whose = _Parser(add_help=False)
    whose.add_argument("--user", help="only this user's (default: all users')")
    age = "such as 365d, 12h or 30m"
    pruning = add("prune", parents=[*parents, whose], help="delete what is older than a time")
    pruning.add_argument("--older-than", required=True, type=_age, metavar="AGE", help=age)
    pruning.add_argument("--resource", help="only the conversations of this agent or project")
    pruning.add_argument("--keep-last", type=int, default=0, metavar="N", help="keep N messages of each conversation")
    pruning.add_argument("--archived", action="store_true", help="only messages that the storage limit archived")
    pruning.add_argument("--runs", action="store_true", help="also recorded runs")
    pruning.add_argument("--dry-run", action="store_true", help="delete nothing, and print what would be deleted")
    purging = add("purge", parents=[*parents, whose], help="delete what is in the trash")
    purging.add_argument("--older-than", type=_age, metavar="AGE", help=f"in it for at least this long, {age}")
    add("delete", parents=[*parents, user], help="delete everything that is stored of a user")
    forgetting = add("forget", parents=[*parents, user], help="delete messages with all that was derived from them")
    forgetting.add_argument("--conversation", metavar="ID", help="only in this conversation and in its forks")
    forgetting.add_argument("messages", nargs="+", metavar="ID", help="the ids of the messages")


_UNITS: Final[Mapping[str, timedelta]] = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
}


def _age(word: str) -> timedelta:
    """Return the age of the command line. A ValueError is an invalid argument."""
    if word[-1:] not in _UNITS:
        raise ValueError(word)
    try:
        return int(word[:-1]) * _UNITS[word[-1]]
    except OverflowError as error:
        raise ValueError(word) from error


def _add_options_of_check(checking: argparse.ArgumentParser) -> None:
    checking.add_argument(
        "--storage-limit",
        type=_limit,
        default=UNSET,
        metavar="N",
        help="the storage_limit of your applications: no conversation has more messages; none: there is no limit, so "
        "the parent of each message is there (default: neither is checked)",
    )
    checking.add_argument("--read-files", action="store_true", help="compare the bytes of all files with their ids")


def _limit(word: str) -> int | None:
    """Return the storage_limit of the command line. A ValueError is an invalid argument."""
    return None if word == "none" else int(word)


def _add_sql(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command sql."""
    parser.add_argument(
        "--roles", action="store_true", help="print the SQL that creates the roles, and what each may do"
    )
    for option, what in _ROLES.items():
        default = getattr(RoleNames, option)
        parser.add_argument(
            f"--{option.replace('_', '-')}", metavar="ROLE", help=f"with --roles: {what} (default: {default})"
        )


def _sql(arguments: argparse.Namespace) -> str:
    tables = Tables(arguments.schema, arguments.prefix)
    given = {name: getattr(arguments, name) for name in _ROLES if getattr(arguments, name) is not None}
    if arguments.roles:
        return roles.script(tables, RoleNames(**given), distributed=arguments.citus)
    if given:
        raise InvalidOptionError(f"{', '.join(given)}: names of roles need --roles")
    return script(tables, distributed=arguments.citus)


_ROLES: Final[Mapping[str, str]] = {
    "owner": "the role that owns the tables and runs migrations",
    "application": "the role that calls the verbs",
    "read_only": "the role that reads, for reports",
    "session": "the role of session(), which sees one user's rows; grant it to nobody",
}


async def _migrate(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    done = await storage.upgrade_schema(citus=arguments.citus)
    for name in done:
        print(f"applied  {name}")
    print(f"{len(done)} applied; the schema is current" if done else "nothing to do; the schema is current")
    return DONE


async def _status(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    found = await storage.schema_status()
    for each in found:
        when = "" if each.applied_at is None else f"  {each.applied_at:%Y-%m-%d %H:%M:%S %Z}"
        print(f"{'missing' if each.applied_at is None else 'applied'}  {each.name}{when}")
    if found.citus != "absent":
        print(f"Citus is installed; the tables are {found.citus}")
    missing = sum(each.applied_at is None for each in found)
    print(
        f"{missing} missing: run 'python -m voltmem migrate' with the same options"
        if missing
        else "the schema is current"
    )
    return BEHIND if missing else DONE


async def _check(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    found = await storage.check(read_files=arguments.read_files)
    for each in found:
        print(f"{each.name}: {each.meaning}; {each.count} found")
        for example in each.examples:
            print(f"    {', '.join(f'{column} {value!r}' for column, value in example.items())}")
        if each.count > len(each.examples):
            print(f"    and {each.count - len(each.examples)} more")
    print(f"{sum(each.count for each in found)} rows are wrong" if found else "nothing is wrong")
    return FAILED if found else DONE


async def _export(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    async for line in storage.export_user(arguments.user):
        sys.stdout.buffer.write(line.encode())
    return DONE


async def _import(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    path: Path | None = arguments.file
    if arguments.format == "voltmem":
        with nullcontext(sys.stdin.buffer) if path is None else _open(path) as lines:
            result = await storage.import_user(arguments.user, lines)
    else:
        from voltmem.importers import from_chatgpt, from_openai  # here: few commands need it

        read = from_chatgpt if arguments.format == "chatgpt" else from_openai
        result = await storage.import_conversations(arguments.user, read(sys.stdin.buffer if path is None else path))
    for skipped in result.skipped:
        print(f"skipped   {skipped.kind} {skipped.id}: {skipped.reason}")
    for renamed in result.renamed:
        print(f"renamed   {renamed.kind} {renamed.id}: its id is taken; its new id is {renamed.new_id}")
    for name, count in sorted(result.left_out.items()):
        print(f"left out  {count} {name}")
    if result.updated:
        print(f"updated   {result.updated} conversations")
    said = f"{result.conversations} conversations with {result.messages} messages"
    print(f"imported {said}, {result.files} files, and {result.runs} runs")
    return DONE


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


async def _prune(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    done = await storage.prune(
        ANY_USER if arguments.user is None else arguments.user,
        older_than=arguments.older_than,
        keep_last=arguments.keep_last,
        archived=arguments.archived,
        resource_id=arguments.resource,
        runs=arguments.runs,
        dry_run=arguments.dry_run,
    )
    said = f"{done.messages} messages, {done.conversations} conversations, {done.runs} runs"
    print(f"{'would delete' if arguments.dry_run else 'deleted'} {said}")
    return DONE


async def _purge(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    user = ANY_USER if arguments.user is None else arguments.user
    count = await storage.purge_deleted_conversations(user, older_than=arguments.older_than)
    print(f"deleted {count} conversations from the trash")
    return DONE


async def _delete(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    print(
        f"deleted {await storage.delete_user(arguments.user)} conversations and runs, and everything else of the user"
    )
    return DONE


async def _forget(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    done = await storage.forget(arguments.user, arguments.messages, arguments.conversation)
    print(f"deleted {done.messages} messages in {done.conversations} conversations")
    for each in done.memory:
        whose = "the user" if each.conversation_id is None else f"conversation {each.conversation_id}"
        newest = ", the newest," if each.is_newest else ""
        print(f"version {each.version}{newest} of the working memory of {whose} was written from them")
    return DONE


async def _index(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    print(f"{await storage.index_messages()} messages indexed; open the storage with search=True")
    return DONE


async def _unindex(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    print(f"{await storage.forget_words()} messages removed from the index; open the storage without search=True")
    return DONE


async def _embed(storage: PostgresStorage, arguments: argparse.Namespace) -> int:
    await storage.upgrade_schema()
    try:
        count = await storage.embed_messages(arguments.limit)
    except VoltMemError:
        raise
    except Exception as error:  # the function of --recall may raise any
        raise EmbeddingError(f"embed() of --recall failed: {error!r}") from error
    print(f"{count} messages embedded")
    return DONE


async def _chat(arguments: argparse.Namespace) -> int:
    """Serve the chat, without a database on the embedded one."""
    from voltmem.chat._scripted import NAME, SUGGESTIONS, ScriptedModel  # here: they need the extra
    from voltmem.chat._server import serve  # here: as above

    answer = ScriptedModel().answer if arguments.answer is None else _named("answer", arguments.answer, "app:my_agent")
    models, suggestions = ([NAME], SUGGESTIONS) if arguments.answer is None else ([], ())
    async with PostgresStorage(
        arguments.connection or None,
        schema=arguments.schema,
        table_prefix=arguments.prefix,
        search=True,
        storage_limit=None,
    ) as storage:
        await serve(
            storage,
            answer,
            arguments.port,
            models=models,
            suggestions=suggestions,
            languages=dict(arguments.languages),
            opens_browser=not arguments.no_browser,
        )
    return DONE


_COMMANDS: Final[Mapping[str, Callable[[PostgresStorage, argparse.Namespace], Awaitable[int]]]] = {
    "migrate": _migrate,
    "status": _status,
    "check": _check,
    "export": _export,
    "import": _import,
    "prune": _prune,
    "purge": _purge,
    "delete": _delete,
    "forget": _forget,
    "index": _index,
    "unindex": _unindex,
    "embed": _embed,
}


def _limit_of(arguments: argparse.Namespace) -> int | Unset | None:
    limit: int | Unset | None = getattr(arguments, "storage_limit", UNSET)
    return limit


async def _run(arguments: argparse.Namespace) -> int:
    if isinstance(sys.stdout, TextIOWrapper):  # ids and titles may have characters that the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    connection = arguments.connection or os.environ.get("VOLTMEM_DATABASE_URL") or os.environ.get("DATABASE_URL")
    if not connection:
        raise InvalidOptionError("no database: pass --connection, or set VOLTMEM_DATABASE_URL or DATABASE_URL")
    storage = PostgresStorage(
        connection,
        retry_timeout=1,  # somebody sits in front of it, or a job that is started again
        schema=arguments.schema,
        table_prefix=arguments.prefix,
        migrate="off",
        storage_limit=_limit_of(arguments),
        search=arguments.command == "index" or getattr(arguments, "search", False),
        recall=_recall_of(getattr(arguments, "recall", None)),
    )
    try:
        return await _COMMANDS[arguments.command](storage, arguments)
    finally:
        await storage.close()


def main(words: Sequence[str] | None = None) -> int:
    """Run a command. Returns its exit code."""
    arguments = _parser().parse_args(words)
    try:
        if arguments.command == "sql":
            print(_sql(arguments), end="")
            code = DONE
        elif arguments.command == "chat":
            code = asyncio.run(_chat(arguments))
        else:
            code = asyncio.run(_run(arguments))
        print(end="", flush=True)  # so that an error in writing is handled here, and not when Python exits
        return code
    except KeyboardInterrupt:
        if arguments.command == "chat":  # there is no other way to end it
            return DONE
        raise
    except VoltMemError as error:
        print(f"voltmem: {error}", file=sys.stderr)
    except OSError as error:
        if error.filename is not None:
            print(f"voltmem: {error.filename}: {error.strerror}", file=sys.stderr)
            return FAILED
        # The reader of the pipe has gone; the disk is full.
        print(f"voltmem: {error.strerror or error}: not everything was read or written", file=sys.stderr)
        # To /dev/null: otherwise Python tries to write the rest once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
