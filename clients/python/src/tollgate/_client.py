"""The two clients: one waits, one is asynchronous. They say the same; only how a call is driven differs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any, Self

import httpx

from . import _protocol as protocol
from ._protocol import Call, Decision, Denied, DeniedError, Json, ModelCall, Quantity, Request, Unreachable

DEFAULT_URL = "http://127.0.0.1:8080"


def _settings(url: str | None, api_key: str | None, timeout_secs: float) -> dict[str, Any]:
    key = api_key or os.environ.get("TOLLGATE_API_KEY")
    return {
        "base_url": url or os.environ.get("TOLLGATE_URL", DEFAULT_URL),
        "headers": {"authorization": f"Bearer {key}"} if key else {},
        "timeout": timeout_secs,
    }


class _Calls:
    """Every call as a request; what is not here is reached by `request`."""

    def __init__(self, patience_secs: float) -> None:
        self._patience_secs = patience_secs

    def _persistent(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> Call:
        return protocol.persistent(Request(method, path, body, query), self._patience_secs)

    def _use(
        self,
        org: str,
        meter: str,
        quantity: Quantity | ModelCall,
        user: str | None,
        key: str | None,
        properties: Mapping[str, Any] | None,
        path: str | None,
    ) -> Call:
        body = protocol.usage(org, meter, quantity, user, key or protocol.new_key(), properties, path=path)
        return self._persistent("POST", "/v1/usage", body)

    def _check(self, org: str, meter: str, quantity: Quantity | ModelCall, user: str | None) -> Call:
        return self._persistent("POST", "/v1/usage/check", protocol.usage(org, meter, quantity, user, None, None))

    def _top_up(self, org: str, body: Json) -> Call:
        return self._persistent("POST", protocol.path("orgs", org, "top-ups"), body)

    def _call(self, operation: str, parameters: Mapping[str, Any], body: Any) -> Call:
        return protocol.persistent(protocol.operation(operation, parameters, body), self._patience_secs)

    def _capture(self, hold: str, quantity: Quantity | ModelCall, final: bool, key: str | None) -> Call:
        body = protocol.amount(quantity)
        if not final:
            body |= {"final": False, "key": key or protocol.new_key()}
        return self._persistent("POST", protocol.path("holds", hold, "capture"), body)

    def _release(self, hold: str) -> Call:
        return self._persistent("POST", protocol.path("holds", hold, "release"))


class Tollgate(_Calls):
    """A client that waits for each answer. It may be shared by threads."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_secs: float = 10.0,
        patience_secs: float = 30.0,
        connections_max: int = 100,
    ) -> None:
        """`patience_secs` is how long one call is tried again before `Unreachable` is raised."""
        super().__init__(patience_secs)
        limits = httpx.Limits(max_connections=connections_max, max_keepalive_connections=connections_max)
        self._http = httpx.Client(limits=limits, **_settings(url, api_key, timeout_secs))

    def _run(self, call: Call) -> Json:
        step = next(call)
        while True:
            outcome: protocol.Outcome = None
            if isinstance(step, Request):
                try:
                    outcome = self._http.request(step.method, step.path, json=step.body, params=step.query)
                except httpx.TransportError as error:
                    outcome = error
            else:
                time.sleep(step)
            try:
                step = call.send(outcome)
            except StopIteration as done:
                answer: Json = done.value
                return answer

    def use(
        self,
        org: str,
        meter: str,
        *,
        quantity: Quantity | ModelCall = 1,
        user: str | None = None,
        key: str | None = None,
        properties: Mapping[str, Any] | None = None,
        path: str | None = None,
    ) -> Decision:
        """Checks and counts in one step. Give the id of your work as `key` to be safe over crashes of your own, too."""
        return protocol.decision(self._run(self._use(org, meter, quantity, user, key, properties, path)))

    def require(self, org: str, meter: str, **options: Any) -> protocol.Allowed:
        """`use` that raises `DeniedError` in place of a denial."""
        decided = self.use(org, meter, **options)
        if isinstance(decided, Denied):
            raise DeniedError(decided)
        return decided

    def check(self, org: str, meter: str, *, quantity: Quantity | ModelCall = 1, user: str | None = None) -> Json:
        """Whether a usage would pass, with every check; nothing is counted."""
        return self._run(self._check(org, meter, quantity, user))

    def reverse(self, org: str, key: str) -> Json:
        """Takes a usage back by its key, once."""
        return self._run(self._persistent("POST", "/v1/usage/reversals", {"org": org, "key": key}))

    def record(self, records: Iterable[Json]) -> Json:
        """Counts usage that has happened; each record has a `key`. See `Batcher` for a stream of them."""
        return self._run(self._persistent("POST", "/v1/usage/batch", list(records)))

    def set_plan(self, org: str, plan: str) -> Json:
        """Sets the plan of an organization, and creates it."""
        return self._run(self._persistent("PUT", protocol.path("orgs", org, "plan"), {"plan": plan}))

    def top_up(
        self,
        org: str,
        meter: str,
        amount: Quantity,
        *,
        key: str | None = None,
        effective_at: str | None = None,
        expires_at: str | None = None,
        priority: int | None = None,
        reason: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Json:
        """Adds credit, once for each key."""
        body = protocol.credit(meter, amount, key, effective_at, expires_at, priority, reason, metadata)
        return self._run(self._top_up(org, body))

    def balance(self, org: str) -> Json:
        """Credit, usage and limits of an organization."""
        return self._run(self._persistent("GET", protocol.path("orgs", org, "balance")))

    def hold(
        self,
        org: str,
        meter: str,
        quantity: Quantity | ModelCall,
        *,
        user: str | None = None,
        key: str | None = None,
        expires_in: int | None = None,
        overrun: Quantity | None = None,
        on_expiry: str | None = None,
        within: str | None = None,
        properties: Mapping[str, Any] | None = None,
        path: str | None = None,
    ) -> Held:
        """Reserves an amount; `DeniedError` if there is no room. As a scope it gives back what was not captured:

            with gate.hold("acme", "tokens", 4_000, key="call-7") as held:
                held.capture(ask_the_model().tokens)

        A call of a model in place of the quantity is priced by the catalog, here and when it is captured.
        """
        body = protocol.reservation(
            org, meter, quantity, user, key, expires_in, overrun, on_expiry, within, properties, path
        )
        return Held(self, protocol.held(self._run(self._persistent("POST", "/v1/holds", body))))

    def call(self, operation: str, body: Any = None, /, **parameters: Any) -> Json:
        """Any operation of the API by its id in `openapi.json`: `call("list_holds", org="acme", limit=10)`."""
        return self._run(self._call(operation, parameters, body))

    def request(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> Json:
        """Any other route. It is sent again after a lost answer: give what changes something a key."""
        return self._run(self._persistent(method, path, body, query))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncTollgate(_Calls):
    """The same for asyncio."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_secs: float = 10.0,
        patience_secs: float = 30.0,
        connections_max: int = 100,
    ) -> None:
        super().__init__(patience_secs)
        limits = httpx.Limits(max_connections=connections_max, max_keepalive_connections=connections_max)
        settings = _settings(url, api_key, timeout_secs)
        self._http = httpx.AsyncClient(limits=limits, **settings)
        # Thousands of calls wait here in order. In the queue of httpx's pool each that ends looks at all that wait.
        self._turns = asyncio.Semaphore(connections_max)

    async def _run(self, call: Call) -> Json:
        step = next(call)
        while True:
            outcome: protocol.Outcome = None
            if isinstance(step, Request):
                try:
                    async with self._turns:
                        outcome = await self._http.request(step.method, step.path, json=step.body, params=step.query)
                except httpx.TransportError as error:
                    outcome = error
            else:
                await asyncio.sleep(step)
            try:
                step = call.send(outcome)
            except StopIteration as done:
                answer: Json = done.value
                return answer

    async def use(
        self,
        org: str,
        meter: str,
        *,
        quantity: Quantity | ModelCall = 1,
        user: str | None = None,
        key: str | None = None,
        properties: Mapping[str, Any] | None = None,
        path: str | None = None,
    ) -> Decision:
        return protocol.decision(await self._run(self._use(org, meter, quantity, user, key, properties, path)))

    async def require(self, org: str, meter: str, **options: Any) -> protocol.Allowed:
        decided = await self.use(org, meter, **options)
        if isinstance(decided, Denied):
            raise DeniedError(decided)
        return decided

    async def check(self, org: str, meter: str, *, quantity: Quantity | ModelCall = 1, user: str | None = None) -> Json:
        return await self._run(self._check(org, meter, quantity, user))

    async def reverse(self, org: str, key: str) -> Json:
        return await self._run(self._persistent("POST", "/v1/usage/reversals", {"org": org, "key": key}))

    async def record(self, records: Iterable[Json]) -> Json:
        return await self._run(self._persistent("POST", "/v1/usage/batch", list(records)))

    async def set_plan(self, org: str, plan: str) -> Json:
        return await self._run(self._persistent("PUT", protocol.path("orgs", org, "plan"), {"plan": plan}))

    async def top_up(
        self,
        org: str,
        meter: str,
        amount: Quantity,
        *,
        key: str | None = None,
        effective_at: str | None = None,
        expires_at: str | None = None,
        priority: int | None = None,
        reason: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Json:
        body = protocol.credit(meter, amount, key, effective_at, expires_at, priority, reason, metadata)
        return await self._run(self._top_up(org, body))

    async def balance(self, org: str) -> Json:
        return await self._run(self._persistent("GET", protocol.path("orgs", org, "balance")))

    async def hold(
        self,
        org: str,
        meter: str,
        quantity: Quantity | ModelCall,
        *,
        user: str | None = None,
        key: str | None = None,
        expires_in: int | None = None,
        overrun: Quantity | None = None,
        on_expiry: str | None = None,
        within: str | None = None,
        properties: Mapping[str, Any] | None = None,
        path: str | None = None,
    ) -> AsyncHeld:
        """`async with await gate.hold(…) as held:`"""
        body = protocol.reservation(
            org, meter, quantity, user, key, expires_in, overrun, on_expiry, within, properties, path
        )
        return AsyncHeld(self, protocol.held(await self._run(self._persistent("POST", "/v1/holds", body))))

    async def call(self, operation: str, body: Any = None, /, **parameters: Any) -> Json:
        return await self._run(self._call(operation, parameters, body))

    async def request(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> Json:
        return await self._run(self._persistent(method, path, body, query))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Holding:
    """What both kinds of holds know."""

    def __init__(self, body: Json) -> None:
        #: The hold as it was after the last call.
        self.item: Json = body["hold"]
        #: It was taken before: a retry.
        self.replayed: bool = body["replayed"]
        self._is_open = self.item["state"] == "open"

    @property
    def id(self) -> str:
        hold: str = self.item["hold"]
        return hold

    def _captured(self, body: Json) -> Json:
        self.item = body["hold"]
        self._is_open = self.item["state"] == "open"
        return body


class Held(_Holding):
    """A hold that was taken. Leaving its scope gives back what was not captured."""

    def __init__(self, client: Tollgate, body: Json) -> None:
        super().__init__(body)
        self._client = client

    def capture(self, quantity: Quantity | ModelCall, *, final: bool = True, key: str | None = None) -> Json:
        """Charges what was used. The last capture ends the hold; one that is not final is a part."""
        try:
            return self._captured(self._client._run(self._client._capture(self.id, quantity, final, key)))
        except Unreachable:
            # What was captured is not known: a release could take from what is owed. It expires by itself.
            self._is_open = False
            raise

    def release(self) -> None:
        """Gives back what is held, now."""
        if self._is_open:
            self._captured(self._client._run(self._client._release(self.id)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class AsyncHeld(_Holding):
    """The same for asyncio."""

    def __init__(self, client: AsyncTollgate, body: Json) -> None:
        super().__init__(body)
        self._client = client

    async def capture(self, quantity: Quantity | ModelCall, *, final: bool = True, key: str | None = None) -> Json:
        try:
            return self._captured(await self._client._run(self._client._capture(self.id, quantity, final, key)))
        except Unreachable:
            self._is_open = False
            raise

    async def release(self) -> None:
        if self._is_open:
            self._captured(await self._client._run(self._client._release(self.id)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.release()
