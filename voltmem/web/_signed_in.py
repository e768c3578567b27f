"""The user of a request, from the application's dependency; nothing in the request itself is trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias, cast

from fastapi import Depends, HTTPException, Request

from voltmem._user import UserStorage
from voltmem._values import short_repr
from voltmem.errors import InvalidInputError, InvalidOptionError
from voltmem.storage import Storage
from voltmem.web._bodies import StrictRequest, read_body
from voltmem.web._streams import Cap

_KEY: Final = "voltmem.user"
_STORAGE: Final = "voltmem.storage"
_LIMITS: Final = "voltmem.limits"
# What nobody guesses: 16 characters of the AI SDK's generateId() have 95 bits.
LONG_ID: Final = 16


@dataclass(frozen=True)
class Limits:
    """What a user may do at most, and all users in this process."""

    max_file_bytes: int
    events: Cap
    exports: Cap
    imports: Cap
    shortest_id: int
    """Of a conversation, if the client chooses it."""

    def check_chosen(self, id: str | None) -> None:
        """Raise InvalidInputError for an id of a client's that others may guess."""
        if id is not None:
            check_chosen_id(id, self.shortest_id)


def check_chosen_id(id: str, shortest: int = LONG_ID) -> None:
    """Raise InvalidInputError for an id of a client's that has fewer characters: others may guess it, and take it."""
    if len(id) < shortest:
        raise InvalidInputError(
            f"id {short_repr(id)} has fewer than {shortest} characters: leave it out, or take a random one"
        )


class WrongUserError(InvalidOptionError):
    """The application's dependency returned something else than the id of a user."""


def sign_in(storage: Storage, user: Callable[..., Any], limits: Limits | None = None) -> Callable[..., Any]:
    """Make the dependency of every route: it asks the application's dependency who the user is."""

    async def signed_in(request: Request, user_id: object = Depends(user)) -> None:
        if user_id is None or user_id == "":  # an empty session, an empty header
            raise HTTPException(401, "Nobody is signed in.")
        if not isinstance(user_id, str):
            raise WrongUserError(
                f"the dependency user= returned {short_repr(user_id)}, which is no string: return the id as a string, "
                "as in str(user.id)"
            )
        request.scope[_KEY] = storage.for_user(user_id)
        request.scope[_LIMITS] = limits

    return signed_in


async def read_when_signed_in(request: Request) -> None:
    """Read the body of a request, unless the application's dependency refused it."""
    if _KEY in request.scope and isinstance(request, StrictRequest):
        await read_body(request)


async def _mine(request: Request) -> UserStorage | None:
    # None if the application's dependency refused the request; then no route is called.
    return request.scope.get(_KEY)


Mine: TypeAlias = Annotated[UserStorage, Depends(_mine)]
"""The storage of the signed-in user: the only one that a route for a user's data can reach."""


async def _limits(request: Request) -> Limits | None:
    return request.scope.get(_LIMITS)  # None: as above


OwnLimits: TypeAlias = Annotated[Limits, Depends(_limits)]
"""The limits of the application's routes."""


def open_to_all(storage: Storage) -> Callable[..., Any]:
    """Make the dependency of the routes that need no sign-in."""

    async def opened(request: Request) -> None:
        request.scope[_STORAGE] = storage

    return opened


async def _anybodys(request: Request) -> Storage:
    return cast(Storage, request.scope[_STORAGE])


Anybodys: TypeAlias = Annotated[Storage, Depends(_anybodys)]
"""The whole storage, for what anybody may read."""
