"""Looks at every request before its route does, and at every answer before it leaves."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hilum.serving.http.monitoring import Monitoring

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
OPEN = ("/", "/healthz", "/readyz", "/page/{name}")  # take no token: they say nothing of images
PATIENCE = 30.0  # seconds that a client may take for some hundred kB of an answer
INTERNAL = 500, "internal", "an internal error. See the service's log."


class Guard:
    """An ASGI middleware: host, origin and token of requests; headers, count and log line of answers.

    Args:
        app: The application behind it.
        routes: Of which patterns are logged.
        monitoring: What counts and logs.
        token: What requests have to carry as ``Authorization: Bearer TOKEN`` (RFC 6750); None for no such condition.
        hosts: Names under which the service may be asked for; none for any.
    """

    def __init__(
        self, app: ASGIApp, routes: list[Route], monitoring: Monitoring, token: str | None, hosts: tuple[str, ...]
    ) -> None:
        self.app = app
        self.routes = routes
        self.plain = {route.path for route in routes if "{" not in route.path}
        self.monitoring = monitoring
        self.token = token
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, route, status = time.perf_counter(), self._route(scope), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            async with asyncio.timeout(PATIENCE):
                await send(message)

        try:
            refused = self._refusal(Headers(scope=scope), route)
            if refused:
                await _say(watched, *refused)
            else:
                await self.app(scope, receive, watched)
        except TimeoutError:  # whoever asked does not read: the connection ends with the request
            status = status or 499
        except Exception as error:  # a fault of ours; what it says may hold a name
            self.monitoring.fault(error)
            if not status:
                await _say(watched, *INTERNAL)
        finally:
            self.monitoring.answered(scope["method"], route, status or 499, begin)

    def _route(self, scope: Scope) -> str:
        """The pattern of the route that is asked for, which holds no name."""
        if scope["path"] in self.plain:
            return str(scope["path"])
        return next((route.path for route in self.routes if route.matches(scope)[0] is not Match.NONE), "other")

    def _refusal(self, headers: Headers, route: str) -> tuple[int, str, str] | None:
        name = headers.get("host", "")
        name = name.rsplit(":", 1)[0] if not name.endswith("]") else name
        if self.hosts and name.strip("[]").lower() not in self.hosts:
            known = " or ".join(self.hosts)
            return 403, "other-host", f"this service is known as {known}. To add a name: hilum serve --name NAME"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return 403, "other-site", "a request from a page of another site. Open this service's own page."
        if self.token is None or route in OPEN:
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token.encode()):
            return None
        return 401, "token", "a missing or wrong token. Send it as a header: Authorization: Bearer TOKEN"


async def _say(send: Send, status: int, code: str, message: str) -> None:
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    more: Mapping[str, str] = {"www-authenticate": "Bearer"} if status == 401 else {}
    headers = {"content-type": "application/json", "content-length": str(len(body)), **more}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
