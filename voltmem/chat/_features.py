"""What an application may switch off, and which routes each feature has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, get_args

from fastapi import Depends, HTTPException, Request

from voltmem._values import JsonObject, short_repr
from voltmem.errors import InvalidOptionError
from voltmem.parts import File, parts
from voltmem.parts._types import object_of, objects
from voltmem.web._bodies import StrictRequest, read_body
from voltmem.web._route import ProblemRoute

Feature: TypeAlias = Literal[
    "archive", "branches", "deletion", "export", "feedback", "folders", "forks", "search", "sharing", "trash"
]
"""
What without= switches off.

- ``"archive"``: archived conversations.
- ``"branches"``: editing a question, answering it again, and the versions that this makes. A question whose answer
  failed, was stopped or never came can still be asked again.
- ``"deletion"``: deleting conversations, with the trash; over HTTP also messages, and all of the user's data.
- ``"export"``: saving conversations as files, and printing them whole; over HTTP also reading them again.
- ``"feedback"``: rating answers.
- ``"folders"``: what is in one is listed by its date.
- ``"forks"``: copies of a conversation from one of its messages on.
- ``"search"``: in the sidebar and in the palette.
- ``"sharing"``: public links. Those that were made lead nowhere.
- ``"trash"``: what is deleted can be restored right after that only, with Undo.
"""
_NAMES: Final[tuple[Feature, ...]] = get_args(Feature)

ROUTES: Final[Mapping[str, Sequence[str]]] = {
    "archive": ("POST /conversations/{conversationId}/archive", "PATCH /conversations/{conversationId} archived"),
    "branches": (
        "GET /conversations/{conversationId}/branches",
        "POST /conversations/{conversationId}/branch",
        "GET /conversations/{conversationId}/messages/{messageId}/siblings",
        "POST /conversations/{conversationId}/messages/{messageId}/choose",
        "POST /chat parentId",
        "POST /conversations/{conversationId}/ui-messages rewind",
        "PUT /conversations/{conversationId}/history/{messageId} parent_id",
    ),
    "deletion": (
        "DELETE /conversations/{conversationId}",
        "POST /conversations/{conversationId}/restore",
        "DELETE /conversations/{conversationId}/messages/{messageId}",
        "POST /conversations/{conversationId}/rewind",
        "DELETE /me",
    ),
    "export": ("GET /export", "POST /import"),
    "feedback": (
        "PUT /chat/{conversation_id}/answers/{answer_id}/feedback",
        "PATCH /conversations/{conversationId}/messages/{messageId} mergeMetadata",
        "POST /conversations/{conversationId}/messages metadata",
        "POST /conversations/{conversationId}/ui-messages metadata",
        "PUT /conversations/{conversationId}/history/{messageId} metadata",
    ),
    "folders": ("PATCH /tags", "PATCH /conversations/{conversationId} tags"),
    "forks": ("POST /conversations/{conversationId}/fork",),
    "search": ("GET /search", "GET /recall"),
    "sharing": (
        "POST /conversations/{conversationId}/share",
        "GET /conversations/{conversationId}/shares",
        "DELETE /shares/{token}",
        "GET /shared/{token}",
        "GET /shared/{token}/files/{fileId}",
        "HEAD /shared/{token}/files/{fileId}",
    ),
    "trash": ("GET /deleted", "DELETE /deleted", "DELETE /deleted/{conversationId}"),
    "uploads": (  # switched off by uploads=()
        "POST /files",
        "POST /import",
        "POST /conversations/{conversationId}/messages content",
        "POST /conversations/{conversationId}/ui-messages parts",
        "PUT /conversations/{conversationId}/history/{messageId} content",
    ),
}
"""The routes of each feature. A third word is a field of the body: without it, the route has nothing to do with it."""


def _has_file(body: JsonObject) -> bool:
    """Return whether a message of the body has a file, in whichever form. An answer may have some."""
    given = [each for each in _messages(body) if each.get("role") != "assistant"]
    return any(isinstance(part, File) for each in given for part in parts(each))


def _has_rating(body: JsonObject) -> bool:
    """Return whether a message of the body has one in its metadata; assistant-ui has ours in "custom"."""
    found = [object_of(each, "metadata") for each in _messages(body)]
    return any("feedback" in each or "feedback" in object_of(each, "custom") for each in found)


def _messages(body: JsonObject) -> Sequence[JsonObject]:
    """Return what may be a message: several, the body, and its content, which is one in a front end's history."""
    return [*objects(body.get("messages")), body, object_of(body, "content")]


def _has_folder(body: JsonObject) -> bool:
    tags = body.get("tags")
    return isinstance(tags, list) and any(isinstance(each, str) and each.startswith("folder:") for each in tags)


_USES: Final[Mapping[str, Callable[[JsonObject], bool]]] = {
    "content": _has_file,
    "mergeMetadata": lambda body: "feedback" in object_of(body, "mergeMetadata"),
    "metadata": _has_rating,
    "parts": _has_file,
    "tags": _has_folder,
}
"""By the name of a field that belongs to a feature with some values only: whether a body has one of these."""


def _uses(body: JsonObject, field: str) -> bool:
    return _USES[field](body) if field in _USES else field in body


def check_features(names: object) -> frozenset[str]:
    """Return what is switched off; InvalidOptionError for what is no feature."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidOptionError(f"without {short_repr(names)}: use a list of features, such as ['sharing']")
    found = set[str]()
    for name in names:
        if name not in _NAMES:
            raise InvalidOptionError(f"without has {short_repr(name)}: use {', '.join(_NAMES)}")
        found.add(name)
    return frozenset(found | ({"trash"} if "deletion" in found else set()))


class Closed:
    """
    The routes of what is switched off.

    Args:
        features: What is switched off.
    """

    def __init__(self, features: Iterable[str]) -> None:
        self._routes: dict[str, str] = {}
        self._fields: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for feature in features:
            for route in ROUTES[feature]:
                method, path, *field = route.split(" ")
                if field:
                    self._fields[f"{method} {path}"].append((field[0], feature))
                else:
                    self._routes[f"{method} {path}"] = feature

    async def check_route(self, request: Request) -> None:
        """Raise HTTPException 404 for a route that is closed. A dependency of all of them."""
        if (feature := self._routes.get(_name(request))) is not None:
            raise HTTPException(404, _without(feature))

    def signed_in(self, user: Any) -> Any:
        """
        Return a dependency in the place of *user*, which also raises HTTPException 403 for a field that is closed.

        It reads the body, so it comes after sign-in.
        """
        if not self._fields or not callable(user):  # which the routes refuse
            return user

        async def signed_in(request: Request, user_id: object = Depends(user)) -> object:
            closed = self._fields.get(_name(request))
            if closed is not None and user_id and isinstance(request, StrictRequest):
                await read_body(request)
                given = None if request.later is None else request.later.value
                used = [] if not isinstance(given, dict) else [each for each in closed if _uses(given, each[0])]
                if used:
                    raise HTTPException(403, _without(used[0][1]))
            return user_id

        return signed_in


def _name(request: Request) -> str:
    return f"{request.method} {ProblemRoute.path_of.get(request.scope['route'].endpoint)}"


def _without(feature: str) -> str:
    return f"This chat is without {feature}."
