"""Guards the web page: who may have which file, how much may be sent, and that no browser asks any other server."""

import json
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from app.web.store import Store

COOKIE = "defusionpp"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_UPLOAD = "/gradio_api/upload"
_FILE = re.compile(r"^/gradio_api/file[=/](.*)$", re.DOTALL)
_CLOSED = ("/gradio_api/proxy=", "/gradio_api/process_recording")  # Gradio's: other servers' files, video

# The browser itself refuses whatever is not on this page's server.
_POLICY = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
           "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'self'")
_HEADERS = [(b"content-security-policy", _POLICY.encode()), (b"referrer-policy", b"no-referrer"),
            (b"x-content-type-options", b"nosniff")]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Shield:
    """ASGI middleware.

    Every browser gets a random cookie. Files that it uploads, and results made for it, are given to it alone.

    Args:
        app: the page.
        store: owners of the files.
        max_bytes: size of the largest request.
    """

    def __init__(self, app: App, store: Store, max_bytes: int) -> None:
        self.app, self.store, self.max_bytes = app, store, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        owner = owner_of(scope)
        refusal = self._refusal(scope, owner)
        if refusal:
            await _answer(send, *refusal)
            return
        cookie = None if owner else secrets.token_urlsafe(32)
        guarded = _with_headers(send, cookie)
        if scope["path"].rstrip("/") == _UPLOAD and owner:
            guarded = self._recording(guarded, owner)
        await self.app(scope, receive, guarded)

    def _refusal(self, scope: Scope, owner: str | None) -> tuple[int, str] | None:
        """Status and sentence for a request that is not answered."""
        path, file = scope["path"], _FILE.match(scope["path"])
        if path.startswith(_CLOSED):
            return 403, "This page does not offer that."
        if file and not self.store.may_read(file[1], owner):
            return 403, "No such file, or it is not yours, or it was deleted."
        if scope["method"] != "POST":
            return None
        if path.rstrip("/") == _UPLOAD and not owner:
            return 403, "Uploads need the page's cookie; allow cookies and load the page again."
        length = dict(scope["headers"]).get(b"content-length", b"")
        if not length.isdigit():
            return 411, "The length of the request is missing."
        if int(length) > self.max_bytes:
            return 413, f"These are more than {self.max_bytes / 1e6:g} MB; send fewer or smaller pictures."
        return None

    def _recording(self, send: Send, owner: str) -> Send:
        """Note the owner of uploaded files, which the answer to an upload lists, before the browser knows them."""
        body, held = b"", []

        async def record(message: Message) -> None:
            nonlocal body
            held.append(message)
            body += message.get("body", b"")
            if message["type"] != "http.response.body" or message.get("more_body"):
                return
            if held[0]["status"] == 200:
                for path in json.loads(body):
                    self.store.give(path, owner)
            for one in held:
                await send(one)

        return record


def owner_of(scope: Scope) -> str | None:
    """The browser's cookie, or None."""
    try:
        cookies = SimpleCookie(dict(scope["headers"]).get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return None
    token = cookies[COOKIE].value if COOKIE in cookies else ""
    return token if _TOKEN.fullmatch(token) else None


def _with_headers(send: Send, cookie: str | None) -> Send:
    """Add the protecting headers, and the cookie of a new browser."""
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            more = [*_HEADERS]
            if cookie:
                more.append((b"set-cookie", f"{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Lax".encode()))
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return guarded


async def _answer(send: Send, status: int, sentence: str) -> None:
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-type", b"text/plain; charset=utf-8"), *_HEADERS]})
    await send({"type": "http.response.body", "body": sentence.encode()})
