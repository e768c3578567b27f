"""Importing a user's data: the lines of an export, or conversations from another program."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from itertools import accumulate, chain, islice, repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Final, cast

from voltmem._areas.area import Access, Area, off_loop_if_long
from voltmem._areas.files import FileStatements, Upload
from voltmem._areas.transfer.columns import (
    MESSAGE,
    RUN_KINDS,
    RunKind,
    batches,
    conversation_columns,
    memory_columns,
    message_columns,
    payload_columns,
    run_columns,
    summary_columns,
    transposed,
    with_times,
)
from voltmem._areas.transfer.growth import FORMAT, GrowthStatements, growth, progress_of
from voltmem._areas.transfer.import_statements import ImportStatements
from voltmem._areas.transfer.models import (
    ImportedConversation,
    ImportedConversations,
    ImportedMemory,
    ImportResult,
    Lines,
    Skipped,
    all_of,
    check_ids,
)
from voltmem._areas.transfer.result import Result
from voltmem._areas.voltagent_tables import show_conversation, show_user_memory
from voltmem._values import check_count, check_user, derived_id, short_repr
from voltmem.errors import InvalidInputError

if TYPE_CHECKING:
    from voltmem._areas.transfer.lines import Read
    from voltmem._areas.transfer.pieces import ImportedFile, ImportedRun
    from voltmem._postgres.driver import Record

# Derived ids that are looked up together. Somebody who knows a user's id can take many of them.
_DERIVED: Final = 1_000


# The arguments of no messages and no files.
_NO_MESSAGES: Final = (*transposed([], len(MESSAGE)), None, None, 0)


class Imports(Area):
    """The verbs that import data."""

    async def import_user(self, user_id: str, lines: Lines, *, shortest_id: int = 0) -> ImportResult:
        """
        Import the lines of an export for a user. Returns a summary.

        Args:
            user_id: The user who will own everything. The exported user is ignored.
            lines: An open file, a list, or an asynchronous iterator of lines: strings, or bytes in UTF-8.
            shortest_id: Conversations with a shorter id get another one, as if theirs were taken: for lines of users
                who must not choose ids that the application gives to others.

        Raises:
            InvalidLineError: A line is malformed; .line is its number. The conversations and runs before it are stored.

        Files are stored first. Each conversation with everything in it is one transaction, and so is each run. Times,
        order and the place in the sidebar stay. What the user has already is skipped, so a failed import can be
        repeated. An id that is taken is replaced by another, the same in each import; .renamed lists them. A run that
        refers to another user's conversation loses that reference.

        Nothing is deleted: messages beyond storage_limit stay until the next message is added. With search=True the
        words are indexed. One conversation, or a chunk of a file, is in memory at a time, and no connection is held
        while waiting for lines.
        """
        from voltmem._areas.transfer.lines import read  # here: few programs need it
        from voltmem._areas.transfer.pieces import (  # here: as above
            ImportedFile,
            ImportedItems,
            ImportedRun,
            ImportedUserMemory,
            VoltAgentRow,
        )
        from voltmem._areas.transfer.stored_items import store_items  # here: as above

        check_user("user_id", user_id, "what is imported becomes one user's")
        _check_iterable("lines", lines)
        check_count("shortest_id", shortest_id)
        result = Result(user_id, shortest_id=shortest_id)
        read_lines = read(lines)
        async for each in read_lines:
            if isinstance(each, ImportedConversation):
                await self._import_conversation(each, result)
            elif isinstance(each, ImportedRun):
                await self._import_run(each, result)
            elif isinstance(each, ImportedUserMemory):
                await self._import_user_memory(each.versions, result)
            elif isinstance(each, ImportedItems):
                await store_items(Access(self._options, self._executor), each.items, result)
            elif isinstance(each, VoltAgentRow):
                result.skip("voltagent", each.table, "only VoltAgent writes its own tables")
            elif isinstance(each, ImportedFile):
                await self._import_file(each, read_lines, result)
        return self._done(result)

    async def import_conversations(self, user_id: str, conversations: ImportedConversations) -> ImportResult:
        """
        Import conversations from another program for a user. Returns a summary.

        ::

            conversations = from_chatgpt(Path("export.zip"))
            result = await storage.import_conversations("ada", conversations)

        Args:
            user_id: The user who owns them from now on.
            conversations: From ``voltmem.importers``, or your own.

        A conversation without messages is skipped; so is what an importer passes on as Skipped, with its reason. The
        summary counts what importers left out of the conversations that were stored. If read_at is not given the
        conversation counts as read; None means never read. The rest is as in import_user(): one transaction each,
        existing conversations are skipped, ids that are taken are replaced, and nothing is deleted.

        A newer export of ChatGPT's adds the new messages of a conversation that was imported before, with their
        branches. Messages that were deleted here stay deleted. The line follows ChatGPT's until somebody adds a message
        here or chooses another branch; then the new messages are in a branch of their own.
        """
        check_user("user_id", user_id, "what is imported becomes one user's")
        _check_iterable("conversations", conversations)
        result = Result(user_id, grows=True)
        async with aclosing(all_of(conversations)) as found:
            async for conversation in found:
                if isinstance(conversation, Skipped):
                    result.skipped.append(conversation)
                    continue
                if not isinstance(conversation, ImportedConversation):
                    raise InvalidInputError(f"an ImportedConversation is needed, not {short_repr(conversation)}")
                check_ids(conversation)
                if conversation.messages:
                    await self._import_conversation(conversation, result)
                else:
                    result.skip("conversation", result.id_of(conversation), "it has no messages")
        return self._done(result)

    def _done(self, result: Result) -> ImportResult:
        if self._meaning is not None:  # an imported conversation is as old as it was, and looks as if nothing was new
            self._meaning.has_imported = True
        return result.summary()

    async def _import_conversation(self, conversation: ImportedConversation, result: Result) -> None:
        given = id = result.id_of(conversation)
        conversation = await off_loop_if_long(_size(conversation), with_times, conversation)
        if len(id) < result.shortest_id:
            id = derived_id(result.user_id, id)
        while True:
            row = await self._store(id, conversation, result)
            if row["made"]:
                if row["beside_voltagent"]:
                    await show_conversation(self._executor, self._options.tables, id)
                result.messages += len(conversation.messages)
                result.memory += len(conversation.memory)
                result.left_out.update(conversation.left_out)
                result.conversations += 1
                result.name("conversation", given, id)
                return
            if row["owner"] == result.user_id:
                result.names[given] = id
                if await self._grow(id, conversation, result, beside_voltagent=row["beside_voltagent"]):
                    return
                state = "it is there already, deleted" if row["is_deleted"] else "it is there already"
                result.skip("conversation", given, state)
                return
            if row["owner"] is not None:  # otherwise another session was just creating it: try again
                id = await self._own_id(id, result.user_id)

    async def _own_id(self, taken: str, user_id: str) -> str:
        """Return the first of the ids derived from a taken one that is free or the user's: the same in each import."""
        while True:
            each_after = accumulate(repeat(taken), lambda before, _: derived_id(user_id, before))
            ids = list(islice(each_after, 1, _DERIVED + 1))
            rows = await self._executor.fetch(self._sql(ImportStatements).owners, ids)
            others = {row["id"] for row in rows if row["user_id"] != user_id}
            found = next((id for id in ids if id not in others), None)
            if found is not None:
                return found
            taken = ids[-1]

    async def _grow(
        self, id: str, conversation: ImportedConversation, result: Result, *, beside_voltagent: bool
    ) -> bool:
        """Add what is new in a conversation that was imported before. Returns whether something is."""
        sql, new = self._sql(GrowthStatements), progress_of(conversation) if result.grows else None
        if new is None or await self._executor.fetchrow(sql.newer, id, FORMAT, new.updated_at) is None:
            return False
        async with self._executor.transaction() as bound:
            added = await growth(bound, sql, id, result.user_id, conversation)
            if added is None:
                return False
            grown = conversation.model_copy(update={"messages": added.messages})
            messages, size = self._messages(grown, len(conversation.messages)), _size(grown)
            while (arguments := await off_loop_if_long(size, _next, messages)) is not None:
                await bound.execute(self._sql(ImportStatements).store_more, id, *arguments)
            if added.head is not None:
                await bound.fetchrow(sql.move_head, id, added.head)
        if beside_voltagent:
            await show_conversation(self._executor, self._options.tables, id)
        result.messages += len(added.messages)
        result.updated += 1
        return True

    async def _store(self, id: str, conversation: ImportedConversation, result: Result) -> Record:
        """Store a conversation with its messages unless the id is taken. Returns: made, owner, is_deleted."""
        sql = self._sql(ImportStatements)
        messages, size = self._messages(conversation), _size(conversation)
        first = await off_loop_if_long(size, _next, messages) or _NO_MESSAGES
        second = await off_loop_if_long(size, _next, messages)
        arguments = (
            *(id, result.user_id, *conversation_columns(conversation, result.names)),
            *transposed([payload_columns(each) for each in conversation.payloads], 4),
            *first,
        )
        if second is None and not conversation.memory and not conversation.summaries:
            # Not repeatable: a second try would find the conversation of the first.
            return cast("Record", await self._executor.fetchrow(sql.store, *arguments, repeatable=False))
        async with self._executor.transaction() as bound:
            row = cast("Record", await bound.fetchrow(sql.store, *arguments))
            for more in chain(filter(None, [second]), messages) if row["made"] else ():
                await bound.execute(sql.store_more, id, *more)
            if conversation.memory and row["made"]:
                await bound.execute(sql.store_memory, id, *memory_columns(conversation.memory))
            if conversation.summaries and row["made"]:
                await bound.execute(sql.store_summaries, id, *summary_columns(conversation.summaries))
                newest = max(conversation.summaries, key=attrgetter("last_at"))
                await bound.execute(sql.name_summary, id, newest.id)
        return row

    def _messages(self, conversation: ImportedConversation, before: int = 0) -> Iterator[tuple[object, ...]]:
        """
        Yield the arguments of a conversation's messages, and of the files taken out of them, for each statement.

        before: how many are stored already.
        """
        contents: dict[str, str] = {}
        extract = self._options.files == "extract"
        columns = message_columns(conversation, contents if extract else None, search=self._options.search)
        for batch in batches(columns, contents):
            taken = (list(contents), list(contents.values())) if contents else (None, None)
            contents.clear()
            yield *transposed(batch, len(MESSAGE)), *taken, before
            before += len(batch)

    async def _import_user_memory(self, versions: list[ImportedMemory], result: Result) -> None:
        sql, columns = self._sql(ImportStatements), memory_columns(versions)
        # Not repeatable: a second try would find the memory of the first.
        row = await self._executor.fetchrow(sql.store_user_memory, result.user_id, *columns, repeatable=False)
        if row is None or not row["stored"]:
            result.skip("memory", result.user_id, "it is there already")
            return
        result.memory += row["stored"]
        await show_user_memory(self._executor, self._options.tables, result.user_id)

    async def _import_file(self, file: ImportedFile, lines: AsyncIterator[Read], result: Result) -> None:
        """Store a file. If one of its lines is malformed or missing, nothing of it is left."""
        from voltmem._areas.transfer.pieces import FilePiece  # here: as above

        sql = self._sql(FileStatements)
        async with Upload(self._executor, sql, result.user_id, created_at=file.created_at) as upload:
            while isinstance(piece := await anext(lines), FilePiece):
                await upload.write(piece.bytes)
            await upload.finish()
        result.files += 1

    async def _import_run(self, run: ImportedRun, result: Result) -> None:
        # The ids of steps and events are unique in the storage, too. This maps each to the id that it is stored under.
        ids: dict[tuple[RunKind, str], str] = {("run", run.entry.id): run.entry.id}
        ids |= {("step", step.id): step.id for step in run.steps}
        ids |= {("event", event.id): event.id for event in run.events}
        while True:
            wanted = [[new for (kind, _), new in ids.items() if kind == each] for each in RUN_KINDS]
            rows = await self._executor.fetch(self._sql(ImportStatements).taken, result.user_id, *wanted)
            if any(row["is_own"] for row in rows):
                result.skip("run", run.entry.id, "it is there already")
                return
            taken = {(row["kind"], row["id"]) for row in rows}
            for (kind, given), new in ids.items():
                if (kind, new) in taken:
                    ids[kind, given] = derived_id(result.user_id, new)
            if not taken and await self._store_run(run_columns(run, ids, result.user_id, result.names)):
                result.runs += 1
                result.name("run", run.entry.id, ids["run", run.entry.id])
                return

    async def _store_run(self, columns: tuple[object, ...]) -> bool:
        """Store a run. Returns False if another session has just stored one with its id."""
        # Not repeatable: a second try would find the run of the first.
        row = await self._executor.fetchrow(self._sql(ImportStatements).store_run, *columns, repeatable=False)
        return row is not None


def _check_iterable(name: str, values: object) -> None:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable | AsyncIterable):
        raise InvalidInputError(f"{name} must be a list or another iterable, not {short_repr(values)}")


# Messages with more than their text are counted as so many characters.
_OF_JSON: Final = 10_000


def _size(conversation: ImportedConversation) -> int:
    """Return about how many characters the messages of a conversation have."""
    contents = (message.content for message in conversation.messages)
    return sum(len(content) if isinstance(content, str) else _OF_JSON for content in contents)


def _next(arguments: Iterator[tuple[object, ...]]) -> tuple[object, ...] | None:
    return next(arguments, None)
