"""What Pydantic AI calls: its conversation store, with branches, forks and revisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, NoReturn, cast

from pydantic import ConfigDict, TypeAdapter

from voltmem._values import ANY_USER, JsonObject, check_id, uuid7
from voltmem.adapters.pydantic_ai._branches import Branches, Tip, from_the_last_gap
from voltmem.adapters.pydantic_ai._messages import FORMAT, to_message, to_model_messages
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
    from pydantic_ai.conversation_store import (
        ConversationConflict,
        ConversationEntry,
        ConversationRecord,
        ConversationStore,
    )
else:  # a release before 2.66: load_history() and save_history() work on it

    class ConversationStore:
        def __init__(self) -> NoReturn:
            raise MissingExtraError("pydantic-ai-slim 2.66, or a later one,", "pydantic-ai")


DEFAULT_USER_ID: Final = "default"  # whose the conversations without a scope are, where a store is nobody's own


class _EntryId(str):
    """An entry's id that knows its conversation: reading a history is told where it ends, and not whose it is."""

    conversation_id: str

    @classmethod
    def of(cls, id: str, conversation_id: str) -> _EntryId:
        """Return the id, which equals the plain one."""
        entry_id = cls(id)
        entry_id.conversation_id = conversation_id
        return entry_id


class VoltMemConversationStore(ConversationStore):
    """
    A Pydantic AI conversation store in PostgreSQL.

    What is saved is a conversation like any other: in the sidebar, read as plain messages, continued by other
    frameworks. What they began, or went on with, load() goes on with. A fork has the entries that it shares as its
    own, with the same ids: deleting a conversation deletes its messages, and no fork of it changes. Where branches
    were left, plain messages are all branches, in the order in which they were added.

    Two ways to use it:

    - ``VoltMemConversationStore(storage, user_id="ada")`` is one user's. Another's conversation is a
      ConversationNotFoundError, before any model is called. A scope is a label of that user's own.
    - ``VoltMemConversationStore(storage, user_id=ANY_USER)`` is for trusted code that names the user as ``scope``, as
      UI adapters do with ``conversation_scope``. A call without a scope reads everybody's, as with Pydantic AI's own
      stores; what it saves is the user ``"default"``'s.

    The storage's storage_limit holds: a history is what is left of it, and begins with no result whose call is gone.

    Args:
        storage: Where. Making a store does no I/O, and it has nothing to close.
        user_id: Whose store it is; ANY_USER: the scopes are the users, and a call without one means everybody.
        resource_id: The agent or project that conversations are made with.
    """

    def __init__(self, storage: Storage, *, user_id: Owner, resource_id: str = DEFAULT_RESOURCE_ID) -> None:
        super().__init__()
        self._branches = Branches(storage, FORMAT, user_id=user_id, resource_id=resource_id)
        self._storage = storage
        self._user_id = user_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._user_id!r} in {self._storage!r}>"

    async def read_record(self, conversation_id: str) -> ConversationRecord | None:
        """
        Return the conversation's record, None if there is none. Its scope is whose the conversation is.

        A conversation that others began, or went on with, gets a new revision when it is read the first time.

        Raises:
            ConversationNotFoundError: The store is one user's, and the conversation another's.

        One round trip; a second one where branches were left.
        """
        tip = await self._branches.tip(conversation_id)
        if tip is None:
            return None
        if _was_continued_elsewhere(tip):
            return await self._joined(conversation_id)
        return await self._with_ends_that_are_there(self._branches, self._record(tip), tip.newest_id)

    async def read_records(self, *, scope: str | None = None, limit: int | None = None) -> list[ConversationRecord]:
        """Return the records, those of the last active conversations first; others' conversations have one, too."""
        if scope is None or self._user_id is ANY_USER:
            tips = await self._branches.tips(ANY_USER if scope is None else scope, limit=limit)
        else:  # a label, which stands in the records only: SQL doesn't look into them
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
        Store the record and its new entries, both or neither; make the conversation if there is none.

        Entries of another conversation that they follow are copied, with their ids and times.

        Raises:
            ConversationConflict: Its revision is another, it is another user's, or what it ends with is nowhere.
            InvalidInputError: A value that cannot be stored. Nothing was.
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
                    conversation_id, user_id, payload, revision=record.revision, expected_revision=expected_revision
                )
                tip = await branches.tip(conversation_id)
                if tip is None or tip.is_loose:
                    raise ConversationConflict(conversation_id)
                shared = await self._shared(branches, conversation_id, set(before) - {tip.newest_id})
                await branches.add(conversation_id, user_id, [*shared, *messages])
        except (ConversationNotFoundError, RevisionConflictError) as error:
            raise ConversationConflict(conversation_id) from error

    async def delete_record(self, conversation_id: str, *, expected_revision: str) -> None:
        """
        Delete the conversation with all its messages, those that others added included. Forks of it keep theirs.

        Raises:
            ConversationConflict: Its revision is another, or there is none.
            ConversationNotFoundError: The store is one user's, and the conversation another's.
        """
        try:
            await self._branches.delete(conversation_id, expected_revision=expected_revision)
        except RevisionConflictError as error:
            raise ConversationConflict(conversation_id) from error

    async def read_entry(self, entry_id: str) -> ConversationEntry:
        """
        Return the entry, from any of the conversations that share it.

        Raises:
            KeyError: There is none, or only in another user's conversation, where the store is one user's.
        """
        (entry,) = await self.read_history(entry_id, limit=1)
        return entry

    async def read_history(self, head_id: str | None, *, limit: int | None = None) -> list[ConversationEntry]:
        """
        Return the entries up to head_id, in order, or only the last so many.

        Raises:
            KeyError: There is no such entry.

        One round trip for any number of entries.
        """
        if head_id is None or limit == 0:
            return []
        # One more than asked for: it tells a line that is cut by the limit from one whose beginning was pruned.
        conversation_id, line = await self._branches.line(
            _conversation_of(head_id), head_id, limit=None if limit is None else limit + 1
        )
        if conversation_id is None:
            raise KeyError(head_id)
        if limit is not None and len(line) > limit:
            return _to_entries(line, conversation_id)[1:]
        if line[0].parent_id:
            line = from_the_last_gap([line[0].model_copy(update={"parent_id": ""}), *line[1:]])
        return _to_entries(line, conversation_id)

    # --- records ----------------------------------------------------------------------------------------------

    def _record(self, tip: Tip) -> ConversationRecord:
        """Return the record as it was written, with the scope that is the conversation's user."""
        conversation = tip.kept.conversation
        if tip.kept.payload is None:
            record = ConversationRecord(
                conversation_id=conversation.id, head_id=None, revision="", updated_at=conversation.updated_at
            )
        else:
            (record,) = _records().validate_python([tip.kept.payload])
        if self._user_id is ANY_USER and (record.scope or DEFAULT_USER_ID) != conversation.user_id:
            record.scope = conversation.user_id
        return record

    async def _with_ends_that_are_there(
        self, branches: Branches, record: ConversationRecord, newest_id: str | None
    ) -> ConversationRecord:
        """Return the record without ends that were deleted or pruned: the newest message stands for a lost head."""
        ends = {id for id in (record.head_id, *record.branches) if id is not None}
        there = {newest_id, *await branches.present(record.conversation_id, ends - {newest_id})}
        head = record.head_id if record.head_id is None or record.head_id in there else newest_id
        return replace(
            record,
            head_id=None if head is None else _EntryId.of(head, record.conversation_id),
            branches=[_EntryId.of(end, record.conversation_id) for end in record.branches if end in there],
        )

    async def _joined(self, conversation_id: str) -> ConversationRecord | None:
        """Return the record after what others have added was linked to where the conversation ended."""
        async with self._branches.transaction() as branches:
            await branches.lock(conversation_id)
            tip = await branches.tip(conversation_id)
            if tip is None:  # deleted meanwhile
                return None
            record = self._record(tip)
            if tip.is_loose:
                await branches.link(conversation_id, after=record.head_id)
                # Whatever the last run was waiting for, others went on without it.
                record = replace(record, head_id=tip.newest_id, deferred_tool_requests=None)
            if _was_continued_elsewhere(tip):  # and nobody else has just linked it
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
            return await self._with_ends_that_are_there(branches, record, tip.newest_id)

    # --- entries ----------------------------------------------------------------------------------------------

    async def _shared(self, branches: Branches, conversation_id: str, ends: set[str]) -> list[NativeMessage]:
        """Return the messages that the conversation shares with another and doesn't have yet."""
        missing = ends - await branches.present(conversation_id, ends)
        shared: dict[str, NativeMessage] = {}
        for end in missing:
            _, line = await branches.line(_conversation_of(end), end)
            if not line:
                raise ConversationConflict(conversation_id)
            shared.update((message.id, message) for message in line)
        return list(shared.values())


def _was_continued_elsewhere(tip: Tip) -> bool:
    return tip.is_loose or tip.kept.payload is None


def _conversation_of(entry_id: str) -> str | None:
    return entry_id.conversation_id if isinstance(entry_id, _EntryId) else None


@cache
def _records() -> TypeAdapter[list[ConversationRecord]]:
    # In a list, as the framework's own of messages: so the configuration reaches what a record holds.
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
    return NativeMessage(**{**dict(to_message(entry.message)), "id": entry.id, "parent_id": entry.parent_id or ""})


def _to_entries(line: Sequence[NativeMessage], conversation_id: str) -> list[ConversationEntry]:
    """Return the entries of messages each of which follows the one before; the first, what it says that it follows."""
    ids = [_EntryId.of(message.id, conversation_id) for message in line]
    first = _EntryId.of(line[0].parent_id, conversation_id) if line and line[0].parent_id else None
    return [
        ConversationEntry(id=id, parent_id=before, message=message)
        for id, before, message in zip(ids, [first, *ids], to_model_messages(line), strict=False)
    ]
