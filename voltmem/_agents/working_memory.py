"""A handle on the working memory of a user, or of a conversation."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import BaseModel, JsonValue, ValidationError

from voltmem._areas.area import Access, Area, access
from voltmem._areas.deleted_users import Elapsed, hash_of_user
from voltmem._areas.shown import shown
from voltmem._areas.working_memory import (
    MAX_MEMORY_BYTES,
    Change,
    MemoryChange,
    MemorySchema,
    MemoryVersion,
    MergeRules,
    Place,
    ToolForm,
    WorkingMemory,
    WorkingMemoryStatements,
    delete_memory,
    write_memory,
)
from voltmem._repr import safe_repr
from voltmem._values import (
    JsonObject,
    check_count,
    check_flag,
    check_id_or_none,
    check_ids,
    check_text,
    check_user,
    json_value,
    short_repr,
    to_json,
)
from voltmem.errors import InvalidInputError, InvalidOptionError, MemoryRefusedError
from voltmem.models import Message

if TYPE_CHECKING:
    from voltmem._areas.working_memory import Run

HISTORY_LIMIT: Final = 20
MAX_SOURCES: Final = 1_000


class WorkingMemoryHandle:
    """
    The working memory of one user, or of one conversation: ``storage.working_memory("ada")`` returns it.

    ::

        memory = storage.working_memory("ada", author="planner")
        await memory.append("- lives in Oslo")
        known = await memory.get()

    The text is Markdown, or JSON. Each write makes a new version, and the newest hundred are kept. append() and merge()
    lose nothing of concurrent writers. set() replaces all: give it ``if_version=``.

    All writes have three arguments in common. ``if_version`` is the version that must be the newest; 0: there must be
    none; None: whatever there is. ``operation_id`` is an id of this write: if it was stored before, with the same
    arguments, nothing is changed, and the result is the first one's. It must be unique for the user: a model's call id
    often is not, so put the run's id before it. ``author`` is who writes; None: the handle's.

    set(), append() and merge() take ``from_messages``, too: the ids of the messages that the content came from, a
    thousand at most. storage.forget() tells by them which versions to look at. What is added goes on from the version
    before, so its ids are kept; those of set() replace them.

    All writes raise:

    - ConversationNotFoundError: The conversation does not exist, is deleted, or is not the user's. A handle does not
      create it.
    - MemoryConflictError: The newest version is not *if_version*.
    - OperationConflictError: The operation has made another change.
    - InvalidInputError: What is given is empty, too large, or does not fit the schema.
    - MemoryRefusedError: With what is there, the result would be empty, too large, or not fit the schema; or the bare
      template would replace what was filled in; or text and JSON would be mixed. Or the user was deleted since the
      handle was made, and has no memory.

    Creating a handle does no I/O, and there is nothing to close. Each method is one round trip; merge() and
    restore() with a schema take three. To read, another user's conversation is like one that does not exist.
    """

    def __init__(
        self,
        storage: Area,
        user_id: str,
        conversation_id: str | None = None,
        *,
        template: str | None = None,
        schema: MemorySchema | None = None,
        max_bytes: int = MAX_MEMORY_BYTES,
        author: str | None = None,
    ) -> None:
        check_user("user_id", user_id, "a working memory is one user's, or of one user's conversation")
        check_id_or_none(conversation_id=conversation_id, author=author)
        check_count("max_bytes", max_bytes, minimum=1)
        if template is not None:
            check_text(template=template)
        given: object = schema
        if given is not None and not (isinstance(given, type) and issubclass(given, BaseModel)):
            raise InvalidOptionError(f"schema must be a pydantic model, a class, not {short_repr(schema)}")
        if template is not None and schema is not None:
            raise InvalidOptionError("template, of a text, and schema, of JSON, were both given: pass one of them")
        self._storage = storage
        self._access = access(storage)
        self._place = Place(user_id, conversation_id)
        self._template = template
        self._schema = schema
        self._max_bytes = max_bytes
        self._author = author
        self._began_at = time.monotonic()

    @property
    def user_id(self) -> str:
        """The user."""
        return str(self._place.user_id)

    @property
    def conversation_id(self) -> str | None:
        """The conversation; None: the memory is the user's."""
        return self._place.conversation_id

    @property
    def template(self) -> str | None:
        """What the text looks like before anything is filled in."""
        return self._template

    @property
    def schema(self) -> MemorySchema | None:
        """The pydantic model of a memory that is JSON."""
        return self._schema

    @safe_repr
    def __repr__(self) -> str:
        of = "" if self.conversation_id is None else f"{self.conversation_id!r} of "
        return f"<{type(self).__name__} of {of}{self.user_id!r} in {self._storage!r}>"

    # --- reading ----------------------------------------------------------------------------------------------

    async def get(self) -> WorkingMemory | None:
        """Return the memory as it is now; None if there is none. VoltAgent: ``getWorkingMemory``."""
        row = await self._access.executor.fetchrow(self._access.sql(WorkingMemoryStatements).get, *self._place)
        return None if row is None else WorkingMemory.from_row(row)

    async def history(self, *, limit: int | None = HISTORY_LIMIT, before: int | None = None) -> list[MemoryVersion]:
        """
        Return the versions, newest first: what was written, by whom and when.

        Args:
            limit: The maximum number; None: all that are kept, a hundred.
            before: Only versions before this one.
        """
        for name, value in (("limit", limit), ("before", before)):
            if value is not None:
                check_count(name, value)
        arguments = *self._place, before, limit
        rows = await self._access.executor.fetch(self._access.sql(WorkingMemoryStatements).history, *arguments)
        return [MemoryVersion.from_row(row) for row in rows]

    # --- writing ----------------------------------------------------------------------------------------------

    async def set(
        self,
        content: str | Mapping[str, JsonValue] | BaseModel,
        *,
        if_version: int | None = None,
        operation_id: str | None = None,
        author: str | None = None,
        from_messages: Sequence[str] | None = None,
    ) -> WorkingMemory:
        """
        Replace the memory by another text, or by a JSON object. Returns it as stored.

        Args:
            content: The text; or a dict or a model, which is stored as indented JSON.
            if_version: The version that is replaced; 0: none. None: whatever there is, which is lost but for the
                history.
            operation_id: As in all writes.
            author: As in all writes.
            from_messages: The ids of the messages that it came from.
        """
        text = content if isinstance(content, str) else _indented(_json_object(content))
        check_text(content=text)
        if (problems := self._problems(text)) is not None:
            raise InvalidInputError(problems)
        is_bare = self._template is not None and text.strip() == self._template.strip()
        return await self._write("set", text, if_version, operation_id, author, from_messages, is_bare=is_bare)

    async def append(
        self,
        text: str,
        *,
        if_version: int | None = None,
        operation_id: str | None = None,
        author: str | None = None,
        from_messages: Sequence[str] | None = None,
    ) -> WorkingMemory:
        """
        Add a paragraph to a memory that is text. Returns it as stored.

        Args:
            text: What is added, after an empty line.
            if_version: As in all writes.
            operation_id: As in all writes.
            author: As in all writes.
            from_messages: The ids of the messages that it came from.
        """
        check_text(text=text)
        if self._schema is not None:
            raise InvalidInputError("the memory is JSON, to which no text can be appended: use merge()")
        return await self._write("append", text, if_version, operation_id, author, from_messages)

    async def merge(
        self,
        patch: Mapping[str, JsonValue] | BaseModel,
        *,
        rules: MergeRules = "rfc7396",
        if_version: int | None = None,
        operation_id: str | None = None,
        author: str | None = None,
        from_messages: Sequence[str] | None = None,
    ) -> WorkingMemory:
        """
        Merge a JSON object into a memory that is JSON. Returns it as stored.

        Args:
            patch: Objects are merged into those of the same name. Of a model, only the fields that were set count.
            rules: "rfc7396": None removes a member, and any other value, an array too, replaces the one of the same
                name. "voltagent", as VoltAgent appends: arrays are united, and nothing is removed.
            if_version: As in all writes.
            operation_id: As in all writes.
            author: As in all writes.
            from_messages: The ids of the messages that it came from.

        With a schema the result is checked before it is committed, in a transaction of three round trips.
        """
        if rules not in get_args(MergeRules):
            raise InvalidInputError(f"rules {short_repr(rules)}: use one of {', '.join(get_args(MergeRules))}")
        kind: MemoryChange = "merge" if rules == "rfc7396" else "unite"
        given = to_json(_json_object(patch, only_set=True))
        return await self._write_fitting(self._change(kind, given, if_version, operation_id, author, from_messages))

    async def restore(
        self,
        version: int,
        *,
        if_version: int | None = None,
        operation_id: str | None = None,
        author: str | None = None,
    ) -> WorkingMemory:
        """
        Make the content of an earlier version the memory again, as a new version. Returns it as stored.

        Args:
            version: One of the history.
            if_version: As in all writes.
            operation_id: As in all writes.
            author: As in all writes.

        With a schema the content is checked, as the result of merge() is.
        """
        check_count("version", version, minimum=1)
        return await self._write_fitting(self._change("restore", str(version), if_version, operation_id, author))

    async def delete(
        self,
        *,
        history: bool = False,
        if_version: int | None = None,
        operation_id: str | None = None,
        author: str | None = None,
    ) -> bool:
        """
        Delete the memory. Returns whether there was one.

        Args:
            history: Whether to delete its history, too, so that nothing of what it held is stored any more; False:
                restore() brings it back.
            if_version: As in all writes.
            operation_id: As in all writes.
            author: As in all writes.

        VoltAgent: ``deleteWorkingMemory``.
        """
        check_flag("history", history)
        change = self._change("erase" if history else "delete", None, if_version, operation_id, author)
        return await delete_memory(self._access, self._place, change, self._run())

    # --- for a model ------------------------------------------------------------------------------------------

    def tools(
        self, form: ToolForm = "openai", *, read_only: bool = False, may_clear: bool = False
    ) -> list[dict[str, Any]]:
        """
        Return the definitions of the tools by which a model keeps the memory; call_tool() runs them.

        They are ``get_working_memory`` and ``update_working_memory``, which appends unless the model asks
        for the mode "replace", with the version that it has read.

        Args:
            form: For which interface: "openai" (Chat Completions), "responses" (OpenAI's Responses), "anthropic",
                "anthropic-memory" (Anthropic's memory tool, memory_20250818; the memory is its one file), "mcp".
            read_only: Whether to leave out the tools that write.
            may_clear: Whether to add ``clear_working_memory``, after which restore() still brings the memory back.
        """
        from voltmem._agents.memory_tools import definitions  # here: few programs use them

        return definitions(self, form, read_only=read_only, may_clear=may_clear)

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, object] | BaseModel | str | None = None,
        *,
        operation_id: str | None = None,
        author: str | None = None,
        from_messages: Sequence[str] | None = None,
        read_only: bool = False,
        may_clear: bool = False,
    ) -> str:
        """
        Run a model's call of one of the tools. Returns the result for the model.

        What the model did wrong, and what is refused, is in the result, which then begins with ``Error:``. So is a call
        of a tool that it was not given: models make names up.

        Args:
            name: The name of the tool.
            arguments: The arguments, as a dict or as JSON text.
            operation_id: An id of the call that is unique for the user, so that a repeat changes nothing.
            author: As in all writes.
            from_messages: The ids of the messages that the model was answering.
            read_only: As in tools(): nothing is written.
            may_clear: As in tools(): ``clear_working_memory`` is run.

        Raises:
            InvalidInputError: There is no such tool.

        One round trip; changes by Anthropic's memory tool take two, and one more with an operation_id.
        """
        from voltmem._agents.memory_tools import ToolError, offered_tools, run_tool  # here: as above

        try:
            marks = {"operation_id": operation_id, "author": author}
            offered = offered_tools(read_only=read_only, may_clear=may_clear)
            return await run_tool(self, name, arguments, marks, from_messages, offered)
        except ToolError as error:
            return f"Error: {error}"

    def anthropic_tool(self) -> Any:
        """
        Return Anthropic's memory tool on this memory, for ``tools=`` of the SDK's ``beta.messages.tool_runner()``.

        It needs the package ``anthropic``.
        """
        from voltmem._agents.memory_tools import anthropic_tool  # here: as above

        return anthropic_tool(self)

    def instructions(self) -> str:
        """Return what a model is to do with the memory, for its instructions. Nothing of its content is in it."""
        from voltmem._agents.memory_tools import instructions  # here: as above

        return instructions(self)

    async def as_message(self) -> Message | None:
        """
        Return the memory as a message for a model; None if there is none.

        Put it after the system's messages, before the others. It has the role "user": a model that obeys what stands in
        its system message must not find there what others have written down. The text is quoted, escaped, and marked as
        data. Do not store the message.
        """
        from voltmem._agents.memory_tools import quoted  # here: as above

        found = await self.get()
        return None if found is None else Message(role="user", content=shown(quoted(found.content, found.version)))

    async def _write(
        self,
        kind: MemoryChange,
        given: str,
        if_version: int | None,
        operation_id: str | None,
        author: str | None,
        from_messages: Sequence[str] | None = None,
        *,
        is_bare: bool = False,
    ) -> WorkingMemory:
        change = self._change(kind, given, if_version, operation_id, author, from_messages, is_bare=is_bare)
        return await write_memory(self._access, self._place, change, self._run())

    async def _write_fitting(self, change: Change) -> WorkingMemory:
        """Write what the database makes of it, if that fits the schema."""
        if self._schema is None:
            return await write_memory(self._access, self._place, change, self._run())
        async with self._access.executor.transaction() as bound:
            stored = await write_memory(Access(self._access.options, bound), self._place, change, self._run())
            if (problems := self._problems(stored.content)) is not None:
                raise MemoryRefusedError(problems)
        return stored

    def _change(
        self,
        kind: MemoryChange,
        given: str | None,
        if_version: int | None,
        operation_id: str | None,
        author: str | None,
        from_messages: Sequence[str] | None = None,
        *,
        is_bare: bool = False,
    ) -> Change:
        by = self._author if author is None else author
        sources = None
        if from_messages is not None:
            sources = list(dict.fromkeys(check_ids("from_messages", from_messages)))
            if len(sources) > MAX_SOURCES:
                raise InvalidInputError(f"from_messages has {len(sources):,} ids: name the {MAX_SOURCES:,} that matter")
        return Change(kind, given, is_bare, if_version, operation_id, by, self._max_bytes, sources).checked()

    def _run(self) -> Run:
        if self.conversation_id is not None:  # it exists, or nothing is written
            return (None, None)
        return hash_of_user(self._access.options.tables, self.user_id), Elapsed(self._began_at)

    def _problems(self, text: str) -> str | None:
        """Return why a text does not fit the schema; None if it does, or there is none."""
        if self._schema is None:
            return None
        try:
            self._schema.model_validate_json(text)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, each['loc'])) or 'all of it'}: {each['msg']}" for each in error.errors()[:10]
            )
            return f"the memory would not fit {self._schema.__name__}: {problems}"
        return None


def count_from(memory: WorkingMemoryHandle, moment: float | None) -> None:
    """
    Count the run of a handle from an earlier moment of time.monotonic(), if there is one.

    For an adapter whose caller makes a handle for each call of a tool: none of them writes if the user was deleted
    since the run began.
    """
    if moment is not None:
        memory._began_at = min(memory._began_at, moment)


def _json_object(value: object, *, only_set: bool = False) -> JsonObject:
    """Return a dict or a model as a JSON object that PostgreSQL can store."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_unset=only_set)
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"a dict or a pydantic model is needed, not {short_repr(value)}")
    checked: Any = json_value(dict(value), "the memory", for_jsonb=True)
    return dict(checked)


def _indented(value: JsonObject) -> str:
    """Return JSON as VoltAgent stores it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2)
