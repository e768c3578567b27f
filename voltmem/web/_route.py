"""The class of all routes: errors as problem documents, checks of origin and content type."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, ClassVar, Final
from urllib.parse import unquote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from voltmem.errors import VoltMemError
from voltmem.web._addresses import set_prefix
from voltmem.web._bodies import StrictRequest
from voltmem.web._payloads import JsonResponse
from voltmem.web._problems import problem_response

# Replaces a slash within an id. A decoded path never contains a lone surrogate.
_SLASH: Final = "\udc2f"

# With these content types a browser sends a POST to another origin without a CORS preflight request.
_SENT_UNASKED: Final = ("", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain")


class ProblemRoute(APIRoute):
    """A route whose errors are problem documents."""

    methods_of: ClassVar[dict[Callable[..., Any], set[str]]] = {}
    """The methods of each endpoint's path, in all routes."""
    path_of: ClassVar[dict[Callable[..., Any], str]] = {}
    """The path of each endpoint, without the prefix of the application's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of a request. Errors that are not for the client go on to the application."""
        answer = super().get_route_handler()
        takes_json = self.body_field is not None

        async def handle(request: Request) -> Response:
            try:
                _check_site(request)
                if takes_json:
                    _check_content_type(request)
                set_prefix(request, self.path_of[self.endpoint])
                response = await answer(StrictRequest(request.scope, request.receive, takes_json=takes_json))
                return response.with_addresses(request) if isinstance(response, JsonResponse) else response
            except (VoltMemError, HTTPException, RequestValidationError) as error:
                problem = problem_response(error)
                if problem is None:
                    raise
                return problem

        return handle

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the path as it was sent: an id in it may contain a slash, as %2F."""
        sent = scope.get("raw_path") or b""
        if b"%2f" not in sent.lower() or unquote(sent) != scope["path"]:
            return super().matches(scope)
        path = "/".join(unquote(part).replace("/", _SLASH) for part in sent.split(b"/"))
        match, found = super().matches({**scope, "path": path})
        if match is not Match.NONE:
            parameters = found["path_params"].items()
            found["path_params"] = {name: str(value).replace(_SLASH, "/") for name, value in parameters}
        return match, found

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. For a wrong method the response says which methods the path has."""
        if scope["method"] in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        allowed = ", ".join(sorted(self.methods_of[self.endpoint]))
        response = problem_response(HTTPException(405, f"Use {allowed}.", {"Allow": allowed}))
        assert response is not None
        await response(scope, receive, send)


def record_methods(routes: Iterable[BaseRoute]) -> None:
    """Record for each route its path, and which methods that has."""
    methods: dict[str, set[str]] = {}
    for route in routes:
        if isinstance(route, ProblemRoute):
            of_path = methods.setdefault(route.path, set())
            of_path |= route.methods or set()
            ProblemRoute.methods_of[route.endpoint] = of_path
            ProblemRoute.path_of[route.endpoint] = route.path


def _check_site(request: Request) -> None:
    """Refuse a POST from another site's page that the browser sent without a CORS preflight request."""
    if request.method == "POST" and media_type(request) in _SENT_UNASKED and _is_from_another_site(request.headers):
        raise HTTPException(403, "A POST from another site must have the content type application/json.")


def _is_from_another_site(headers: Headers) -> bool:
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site in ("cross-site", "same-site")
    # Over plain HTTP browsers send no Sec-Fetch-Site. Only browsers send an Origin.
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def media_type(request: Request) -> str:
    """Return the content type without parameters; empty if there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _check_content_type(request: Request) -> None:
    given = media_type(request)
    if not given:
        return
    type, _, subtype = given.partition("/")
    if type != "application" or not (subtype == "json" or subtype.endswith("+json")):
        raise HTTPException(415, "The body must be application/json.")
