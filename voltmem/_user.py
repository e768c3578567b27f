"""The view of a storage for one user: the storage's verbs with the user filled in."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from voltmem._agents.compact_when import CompactWhen
from voltmem._agents.memory import ConversationMemory
from voltmem._agents.working_memory import WorkingMemoryHandle
from voltmem._areas.area import Access, access, async_context
from voltmem._areas.branches import Branches
from voltmem._areas.changes import Changes
from voltmem._areas.conversations import Conversations
from voltmem._areas.files import Files
from voltmem._areas.forgetting import Forgetting
from voltmem._areas.forks import Forks
from voltmem._areas.history.entries import AgentHistory
from voltmem._areas.leases import Leases
from voltmem._areas.messages import Messages
from voltmem._areas.pruning import Pruning
from voltmem._areas.recall import Recalling
from voltmem._areas.search import Search
from voltmem._areas.sessions import open_session
from voltmem._areas.shares import Shares
from voltmem._areas.sidebar import Sidebar
from voltmem._areas.tags import Tags
from voltmem._areas.transfer.exports import Exports
from voltmem._areas.transfer.imports import Imports
from voltmem._areas.users import Users
from voltmem._areas.working_memory import MAX_MEMORY_BYTES, MemorySchema, WorkingMemories
from voltmem._postgres.driver import Connection
from voltmem._repr import safe_repr
from voltmem._values import check_user, short_repr
from voltmem.errors import InvalidInputError
from voltmem.models import Conversation, ConversationLike
from voltmem.options import DEFAULT_RESOURCE_ID

if TYPE_CHECKING:
    from voltmem.storage import Storage

# The parameters that name a user. The view passes its user as the first one that a verb has; its own verbs have none.
_USER_PARAMETERS: Final = ("owner", "user_id")


def own(verb: Callable[..., Any]) -> Callable[..., Any]:
    """
    Return the method of UserStorage that calls a verb of the storage, with the view's user as owner or user_id.

    It has the verb's name, docstring and signature, without the parameters that name a user: otherwise
    update_conversation(user_id=…) could give a conversation to another user. It calls the verb by name, so that a
    subclass of the storage can override it.
    """
    signature = inspect.signature(verb)
    hidden = [name for name in _USER_PARAMETERS if name in signature.parameters]
    filled, name = signature.parameters[hidden[0]], verb.__name__
    # The index among the positional arguments without self; None for a keyword-only parameter.
    place = None if filled.kind is filled.KEYWORD_ONLY else list(signature.parameters).index(filled.name) - 1

    visible = [each for each in signature.parameters.values() if each.name not in hidden]
    most = sum(each.kind is each.POSITIONAL_OR_KEYWORD for each in visible) - 1  # without self

    def call(view: UserStorage, arguments: tuple[object, ...], named: dict[str, object]) -> Any:
        for parameter in hidden:
            if parameter in named:
                raise TypeError(f"{name}() of for_user() takes no {parameter}: it works for {view!r}. Leave it out.")
        if len(arguments) > most:
            raise TypeError(
                f"{name}() of for_user() takes at most {most} positional arguments, not {len(arguments)}: it works for "
                f"{view!r}. Leave the user out."
            )
        if place is not None and len(arguments) > place:
            arguments = (*arguments[:place], view.user_id, *arguments[place:])
        else:
            named[filled.name] = view.user_id
        return getattr(view._storage, name)(*arguments, **named)

    def called(self: UserStorage, *arguments: object, **named: object) -> Any:
        return call(self, arguments, named)

    async def awaited(self: UserStorage, *arguments: object, **named: object) -> Any:
        return await call(self, arguments, named)

    method: Callable[..., Any] = awaited if inspect.iscoroutinefunction(verb) else called
    functools.update_wrapper(method, verb)
    method.__signature__ = signature.replace(parameters=visible)  # type: ignore[attr-defined]
    method.__annotations__ = {key: kind for key, kind in verb.__annotations__.items() if key not in hidden}
    method.__qualname__ = f"UserStorage.{name}"
    method.__doc__ = _without_arguments(inspect.getdoc(verb) or "", hidden)
    return method


def _without_arguments(docstring: str, names: list[str]) -> str:
    """Return a docstring without its lines about the arguments with these names."""
    text = re.sub(rf"^    (?:{'|'.join(names)}): .*\n?(?:     .*\n?)*", "", docstring, flags=re.MULTILINE)
    return re.sub(r"^Args:\n(?!    )\n*", "", text, flags=re.MULTILINE).rstrip()


class UserStorage:
    """
    The view that ``storage.for_user("ada")`` returns: the storage's verbs, for this user's data only.

    Each statement checks the owner itself. Another user's conversation does not exist here: the result is None, an
    empty list, False, 0, or ConversationNotFoundError.
    """

    def __init__(self, storage: Storage, user_id: str) -> None:
        check_user("user_id", user_id, "for_user() is the view of one user")
        self._storage = storage
        self._user_id = user_id

    @property
    def user_id(self) -> str:
        """The user."""
        return self._user_id

    @safe_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._user_id!r} of {self._storage!r}>"

    @async_context
    async def transaction(self) -> AsyncIterator[UserStorage]:
        """Run all calls of the block in one transaction: committed at its end, rolled back if it raises."""
        async with self._storage.transaction() as transaction:
            yield UserStorage(transaction, self._user_id)

    @async_context
    async def session(self) -> AsyncIterator[Connection]:
        """
        Run the application's own SQL in a transaction that sees this user's rows of voltmem's tables only.

        ::

            async with storage.for_user("ada").session() as connection:
                await connection.fetch("SELECT id, title FROM voltagent_memory_conversations")  # ada's only

        Yields an asyncpg connection of the pool, within a transaction: committed at the end of the block, rolled back
        if it raises. Row-level security hides other users' rows from it, and refuses to write such rows. This guards
        against a forgotten WHERE, and not against someone who sends SQL of their own: a statement can set another user,
        or take back the role.

        The transaction has the session role of ``python -m voltmem sql --roles``, whose SQL has to be run first. The
        application's own tables must be granted to that role, and need policies of their own, which may use the setting
        ``voltmem.rls_user``.

        Raises:
            SchemaError: The policies are not there, or a table that the session could use has none; or the tables are
                distributed by Citus.
            DatabaseError: The login is not a member of the application role, or the view is of a transaction.

        Costs four round trips, besides those of the block. The verbs take no part in it.
        """
        async with open_session(access(self._storage), self._user_id) as connection:
            yield connection

    # --- conversations ----------------------------------------------------------------------------------------

    async def create_conversation(self, conversation: ConversationLike) -> Conversation:
        """Create a conversation. Returns it as stored. user_id is optional."""
        return await self._storage.create_conversation(self._with_user(conversation))

    async def ensure_conversation(self, conversation: ConversationLike) -> Conversation:
        """Create a conversation unless its id exists. Returns the existing or the new one. user_id is optional."""
        return await self._storage.ensure_conversation(self._with_user(conversation))

    def _with_user(self, conversation: ConversationLike) -> Mapping[str, object]:
        """Return the conversation's fields with this user's id; InvalidInputError if they name another user."""
        if isinstance(conversation, Conversation):
            fields = conversation.model_dump(include=conversation.model_fields_set | {"id"})
        elif isinstance(conversation, Mapping):
            fields = dict(conversation)
        else:
            raise InvalidInputError(f"a dict or Conversation is needed, not {short_repr(conversation)}")
        for name in ("user_id", "userId"):
            if (named := fields.pop(name, None)) not in (None, self._user_id):
                raise InvalidInputError(
                    f"the conversation names user {short_repr(named)}, but this is for_user({self._user_id!r}): leave "
                    f"{name} out"
                )
        return {**fields, "user_id": self._user_id}

    get_conversation = own(Conversations.get_user_conversation)
    update_conversation = own(Conversations.update_conversation)
    merge_conversation_metadata = own(Conversations.merge_conversation_metadata)
    delete_conversation = own(Conversations.delete_conversation)
    query_conversations = own(Conversations.query_conversations)
    count_conversations = own(Conversations.count_conversations)
    get_paginated_conversations = own(Conversations.get_paginated_user_conversations)
    get_conversations = own(Conversations.get_user_conversations)
    get_last_conversation = own(Conversations.get_last_conversation)

    # --- messages ---------------------------------------------------------------------------------------------

    def conversation(
        self,
        conversation_id: str | None = None,
        *,
        resource_id: str = DEFAULT_RESOURCE_ID,
        compact_when: CompactWhen | None = None,
    ) -> ConversationMemory:
        """Return a handle on one conversation, for an agent to keep as its memory; conversation_id None: a new one."""
        return self._storage.conversation(
            self._user_id, conversation_id, resource_id=resource_id, compact_when=compact_when
        )

    add_message = own(Messages.add_message)
    add_messages = own(Messages.add_messages)
    merge_message_metadata = own(Messages.merge_message_metadata)
    get_message = own(Messages.get_message)
    get_messages = own(Messages.get_messages)
    count_messages = own(Messages.count_messages)
    get_conversation_messages = own(Messages.get_conversation_messages)
    rewind_conversation = own(Messages.rewind_conversation)
    delete_messages = own(Messages.delete_messages)
    clear_messages = own(Messages.clear_messages)

    # --- the working memory -----------------------------------------------------------------------------------

    def working_memory(
        self,
        conversation_id: str | None = None,
        *,
        template: str | None = None,
        schema: MemorySchema | None = None,
        max_bytes: int = MAX_MEMORY_BYTES,
        author: str | None = None,
    ) -> WorkingMemoryHandle:
        """Return a handle on the working memory of the user, or of a conversation; arguments as in the storage's."""
        return self._storage.working_memory(
            self._user_id, conversation_id, template=template, schema=schema, max_bytes=max_bytes, author=author
        )

    get_working_memory = own(WorkingMemories.get_working_memory)
    set_working_memory = own(WorkingMemories.set_working_memory)
    delete_working_memory = own(WorkingMemories.delete_working_memory)

    # --- branches ---------------------------------------------------------------------------------------------

    branch_conversation = own(Branches.branch_conversation)
    choose_branch = own(Branches.choose_branch)
    list_branches = own(Branches.list_branches)
    list_siblings = own(Branches.list_siblings)

    # --- the sidebar ------------------------------------------------------------------------------------------

    list_conversations = own(Sidebar.list_conversations)
    get_conversation_item = own(Sidebar.get_conversation_item)
    rename_conversation = own(Sidebar.rename_conversation)
    pin_conversation = own(Sidebar.pin_conversation)
    archive_conversation = own(Sidebar.archive_conversation)
    tag_conversation = own(Sidebar.tag_conversation)
    mark_conversation_read = own(Sidebar.mark_conversation_read)
    soft_delete_conversation = own(Sidebar.soft_delete_conversation)
    restore_conversation = own(Sidebar.restore_conversation)
    list_deleted_conversations = own(Sidebar.list_deleted_conversations)
    purge_deleted_conversations = own(Sidebar.purge_deleted_conversations)
    list_tags = own(Tags.list_tags)
    replace_tag = own(Tags.replace_tag)
    prune = own(Pruning.prune)
    forget = own(Forgetting.forget)
    fork_conversation = own(Forks.fork_conversation)
    search = own(Search.search)
    recall = own(Recalling.recall)
    watch = own(Changes.watch)

    # --- the agent history ------------------------------------------------------------------------------------

    # Without the other verbs, whose keys belong to no user.
    delete_history_entry = own(AgentHistory.delete_history_entry)
    # --- files ------------------------------------------------------------------------------------------------

    put_file = own(Files.put_file)
    get_file = own(Files.get_file)
    read_file = own(Files.read_file)
    delete_file = own(Files.delete_file)
    purge_unused_files = own(Files.purge_unused_files)

    # --- public links -----------------------------------------------------------------------------------------

    # Without get_shared_conversation(), which needs no user.
    share_conversation = own(Shares.share_conversation)
    list_shares = own(Shares.list_shares)
    revoke_share = own(Shares.revoke_share)

    # --- leases -----------------------------------------------------------------------------------------------

    lease = own(Leases.lease)
    get_lease = own(Leases.get_lease)
    stop_lease = own(Leases.stop_lease)
    confirm_lease = own(Leases.confirm_lease)

    # --- all of the user's data -------------------------------------------------------------------------------

    export_user = own(Exports.export_user)
    import_user = own(Imports.import_user)
    import_conversations = own(Imports.import_conversations)
    delete_user = own(Users.delete_user)
    get_usage = own(Users.get_usage)


def access_of(view: UserStorage) -> Access:
    """Return the access of a view, for code outside of the areas. Its statements check the user themselves."""
    return access(view._storage)
