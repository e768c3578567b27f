"""A verb is defined in its area, with one line for for_user(); everything else finds it."""

from __future__ import annotations

import inspect
import re

import pytest

from tests import calls
from tests.calls import Rows, call, call_as
from tests.conftest import Connection
from tests.public_api import public_api
from tests.typing import stubs
from voltmem import ANY_USER, ConversationItem, ConversationNotFoundError, PostgresStorage, UserStorage, _user
from voltmem._areas.sidebar import Sidebar
from voltmem.models import Owner


class _Added(Sidebar):
    async def star_conversation(
        self, conversation_id: str, pinned: bool = True, *, title: str = "*", owner: Owner = ANY_USER
    ) -> ConversationItem:
        """
        Pin a conversation under a title.

        Args:
            conversation_id: Which one.
            pinned: Whether it is pinned.
            title: What it is called.
            owner: Only if it is this user's; what follows it
                is about the owner, too.
        """
        await self.rename_conversation(conversation_id, title, owner=owner)
        return await self.pin_conversation(conversation_id, pinned, owner=owner)

    async def colour_conversation(self, conversation_id: str, colour: str) -> None: ...


@pytest.fixture
def _new_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a verb as a developer would: its method, and its line in _user.py."""
    monkeypatch.setattr(Sidebar, "star_conversation", _Added.star_conversation, raising=False)
    monkeypatch.setattr(UserStorage, "star_conversation", _user.own(_Added.star_conversation), raising=False)


@pytest.fixture
async def seeded(storage: PostgresStorage, connection: Connection, schema: str) -> PostgresStorage:
    await Rows(connection, schema).seed()
    return storage


@pytest.mark.usefixtures("_new_verb")
async def test_a_verb_that_is_added_works_at_once(seeded: PostgresStorage) -> None:
    """A new verb is in the storage, and in for_user() without its owner, where it finds nothing of other users."""
    starred = await call(seeded, "star_conversation")
    assert isinstance(starred, ConversationItem)
    assert (starred.id, starred.pinned, starred.title) == ("c1", True, "Changed")

    unstarred = await call_as(seeded.for_user("ada"), "star_conversation", pinned=False)
    assert isinstance(unstarred, ConversationItem)
    assert unstarred.pinned is False
    with pytest.raises(ConversationNotFoundError):
        await call_as(seeded.for_user("bob"), "star_conversation")
    with pytest.raises(TypeError, match="takes no owner"):
        await call_as(seeded.for_user("bob"), "star_conversation", owner="ada")


@pytest.mark.usefixtures("_new_verb")
def test_a_verb_that_is_added_is_found_by_the_tests() -> None:
    """The tests of all verbs call a new verb, as a write, on the storage and for a user, with valid arguments."""
    assert "star_conversation" in calls.verbs()
    assert "star_conversation" in calls.user_verbs()
    assert calls.verb_of("star_conversation") == "star_conversation"
    assert not "star_conversation".startswith(calls.READING)
    assert calls.arguments("star_conversation") == {
        "conversation_id": "c1",
        "owner": "ada",
        "pinned": True,
        "title": "Changed",
    }


def test_a_parameter_that_no_verb_had_asks_for_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a parameter with a new name needs a line in the tests, and the error says where."""
    monkeypatch.setattr(Sidebar, "colour_conversation", _Added.colour_conversation, raising=False)

    with pytest.raises(LookupError, match=r"add \{'colour'\} to VALUES in .*calls\.py"):
        calls.arguments("colour_conversation")


@pytest.mark.usefixtures("_new_verb")
def test_a_verb_that_is_added_is_written_into_the_stub_and_the_public_api() -> None:
    """A new verb is in the stub and in the public API, with signature and docstring; for a user without the owner."""
    parameters = 'conversation_id: str, pinned: bool = True, *, title: str = "*"'
    stub, lines = stubs.made(_user), public_api()

    line = f"async def star_conversation(self, {parameters}) -> ConversationItem:"
    assert re.sub(r"\s", "", line) in re.sub(r"\s", "", stub).replace(",)", ")")
    assert '            title: What it is called.\n        """' in stub
    parameters = parameters.replace('"', "'")
    returned = "-> ConversationItem"
    assert f"async def voltmem.UserStorage.star_conversation({parameters}) {returned}" in lines
    assert f"async def voltmem.Storage.star_conversation({parameters}, owner: Owner = {ANY_USER!r}) {returned}" in lines


def test_the_exceptions_of_the_tests_are_about_verbs_that_are_there() -> None:
    """Every exception listed in tests/calls.py is about an existing verb."""
    of_areas = {name for name in calls.public_methods(PostgresStorage) if calls.is_of_an_area(name)}
    used = {parameter for name in calls.VERBS for parameter in calls.parameters(PostgresStorage, name)}

    assert calls.NO_VERBS.keys() <= of_areas
    assert calls.OTHERWISE.keys() | calls.ROUND_TRIPS.keys() | calls.PUBLIC <= set(calls.VERBS)
    assert calls.NOT_REPEATED <= calls.WRITES
    assert calls.VALUES.keys() <= used
    for name, otherwise in calls.OTHERWISE.items():
        assert otherwise.keys() <= calls.parameters(PostgresStorage, name)
        assert [each for each in otherwise if each in calls.VALUES and otherwise[each] == calls.VALUES[each]] == []


def test_a_verb_is_documented_for_users_of_the_view() -> None:
    """No docstring of for_user() explains a parameter that it lacks, or mentions other users' data."""
    for name in calls.user_verbs():
        documented = inspect.getdoc(getattr(UserStorage, name)) or ""
        assert documented, name
        assert "    owner:" not in documented, name
        assert "    user_id:" not in documented, name
        assert "all users" not in documented, name
