"""
The chat for people who sign in, on two workers behind a proxy that serves it under https://example.com/team/::

    export SESSION_SECRET=$(openssl rand -hex 32)   # the same for all workers, and after a restart
    uvicorn examples.deployed.app:app --workers 2 --root-path /team --timeout-graceful-shutdown 2

Caddyfile and nginx.conf, beside this file, are for the proxy. Without one, leave --root-path out and open
http://localhost:8000/. Needs itsdangerous for the sessions.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from secrets import compare_digest
from urllib.parse import parse_qs, urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.middleware.sessions import SessionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from voltmem import Message, PostgresStorage, chat

PASSWORDS = {"ada": "lovelace", "grace": "hopper"}  # yours has hashes of them, or an identity provider
TWO_WEEKS = 14 * 24 * 60 * 60
CHANGES_NOTHING = {"GET", "HEAD", "OPTIONS"}
FORM = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in</title>
<form method="post"><p role="alert">{problem}</p>
<p><label>Name <input name="name" autocomplete="username" required autofocus></label></p>
<p><label>Password <input name="password" type="password" autocomplete="current-password" required></label></p>
<button>Sign in</button></form></html>"""


# --- what others' pages may not do ------------------------------------------------------------------------------------


class OwnPagesOnly:
    """Refuses a request that may change something if the browser says that another site's page has sent it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_from_another_site(Request(scope)):
            await JSONResponse({"detail": "Another site's page has sent this."}, 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def is_from_another_site(request: Request) -> bool:
    if request.method in CHANGES_NOTHING:
        return False
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site not in ("same-origin", "none")  # "same-site" may be a subdomain of somebody else's
    # Over plain HTTP and in browsers before 2023 there is the Origin only; a program that is no browser sends neither.
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


# --- the application --------------------------------------------------------------------------------------------------


def signed_in(request: Request) -> str | None:
    """Return the user of the session; None: nobody is signed in."""
    return request.session.get("user")


async def count(messages: Sequence[Message]) -> AsyncIterator[str]:
    """Stand for an agent that takes its time, and say which process answers."""
    yield f"Process {os.getpid()} counts:"
    for number in range(1, 61):
        await asyncio.sleep(0.5)
        yield f" {number}"


storage = PostgresStorage(search=True, storage_limit=None)
app = FastAPI(lifespan=storage.lifespan, openapi_url=None)
app.add_middleware(OwnPagesOnly)
app.add_middleware(
    SessionMiddleware,
    secret_key=os.environ["SESSION_SECRET"],
    session_cookie="__Host-session",  # a name that browsers take over HTTPS only, and of no subdomain
    max_age=TWO_WEEKS,
    same_site="lax",
    https_only=True,
)


@app.get("/")
def start(request: Request) -> RedirectResponse:
    return to(request, "/chat/" if signed_in(request) else "/sign-in")


@app.get("/sign-in")
def form() -> HTMLResponse:
    return HTMLResponse(FORM.format(problem=""))


@app.post("/sign-in")
async def sign_in(request: Request) -> Response:
    given = parse_qs((await request.body()).decode())
    name, password = given.get("name", [""])[0], given.get("password", [""])[0]
    if not compare_digest(password.encode(), PASSWORDS.get(name, "").encode()) or name not in PASSWORDS:
        return HTMLResponse(FORM.format(problem="The name or the password is wrong."), 401)
    request.session.clear()
    request.session["user"] = name
    return to(request, "/chat/")


@app.post("/sign-out")
def sign_out(request: Request) -> RedirectResponse:
    request.session.clear()
    return to(request, "/sign-in")


@app.get("/health")
def health() -> dict[str, int]:
    return {"process": os.getpid()}


def to(request: Request, path: str) -> RedirectResponse:
    return RedirectResponse(request.scope.get("root_path", "") + path, 303)


app.mount("/chat", chat.app(storage, answer=count, user=signed_in))
