"""Middleware for ASGI applications: FastAPI, Starlette, Django, Litestar.

    app.add_middleware(TollgateMiddleware, client=AsyncTollgate(), meter="api_calls", identify=who_calls)
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from . import _protocol as protocol
from ._client import AsyncTollgate
from ._protocol import Denied, Quantity

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Caller:
    """Who uses what a request uses, and how much of it."""

    org: str
    user: str | None = None
    quantity: Quantity = 1


class TollgateMiddleware:
    """Asks before the application works. A denial is answered with the problem of the server, and the application does not run.

    `identify` gets the scope of the request and gives who calls, or None for what is not counted. The request's
    `Idempotency-Key` is the key; without one each request counts. If the application fails (5xx or an exception) the usage is
    taken back.
    """

    def __init__(
        self, app: App, *, client: AsyncTollgate, meter: str, identify: Callable[[Message], Caller | None]
    ) -> None:
        self._app = app
        self._client = client
        self._meter = meter
        self._identify = identify

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        caller = self._identify(scope) if scope["type"] == "http" else None
        if caller is None:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"idempotency-key", b"").decode("latin-1").strip('"')
        key = given or protocol.new_key()
        decided = await self._client.use(caller.org, self._meter, quantity=caller.quantity, user=caller.user, key=key)
        if isinstance(decided, Denied):
            await _deny(decided, send)
            return
        failed = True

        async def watched(message: Message) -> None:
            nonlocal failed
            if message["type"] == "http.response.start":
                failed = message["status"] >= 500
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            # A replay was paid for by the request that came first.
            if failed and not decided.replayed:
                await self._client.reverse(caller.org, key)


async def _deny(denied: Denied, send: Send) -> None:
    body = json.dumps(denied.problem, default=_number).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    if denied.retry_after_secs is not None:
        headers.append((b"retry-after", str(denied.retry_after_secs).encode()))
    await send({"type": "http.response.start", "status": denied.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _number(value: Any) -> float | str:
    return float(value) if isinstance(value, Decimal) else str(value)
