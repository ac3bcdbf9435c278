"""The two clients: one waits, one is asynchronous. They say the same; only how a call is driven differs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any, Self

import httpx

from . import _protocol as protocol
from ._protocol import Call, Decision, Denied, DeniedError, Json, Quantity, Request

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
        quantity: Quantity,
        user: str | None,
        key: str | None,
        properties: Mapping[str, Any] | None,
    ) -> Call:
        body = protocol.usage(org, meter, quantity, user, key or protocol.new_key(), properties)
        return self._persistent("POST", "/v1/usage", body)

    def _check(self, org: str, meter: str, quantity: Quantity, user: str | None) -> Call:
        return self._persistent("POST", "/v1/usage/check", protocol.usage(org, meter, quantity, user, None, None))

    def _top_up(
        self, org: str, meter: str, amount: Quantity, key: str | None, expires_at: str | None, reason: str | None
    ) -> Call:
        body: Json = {"meter": meter, "amount": protocol.exactly(amount), "key": key or protocol.new_key()}
        rest = {"expires_at": expires_at, "reason": reason}
        body |= {name: value for name, value in rest.items() if value is not None}
        return self._persistent("POST", protocol.path("orgs", org, "top-ups"), body)


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
        quantity: Quantity = 1,
        user: str | None = None,
        key: str | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> Decision:
        """Checks and counts in one step. Give the id of your work as `key` to be safe over crashes of your own, too."""
        return protocol.decision(self._run(self._use(org, meter, quantity, user, key, properties)))

    def require(self, org: str, meter: str, **options: Any) -> protocol.Allowed:
        """`use` that raises `DeniedError` in place of a denial."""
        decided = self.use(org, meter, **options)
        if isinstance(decided, Denied):
            raise DeniedError(decided)
        return decided

    def check(self, org: str, meter: str, *, quantity: Quantity = 1, user: str | None = None) -> Json:
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
        expires_at: str | None = None,
        reason: str | None = None,
    ) -> Json:
        """Adds credit, once for each key."""
        return self._run(self._top_up(org, meter, amount, key, expires_at, reason))

    def balance(self, org: str) -> Json:
        """Credit, usage and limits of an organization."""
        return self._run(self._persistent("GET", protocol.path("orgs", org, "balance")))

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
        quantity: Quantity = 1,
        user: str | None = None,
        key: str | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> Decision:
        return protocol.decision(await self._run(self._use(org, meter, quantity, user, key, properties)))

    async def require(self, org: str, meter: str, **options: Any) -> protocol.Allowed:
        decided = await self.use(org, meter, **options)
        if isinstance(decided, Denied):
            raise DeniedError(decided)
        return decided

    async def check(self, org: str, meter: str, *, quantity: Quantity = 1, user: str | None = None) -> Json:
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
        expires_at: str | None = None,
        reason: str | None = None,
    ) -> Json:
        return await self._run(self._top_up(org, meter, amount, key, expires_at, reason))

    async def balance(self, org: str) -> Json:
        return await self._run(self._persistent("GET", protocol.path("orgs", org, "balance")))

    async def request(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> Json:
        return await self._run(self._persistent(method, path, body, query))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
