"""The store behaves like the framework's own store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule, run_state_machine_as_test
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import (
    ConversationEntry,
    ConversationRecord,
    ConversationStore,
    InMemoryConversationStore,
)
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import ModelMessage

from tests.adapters.pydantic_ai.histories import turns
from tests.properties import examples
from voltmem import ANY_USER, PostgresStorage
from voltmem.adapters.pydantic_ai import VoltMemConversationStore
from voltmem.models import Owner
from voltmem.testing import drop_schema, server, temporary_schema_name

Answer = TypeVar("Answer")

conversation_ids = st.sampled_from(["c1", "c2", "c3"])
scopes = st.sampled_from([None] * 6 + ["ada", "ada", "bob"])
limits = st.none() | st.integers(-1, 6)
positions = st.none() | st.integers(-1, 6)
new_ids = st.sampled_from(["c1", "c3", "c3", "c4", "c5"])
seldom = st.integers(0, 5).map(lambda number: number == 5)
MESSAGES = turns(1)
histories = st.lists(st.sampled_from(MESSAGES), max_size=3)


class BesideInMemory(RuleBasedStateMachine):
    """For any sequence of calls, both stores return the same or raise the same."""

    loaded: Bundle[tuple[Conversation, Conversation]] = Bundle("loaded")
    entries: Bundle[tuple[str, str]] = Bundle("entries")

    runner: ClassVar[asyncio.Runner]
    storage: ClassVar[PostgresStorage]
    user_id: ClassVar[Owner]

    @initialize(target=entries)
    def begin(self) -> Any:
        self.in_memory = InMemoryConversationStore()
        self.ours = VoltMemConversationStore(self.storage, user_id=self.user_id)
        self.names: dict[str | None, str | None] = {None: None}  # the ids in memory, by those of voltmem
        self.runner.run(self._empty())
        return multiple(*self.saved_turn("c1", MESSAGES, None), *self.saved_turn("c2", MESSAGES, "ada"))

    async def _empty(self) -> None:
        for conversation in await self.storage.query_conversations(limit=None):
            await self.storage.delete_conversation(conversation.id)

    def both(
        self, call: Callable[[ConversationStore, int], Coroutine[Any, Any, Answer]]
    ) -> tuple[Answer, Answer] | None:
        """Call both stores. Returns both results; None if both raise the same."""

        async def outcome(store: ConversationStore, side: int) -> Answer | Exception:
            try:
                return await call(store, side)
            except (UserError, LookupError) as error:
                return error

        theirs = self.runner.run(outcome(self.in_memory, 0))
        ours = self.runner.run(outcome(self.ours, 1))
        if isinstance(theirs, Exception) or isinstance(ours, Exception):
            assert type(theirs) is type(ours), (theirs, ours)
            return None
        return theirs, ours

    def same_conversations(self, pair: tuple[Conversation | None, Conversation | None] | None) -> Any:
        if pair is None:
            return multiple()
        theirs, ours = pair
        if theirs is None or ours is None:
            assert theirs is ours
            return multiple()
        assert replace(ours, revision=None) == replace(theirs, revision=None)
        assert ours.new_message_index == theirs.new_message_index
        return (theirs, ours)

    def same_entries(
        self, pair: tuple[Sequence[ConversationEntry] | None, Sequence[ConversationEntry] | None] | None
    ) -> None:
        if pair is not None:
            theirs, ours = pair
            named = ours and [
                replace(each, id=self.names[each.id] or "", parent_id=self.names[each.parent_id]) for each in ours
            ]
            assert named == theirs

    @rule(target=loaded, id=conversation_ids, messages=histories)
    def make(self, id: str, messages: list[ModelMessage]) -> Any:
        return Conversation(conversation_id=id, messages=[*messages]), Conversation(
            conversation_id=id, messages=[*messages]
        )

    @rule(target=loaded, id=conversation_ids, limit=limits, scope=scopes)
    def load(self, id: str, limit: int | None, scope: str | None) -> Any:
        return self.same_conversations(self.both(lambda store, _: store.load(id, limit=limit, scope=scope)))

    @rule(pair=loaded, messages=histories, usage=st.integers(0, 3))
    def say(self, pair: tuple[Conversation, Conversation], messages: list[ModelMessage], usage: int) -> None:
        for conversation in pair:
            conversation.messages.extend(messages)
            conversation.usage.requests += usage

    @rule(pair=loaded, position=st.integers(0, 4), message=st.sampled_from(MESSAGES))
    def rewrite(self, pair: tuple[Conversation, Conversation], position: int, message: ModelMessage) -> None:
        for conversation in pair:
            conversation.messages[position : position + 2] = [message]

    @rule(target=loaded, pair=loaded, knows_index=st.booleans())
    def serialize(self, pair: tuple[Conversation, Conversation], knows_index: bool) -> Any:
        return tuple(
            replace(each, messages=[*each.messages], new_message_index=each.new_message_index if knows_index else None)
            for each in pair
        )

    @rule(target=entries, pair=loaded, scope=scopes)
    def save(self, pair: tuple[Conversation, Conversation], scope: str | None) -> Any:
        return multiple(*self.new_entries(self.both(lambda store, side: store.save(pair[side], scope=scope))))

    @rule(target=entries, id=conversation_ids, messages=histories, scope=scopes)
    def go_on(self, id: str, messages: list[ModelMessage], scope: str | None) -> Any:
        return multiple(*self.saved_turn(id, messages, scope))

    def saved_turn(self, id: str, messages: Sequence[ModelMessage], scope: str | None) -> Sequence[tuple[str, str]]:
        async def turn(store: ConversationStore, _: int) -> Sequence[ConversationEntry]:
            conversation = await store.load(id, scope=scope) or Conversation(conversation_id=id)
            conversation.messages.extend(messages)
            return await store.save(conversation, scope=scope)

        return self.new_entries(self.both(turn))

    def new_entries(
        self, saved: tuple[Sequence[ConversationEntry], Sequence[ConversationEntry]] | None
    ) -> Sequence[tuple[str, str]]:
        pairs = [*zip(*saved, strict=True)] if saved else []
        self.names.update((mine.id, its.id) for its, mine in pairs)
        self.same_entries(saved)
        return [(its.id, mine.id) for its, mine in pairs]

    @rule(target=loaded, id=conversation_ids, at=st.integers(-1, 4), scope=scopes, is_stale=seldom)
    def branch(self, id: str, at: int, scope: str | None, is_stale: bool) -> Any:
        return self.branch_from(id, is_stale, lambda _: {"at": at, "scope": scope})

    @rule(target=loaded, id=conversation_ids, entry=entries, is_stale=seldom)
    def branch_from_an_entry(self, id: str, entry: tuple[str, str], is_stale: bool) -> Any:
        return self.branch_from(id, is_stale, lambda side: {"from_entry": entry[side]})

    def branch_from(self, id: str, is_stale: bool, where: Callable[[int], dict[str, Any]]) -> Any:
        async def branched(store: ConversationStore, side: int) -> Conversation:
            there = await store.read_record(id)
            revision = "stale" if is_stale or there is None else there.revision
            return await store.branch(id, expected_revision=revision, **where(side))

        return self.same_conversations(self.both(branched))

    @rule(target=loaded, id=conversation_ids, at=positions, new_id=new_ids, scope=scopes, source_scope=scopes)
    def fork(self, id: str, at: int | None, new_id: str, scope: str | None, source_scope: str | None) -> Any:
        return self.same_conversations(
            self.both(
                lambda store, _: store.fork(
                    id, at=at, new_conversation_id=new_id, scope=scope, source_scope=source_scope
                )
            )
        )

    @rule(target=loaded, id=conversation_ids, entry=entries, new_id=new_ids)
    def fork_from_an_entry(self, id: str, entry: tuple[str, str], new_id: str) -> Any:
        return self.same_conversations(
            self.both(lambda store, side: store.fork(id, from_entry=entry[side], new_conversation_id=new_id))
        )

    @rule(id=conversation_ids, scope=scopes, indeed=seldom)
    def delete(self, id: str, scope: str | None, indeed: bool) -> None:
        if indeed:
            self.both(lambda store, _: store.delete(id, scope=scope))

    @rule(id=conversation_ids, limit=limits, scope=scopes)
    def load_entries(self, id: str, limit: int | None, scope: str | None) -> None:
        self.same_entries(self.both(lambda store, _: store.load_entries(id, limit=limit, scope=scope)))

    @rule(entry=entries)
    def read_entry(self, entry: tuple[str, str]) -> None:
        # A plain string, without the conversation's id.
        read = self.both(lambda store, side: store.read_entry("".join(entry[side])))
        self.same_entries(read and ([read[0]], [read[1]]))

    @rule(id=conversation_ids, entry=entries, current=st.booleans(), scope=scopes)
    def write_record(self, id: str, entry: tuple[str, str], current: bool, scope: str | None) -> None:
        async def write(store: ConversationStore, side: int) -> None:
            there = await store.read_record(id)
            record = ConversationRecord(
                conversation_id=id,
                head_id="".join(entry[side]),
                scope=scope if there is None else there.scope,
                branches=[] if there is None else _and_head(there),
            )
            await store.write_record(record, expected_revision=there.revision if there and current else None)

        self.both(write)

    @rule(scope=scopes, limit=limits)
    def list(self, scope: str | None, limit: int | None) -> None:
        listed = self.both(lambda store, _: store.list_conversations(scope=scope, limit=limit))
        if listed is not None:
            assert list(map(self._translated, listed[1])) == list(map(self._comparable, listed[0]))

    def _translated(self, record: ConversationRecord) -> ConversationRecord:
        return self._comparable(
            replace(
                record,
                head_id=self.names[record.head_id],
                forked_at=self.names[record.forked_at],
                branches=[self.names[end] or "" for end in record.branches],
            )
        )

    def _comparable(self, record: ConversationRecord) -> ConversationRecord:
        return replace(record, revision="", updated_at=datetime.min)


def _and_head(record: ConversationRecord) -> list[str]:
    head = [record.head_id] if record.head_id and record.head_id not in record.branches else []
    return [*record.branches, *head]


@pytest.mark.hypothesis
@pytest.mark.parametrize("user_id", [ANY_USER, "ada"], ids=["scopes are users", "one user's store"])
def test_it_behaves_like_the_store_in_memory(user_id: Owner) -> None:
    """Loads, saves, branches, forks, lists, deletions and conflicts are those of InMemoryConversationStore."""
    schema = temporary_schema_name()
    with asyncio.Runner() as runner:
        storage = PostgresStorage(server().dsn, schema=schema, storage_limit=None)
        # With derandomised tests the name is the seed, so each has its own steps.
        fields = {"runner": runner, "storage": storage, "user_id": user_id}
        machine = type(f"BesideInMemory of {user_id}", (BesideInMemory,), fields)
        try:
            run_state_machine_as_test(machine, settings=examples(40, steps=30))
        finally:
            runner.run(storage.close())
            runner.run(drop_schema(schema))
