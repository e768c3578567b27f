"""for_user() has the storage's verbs for one user; callers cannot pass another user."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.calls import PUBLIC, VERBS, arguments, parameters, public_methods, user_verbs, verb_of
from tests.typing import stubs
from voltmem import Conversation, InvalidInputError, PostgresStorage, Storage, UserStorage, _user

USER_PARAMETERS = {"owner", "user_id"}
# Verbs of a user that for_user() does not have.
NOT_OF_THE_VIEW = {
    "get_conversations_by_user_id": "query_conversations() is the same, once the user is known",
    "list_history_entries": "the history is for trusted code: its keys belong to no user",
}
# Methods of the view that do more than fill in the user.
MORE_THAN_A_VERB = {
    "conversation",
    "create_conversation",
    "ensure_conversation",
    "session",
    "transaction",
    "working_memory",
}
FILLED_IN = sorted(public_methods(UserStorage) - MORE_THAN_A_VERB)


async def called(name: str, *given: object, **named: object) -> dict[str, object]:
    """Return the arguments of the storage's verb, by parameter, when ada's view is called like this."""
    verb = getattr(PostgresStorage, verb_of(name))

    def overriding(*given: object, **named: object) -> dict[str, object]:
        return dict(inspect.signature(verb).bind("self", *given, **named).arguments)

    async def awaited(*given: object, **named: object) -> dict[str, object]:
        return overriding(*given, **named)

    override = awaited if inspect.iscoroutinefunction(verb) else overriding
    view: Any = UserStorage(cast(Storage, SimpleNamespace(**{verb.__name__: override})), "ada")
    answer = getattr(view, name)(*given, **named)
    found: dict[str, object] = await answer if inspect.isawaitable(answer) else answer
    return {key: value for key, value in found.items() if key != "self"}


def values(name: str) -> dict[str, object]:
    """Return a value for each parameter of the view's method, in order."""
    names = [each for each in inspect.signature(getattr(UserStorage, name)).parameters if each != "self"]
    return {each: f"a value for {each}" for each in names}


@pytest.mark.parametrize("name", FILLED_IN)
async def test_for_user_fills_in_the_user_of_a_verb(name: str) -> None:
    """for_user() calls the storage's verb with the user as owner, or else as user_id, and all other arguments."""
    given = values(name)
    filled = "owner" if "owner" in parameters(PostgresStorage, verb_of(name)) else "user_id"

    assert await called(name, **given) == {**given, filled: "ada"}


@pytest.mark.parametrize("name", FILLED_IN)
async def test_for_user_takes_arguments_by_position_where_the_verb_does(name: str) -> None:
    """Positional arguments of for_user() are shifted by the omitted user, whatever their number."""
    kinds = inspect.signature(getattr(UserStorage, name)).parameters
    given = values(name)
    positional = [each for each in given if kinds[each].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    by_name = await called(name, **given)

    for count in range(len(positional) + 1):
        named = {key: value for key, value in given.items() if key not in positional[:count]}
        assert await called(name, *(given[each] for each in positional[:count]), **named) == by_name


@pytest.mark.parametrize("name", FILLED_IN)
async def test_for_user_refuses_a_user(name: str) -> None:
    """for_user() refuses owner and user_id, by name or as one more positional argument."""
    given = values(name)

    for parameter in USER_PARAMETERS:
        with pytest.raises(TypeError, match=parameter):
            await called(name, **given, **{parameter: "bob"})
    with pytest.raises(TypeError, match=r"takes at most \d positional arguments, not \d.*Leave the user out"):
        await called(name, *given.values(), "bob")


@pytest.mark.parametrize("name", FILLED_IN)
def test_for_user_has_the_signature_of_the_verb(name: str) -> None:
    """for_user() has the verb's signature, type hints and docstring without the parameter of the user."""
    method, verb = getattr(UserStorage, name), getattr(PostgresStorage, verb_of(name))
    expected = inspect.signature(verb)
    shown = [each for each in expected.parameters.values() if each.name not in USER_PARAMETERS]

    assert inspect.signature(method) == expected.replace(parameters=shown)
    assert inspect.get_annotations(method).keys() == inspect.get_annotations(verb).keys() - USER_PARAMETERS
    assert inspect.iscoroutinefunction(method) == inspect.iscoroutinefunction(verb)
    documented, of_verb = (inspect.getdoc(each) or "" for each in (method, verb))
    assert [line for line in of_verb.splitlines() if line not in documented.splitlines()] == [
        line for line in of_verb.splitlines() if line.strip().startswith(("owner:", "user_id:"))
    ] + (["Args:"] if "Args:" in of_verb and "Args:" not in documented else [])


def test_for_user_has_every_verb_for_users() -> None:
    """for_user() has every verb with a user, with a few exceptions, without its user, and no other verbs."""
    of_users = {name for name in VERBS if parameters(PostgresStorage, name) & USER_PARAMETERS}
    of_the_view = {verb_of(name) for name in user_verbs()} - MORE_THAN_A_VERB

    assert of_the_view == of_users - NOT_OF_THE_VIEW.keys()
    assert NOT_OF_THE_VIEW.keys() <= of_users
    assert not PUBLIC & of_the_view
    assert not [name for name in FILLED_IN if parameters(UserStorage, name) & USER_PARAMETERS]


async def test_for_user_calls_what_a_subclass_overrides(dsn: str, schema: str) -> None:
    """for_user() calls the overridden verbs of a subclass of the storage."""

    class Shouting(PostgresStorage):
        async def get_user_conversation(self, conversation_id: str, user_id: str) -> Conversation | None:
            return Conversation(id=conversation_id, user_id=user_id, title="OVERRIDDEN")

    view = Shouting(dsn, schema=schema).for_user("ada")

    found = await view.get_conversation("c1")
    assert found is not None
    assert (found.user_id, found.title) == ("ada", "OVERRIDDEN")


@pytest.mark.parametrize("user", ["bob", ["ada"], {"ada": 1}, 7, ""])
@pytest.mark.parametrize("spelling", ["user_id", "userId"])
async def test_for_user_refuses_a_conversation_of_another_user(
    user: object, spelling: str, storage: PostgresStorage
) -> None:
    """for_user() refuses a conversation whose user is not its own, whatever the value is."""
    ada = storage.for_user("ada")
    for create in (ada.create_conversation, ada.ensure_conversation):
        with pytest.raises(InvalidInputError, match=f"leave {spelling} out"):
            await create({spelling: user})

    assert (await ada.create_conversation({spelling: "ada"})).user_id == "ada"
    assert (await ada.create_conversation({spelling: None})).user_id == "ada"


async def test_for_user_takes_part_in_a_transaction(storage: PostgresStorage) -> None:
    """for_user() has transaction(), which yields a view of the same user; a rollback undoes its calls."""
    ada = storage.for_user("ada")
    with pytest.raises(InvalidInputError):
        async with ada.transaction() as tx:
            assert tx.user_id == "ada"
            await tx.create_conversation({"id": "c1"})
            raise InvalidInputError("undo")

    assert await ada.get_conversation("c1") is None


def test_the_stub_of_for_user_is_the_one_that_is_made() -> None:
    """The stub of for_user() has the signatures of the code."""
    written = stubs.FILES[_user].read_text(encoding="utf-8")

    assert written == stubs.made(_user), "python -m tests.typing.stubs"


def test_good_arguments_exist_for_each_verb() -> None:
    """Each verb has valid arguments for the tests of all verbs."""
    for name in VERBS:
        assert arguments(name).keys() == parameters(PostgresStorage, name)
