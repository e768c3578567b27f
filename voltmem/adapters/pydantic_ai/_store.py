"""The conversation store that Pydantic AI calls, with branches, forks and revisions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, wraps
from importlib.util import find_spec
from inspect import iscoroutinefunction, signature
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from voltmem._agents.compact_when import CompactWhen, background_of
from voltmem._agents.looks import Looks
from voltmem._agents.native import NativeMemory
from voltmem._repr import safe_repr
from voltmem._values import ANY_USER, JsonObject, check_id, check_id_or_none, uuid7
from voltmem.adapters.pydantic_ai._branches import Branches, Tip, from_the_last_gap
from voltmem.adapters.pydantic_ai._messages import FORMAT, model_messages_of, said, to_message
from voltmem.errors import (
    ConversationNotFoundError,
    InvalidInputError,
    MissingExtraError,
    RevisionConflictError,
)
from voltmem.models import NativeMessage, Owner
from voltmem.options import DEFAULT_RESOURCE_ID
from voltmem.storage import Storage

if TYPE_CHECKING or find_spec("pydantic_ai.conversation_store"):
    from pydantic_ai.conversation import Conversation
    from pydantic_ai.conversation_store import (
        ConversationConflict,
        ConversationEntry,
        ConversationRecord,
        ConversationStore,
    )
    from pydantic_ai.messages import ModelResponse
else:  # a release before 2.66; load_history() and save_history() work with it

    class ConversationStore:
        def __init__(self) -> NoReturn:
            raise MissingExtraError("pydantic-ai-slim 2.66, or a later one,", "pydantic-ai")


_log = logging.getLogger("voltmem")


_SCOPES: Final = frozenset({"scope", "source_scope"})  # keyword-only, in each method
DEFAULT_USER_ID: Final = "default"  # the user of conversations without a scope, in a store for ANY_USER


class _EntryId(str):
    """An entry's id with its conversation's id, because read_history() is called with the entry's id only."""

    conversation_id: str

    @classmethod
    def of(cls, id: str, conversation_id: str) -> _EntryId:
        """Build the id. It is equal to the plain string."""
        entry_id = cls(id)
        entry_id.conversation_id = conversation_id
        return entry_id


class VoltMemConversationStore(ConversationStore):
    """
    A Pydantic AI conversation store in PostgreSQL.

    A saved conversation is like any other: it is in the sidebar, is read as plain messages, and can be continued by
    other frameworks. load() also continues conversations that others have started or continued. A fork has its own
    copies of the entries that it shares, with the same ids: deleting a conversation deletes its messages and changes no
    fork. Everybody else reads the branch of its head. If a front end chooses another branch, load() continues that one.

    Two ways to use it:

    - ``VoltMemConversationStore(storage, user_id="ada")`` is a store for one user. Another user's conversation raises
      ConversationNotFoundError before a model is called. The scope is a label of the user's choice.
    - ``VoltMemConversationStore(storage, user_id=ANY_USER)`` is for trusted code that passes the user as ``scope``, as
      UI adapters do with ``conversation_scope``. A call without a scope reads all users' conversations, as in Pydantic
      AI's own stores; a conversation that it saves belongs to the user ``"default"``.

    The storage's storage_limit applies: a history has only the messages that it keeps, and does not start with a result
    whose call is gone.

    Args:
        storage: The storage. Creating a store does no I/O, and a store needs no closing.
        user_id: The user of the store. ANY_USER: the scope is the user, and a call without a scope concerns all users.
            An empty scope is an InvalidInputError.
        resource_id: The agent or project of new conversations.
        compact_when: When to summarise what is old, beside the runs; None: only ``memory.compact()`` does. The store
            loads whole conversations as before: VoltMemWindow shows a model the summary.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        user_id: Owner,
        resource_id: str = DEFAULT_RESOURCE_ID,
        compact_when: CompactWhen | None = None,
    ) -> None:
        super().__init__()
        self._branches = Branches(storage, FORMAT, user_id=user_id, resource_id=resource_id)
        background_of(storage, compact_when)  # checks it
        self._compact_when = compact_when
        self._storage = storage
        self._user_id = user_id
        self._looks = Looks()

    @safe_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._user_id!r} in {self._storage!r}>"

    async def load(
        self, conversation_id: str, *, limit: int | None = None, scope: str | None = None
    ) -> Conversation | None:
        """
        Load a conversation; None if there is none. As in Pydantic AI's own stores.

        A run begins here: if its user is deleted before save() creates the conversation, that is a
        ConversationConflict.
        """
        self._looks.look(conversation_id)
        return await super().load(conversation_id, limit=limit, scope=scope)

    async def load_entries(
        self, conversation_id: str, *, limit: int | None = None, scope: str | None = None
    ) -> list[ConversationEntry] | None:
        """Load a conversation's history with each message's entry. A run begins here, as in load()."""
        self._looks.look(conversation_id)
        return await super().load_entries(conversation_id, limit=limit, scope=scope)

    async def read_record(self, conversation_id: str) -> ConversationRecord | None:
        """
        Return the conversation's record, or None if there is none. In a store for ANY_USER its scope is the owner.

        If others have started or continued the conversation since, reading it gives it a new revision.

        Raises:
            ConversationNotFoundError: The store is one user's, and the conversation is another user's.

        One round trip; two if the conversation has branches. A new revision takes a transaction.
        """
        tip = await self._branches.tip(conversation_id)
        if tip is None:
            return None
        record = self._record(tip)
        if _was_continued_elsewhere(tip, record):
            return await self._follow_the_line(conversation_id)
        return await self._with_existing_ends(self._branches, record, tip.newest_id)

    async def read_records(self, *, scope: str | None = None, limit: int | None = None) -> list[ConversationRecord]:
        """Return the records, the last active conversation first. Other frameworks' conversations have records, too."""
        if scope is None or self._user_id is ANY_USER:
            tips = await self._branches.tips(ANY_USER if scope is None else scope, limit=limit)
        else:  # the scope is a label inside the records, which SQL does not read
            tips = await self._branches.tips()
        records = [self._record(tip) for tip in tips]
        return [record for record in records if scope is None or record.scope == scope][:limit]

    async def write_record(
        self,
        record: ConversationRecord,
        *,
        new_entries: Sequence[ConversationEntry] = (),
        expected_revision: str | None,
    ) -> None:
        """
        Store the record and its new entries in one transaction. Creates the conversation if there is none.

        If the entries continue another conversation, its entries up to there are copied with their ids and times.

        Raises:
            ConversationConflict: The stored revision is not the expected one, the conversation is another user's, an
                entry that the record or a new entry refers to does not exist, or the conversation does not, and its
                user was deleted since load() looked for it.
            InvalidInputError: A value cannot be stored. Nothing was stored.
        """
        conversation_id, user_id = record.conversation_id, self._user_id
        if user_id is ANY_USER:
            user_id = DEFAULT_USER_ID if record.scope is None else record.scope
        check_id(conversation_id=conversation_id, revision=record.revision)
        messages = [_entry_to_message(entry) for entry in new_entries]
        payload = _record_to_payload(record)
        new = {entry.id for entry in new_entries}
        before = [id for id in (record.head_id, *(entry.parent_id for entry in new_entries)) if id and id not in new]
        try:
            async with self._branches.transaction() as branches:
                await branches.save(
                    conversation_id,
                    user_id,
                    payload,
                    revision=record.revision,
                    expected_revision=expected_revision,
                    began_at=self._looks.last(conversation_id),
                )
                tip = await branches.tip(conversation_id)
                known = {None, record.head_id, *record.branches, *before}
                if tip is None or tip.is_loose or tip.newest_id not in known:  # others have continued it
                    raise ConversationConflict(conversation_id)
                shared = await self._shared(branches, conversation_id, set(before) - {tip.newest_id})
                await branches.add(conversation_id, user_id, [*shared, *messages])
                if record.head_id != (messages[-1].id if messages else tip.newest_id):
                    await branches.move_head(conversation_id, record.head_id)
        except (ConversationNotFoundError, RevisionConflictError) as error:
            raise ConversationConflict(conversation_id) from error
        if messages and self._compact_when is not None:
            memory = NativeMemory(self._storage, user_id, conversation_id, compact_when=self._compact_when)
            memory.compact_after(messages[-1])

    async def delete_record(self, conversation_id: str, *, expected_revision: str) -> None:
        """
        Delete the conversation with all its messages, including those that others added. Forks keep their copies.

        Raises:
            ConversationConflict: The stored revision is not the expected one, or there is no conversation.
            ConversationNotFoundError: The store is one user's, and the conversation is another user's.
        """
        try:
            await self._branches.delete(conversation_id, expected_revision=expected_revision)
        except RevisionConflictError as error:
            raise ConversationConflict(conversation_id) from error

    async def read_entry(self, entry_id: str) -> ConversationEntry:
        """
        Return the entry, from any of the conversations that share it.

        Raises:
            KeyError: There is no such entry; or the store is one user's, and only another user's conversation has it.
        """
        (entry,) = await self.read_history(entry_id, limit=1)
        return entry

    async def read_history(self, head_id: str | None, *, limit: int | None = None) -> list[ConversationEntry]:
        """
        Return the entries of the branch up to head_id, in order; with a limit, only the last *limit* of them.

        Raises:
            KeyError: There is no such entry.

        One round trip for any number of entries; two if they show stored files.
        """
        if head_id is None or limit == 0:
            return []
        # One entry more than the limit shows whether the limit or a pruned beginning cuts the branch.
        conversation_id, line = await self._branches.line(
            _conversation_of(head_id), head_id, limit=None if limit is None else limit + 1
        )
        if conversation_id is None:
            raise KeyError(head_id)
        line = await self._branches.with_files(conversation_id, line)
        if limit is not None and len(line) > limit:
            return _to_entries(line, conversation_id)[1:]
        if line[0].parent_id:
            line = from_the_last_gap([line[0].model_copy(update={"parent_id": ""}), *line[1:]])
        return _to_entries(line, conversation_id)

    # --- records ----------------------------------------------------------------------------------------------

    def _record(self, tip: Tip) -> ConversationRecord:
        """Return the record as it was written. In a store for ANY_USER its scope is the conversation's owner."""
        conversation = tip.kept.conversation
        record = ConversationRecord(
            conversation_id=conversation.id,
            head_id=None,
            revision=tip.kept.revision or "",
            updated_at=conversation.updated_at,
        )
        if tip.kept.payload is not None:
            try:
                (record,) = _records().validate_python([tip.kept.payload])
            except ValidationError as error:
                _log.warning("this Pydantic AI cannot read the record of %s: %s", conversation.id, error.error_count())
        if self._user_id is ANY_USER and (record.scope or DEFAULT_USER_ID) != conversation.user_id:
            record.scope = conversation.user_id
        return record

    async def _with_existing_ends(
        self, branches: Branches, record: ConversationRecord, newest_id: str | None
    ) -> ConversationRecord:
        """Return the record without deleted or pruned ends. The newest message replaces a head that is gone."""
        ends = {id for id in (record.head_id, *record.branches) if id is not None}
        existing = {newest_id, *await branches.present(record.conversation_id, ends - {newest_id})}
        head = record.head_id if record.head_id is None or record.head_id in existing else newest_id
        return replace(
            record,
            head_id=None if head is None else _EntryId.of(head, record.conversation_id),
            branches=[_EntryId.of(end, record.conversation_id) for end in record.branches if end in existing],
        )

    async def _follow_the_line(self, conversation_id: str) -> ConversationRecord | None:
        """Link what others have added, and make the line's head that of the record. Returns the new record."""
        async with self._branches.transaction() as branches:
            await branches.lock(conversation_id)
            tip = await branches.tip(conversation_id)
            if tip is None:  # it was deleted meanwhile
                return None
            record = self._record(tip)
            if _was_continued_elsewhere(tip, record):  # no other process has followed the line meanwhile
                if tip.is_loose:
                    await branches.link(conversation_id)
                if record.head_id != tip.newest_id:
                    ends = dict.fromkeys([*record.branches, *await branches.ends(conversation_id)])
                    left = [end for end in ends if end != tip.newest_id]
                    # The conversation went on without the results that the last run was waiting for.
                    record = replace(record, head_id=tip.newest_id, branches=left, deferred_tool_requests=None)
                conversation = tip.kept.conversation
                record = replace(record, revision=uuid7(), updated_at=conversation.updated_at)
                await branches.save(
                    conversation_id,
                    conversation.user_id,
                    _record_to_payload(record),
                    revision=record.revision,
                    expected_revision=tip.kept.revision,
                    touch=False,
                )
            return await self._with_existing_ends(branches, record, tip.newest_id)

    # --- entries ----------------------------------------------------------------------------------------------

    async def _shared(self, branches: Branches, conversation_id: str, ends: set[str]) -> list[NativeMessage]:
        """Return the messages up to the ends that the conversation does not have yet, from other conversations."""
        missing = ends - await branches.present(conversation_id, ends)
        shared: dict[str, NativeMessage] = {}
        for end in missing:
            _, line = await branches.line(_conversation_of(end), end)
            if not line:
                raise ConversationConflict(conversation_id)
            shared.update((message.id, message) for message in line)
        return list(shared.values())


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of the store that refuses an empty scope. It may be the user, and an empty id is no user's."""

    @wraps(method)
    async def call(*arguments: Any, **named: Any) -> Any:
        check_id_or_none(**{name: value for name, value in named.items() if name in _SCOPES})
        return await method(*arguments, **named)

    return call


for _name in dir(ConversationStore):
    _method = getattr(VoltMemConversationStore, _name)
    if not _name.startswith("_") and iscoroutinefunction(_method) and _SCOPES & signature(_method).parameters.keys():
        setattr(VoltMemConversationStore, _name, _checked(_method))


def _was_continued_elsewhere(tip: Tip, record: ConversationRecord) -> bool:
    return tip.is_loose or tip.kept.payload is None or record.head_id != tip.newest_id


def _conversation_of(entry_id: str) -> str | None:
    return entry_id.conversation_id if isinstance(entry_id, _EntryId) else None


@cache
def _records() -> TypeAdapter[list[ConversationRecord]]:
    # In a list, like Pydantic AI's own adapter for messages, so that the configuration applies to nested values.
    config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    return TypeAdapter(list[ConversationRecord], config=config)


def _record_to_payload(record: ConversationRecord) -> JsonObject:
    try:
        (payload,) = _records().dump_python([record], mode="json")
    except ValueError as error:
        raise InvalidInputError(
            f"the record of conversation {record.conversation_id!r} has a value that is not JSON: {error}"
        ) from error
    return cast(JsonObject, payload)


def _entry_to_message(entry: ConversationEntry) -> NativeMessage:
    check_id(id=entry.id)
    message = said(entry.message) or entry.message  # others refer to it by its id
    return NativeMessage(**{**dict(to_message(message)), "id": entry.id, "parent_id": entry.parent_id or ""})


def _to_entries(line: Sequence[NativeMessage], conversation_id: str) -> list[ConversationEntry]:
    """
    Convert the messages of a branch to entries. The parent of each is the one before, of the first its parent_id.

    Of a message that becomes several entries the last has the message's id, the others have ids of their own.
    """
    before = _EntryId.of(line[0].parent_id, conversation_id) if line and line[0].parent_id else None
    entries: list[ConversationEntry] = []
    for message, several in zip(line, model_messages_of(line), strict=True):
        if not several and message is line[-1]:  # others refer to the head by its id
            several = [ModelResponse([])]
        for number, each in enumerate(several, 1):
            id = _EntryId.of(message.id if number == len(several) else f"{message.id}:{number}", conversation_id)
            entries.append(ConversationEntry(id=id, parent_id=before, message=each))
            before = id
    return entries
