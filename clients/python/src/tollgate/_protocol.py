"""What is sent and what it means, without any input or output: shared by both clients."""

from __future__ import annotations

import random
import uuid
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote

import httpx

Json = dict[str, Any]
#: Anything that says a quantity exactly; a float is refused, for it cannot.
Quantity = int | str | Decimal

#: Statuses after which the same call may succeed, and is safe to send again.
TRANSIENT = frozenset({408, 500, 502, 503, 504})
FIRST_PAUSE_SECS = 0.05
PAUSE_SECS_MAX = 5.0


@dataclass(frozen=True)
class Limit:
    """The limit or credit that decided a denial."""

    scope: str
    window: str
    amount: Decimal | None
    used: Decimal | None
    remaining: Decimal | None
    resets_at: str | None
    user: str | None = None


@dataclass(frozen=True)
class Allowed:
    """The usage is counted, and on disk."""

    key: str
    quantity: Decimal
    #: Credit that is left; None where the plan does not ask for credit.
    remaining: Decimal | None
    used: Decimal
    #: The number of the ledger entry.
    entry: int
    #: This call was counted before: a retry.
    replayed: bool
    allowed: Literal[True] = field(default=True, init=False)


@dataclass(frozen=True)
class Denied:
    """Nothing was counted. The key is still free: after a top-up the same call may pass."""

    #: `org_limit_reached`, `user_limit_reached`, `no_plan`, `trial_ended` …
    code: str
    #: 402: buying helps; 429: waiting helps; 403: neither.
    status: int
    detail: str
    remaining: Decimal | None
    limit: Limit | None
    #: With 429: when there is room again.
    retry_after_secs: int | None
    #: The whole answer, `application/problem+json`.
    problem: Json
    allowed: Literal[False] = field(default=False, init=False)


Decision = Allowed | Denied


class DeniedError(Exception):
    """Raised by `require`."""

    def __init__(self, denied: Denied) -> None:
        super().__init__(f"{denied.code}: {denied.detail}")
        self.denied = denied


class ApiError(Exception):
    """The call is wrong, or the server failed for good; sending it again does not help."""

    def __init__(self, status: int, problem: Json) -> None:
        super().__init__(f"{status} {problem.get('code', '')}: {problem.get('detail', problem.get('title', ''))}")
        self.status = status
        self.problem = problem
        self.code: str = problem.get("code", "")
        self.field: str | None = problem.get("field")


class Unreachable(Exception):
    """No answer within the patience of the client. The call may have been counted: send it again with the same key."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: Any = None
    query: Mapping[str, str] | None = None


#: What a call asks of the client that drives it: a request to send, or seconds to wait. It is given the answer, or the error.
Step = Request | float
Outcome = httpx.Response | httpx.TransportError | None
Call = Generator[Step, Outcome, Json]


def persistent(request: Request, patience_secs: float) -> Call:
    """Sends a request until there is an answer that stands, pausing longer each time, for at most so many seconds of pauses."""
    waited, pause = 0.0, FIRST_PAUSE_SECS
    while True:
        outcome = yield request
        if isinstance(outcome, httpx.Response):
            problem = outcome.json() if outcome.content and outcome.status_code >= 400 else {}
            is_flood = outcome.status_code == 429 and problem.get("code") == "rate_limited"
            if outcome.status_code not in TRANSIENT and not is_flood:
                return _body(outcome)
            asked = float(outcome.headers.get("retry-after", 0))
            why: Exception = ApiError(outcome.status_code, problem)
        else:
            asked, why = 0.0, outcome or httpx.TransportError("no answer")
        # Half of the pause is random, so that many clients do not come back together.
        next_pause = max(pause * random.uniform(0.5, 1.0), min(asked, PAUSE_SECS_MAX))
        if waited + next_pause > patience_secs:
            raise Unreachable(f"{request.method} {request.path}: no answer in {waited:.0f} s ({why})") from why
        yield next_pause
        waited, pause = waited + next_pause, min(pause * 2, PAUSE_SECS_MAX)


def _body(response: httpx.Response) -> Json:
    body: Json = _exact(response) if response.content else {}
    denied = response.status_code in (402, 403, 422, 429) and body.get("allowed") is False
    if response.status_code >= 400 and not denied:
        raise ApiError(response.status_code, body)
    if response.status_code >= 400 and "retry-after" in response.headers:
        body["retry_after_secs"] = int(response.headers["retry-after"])
    return body


def _exact(response: httpx.Response) -> Any:
    """JSON with its numbers as exact decimals."""
    import json

    return json.loads(response.content, parse_float=Decimal)


def new_key() -> str:
    return uuid.uuid4().hex


def path(*segments: str) -> str:
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)


def exactly(quantity: Quantity) -> int | str:
    if isinstance(quantity, float):
        raise TypeError("a float is not exact: give an int, a Decimal or a text")
    return quantity if isinstance(quantity, int) else str(quantity)


def usage(
    org: str,
    meter: str,
    quantity: Quantity,
    user: str | None,
    key: str | None,
    properties: Mapping[str, Any] | None,
    time: str | None = None,
) -> Json:
    body: Json = {"org": org, "meter": meter, "quantity": exactly(quantity)}
    rest = {"user": user, "key": key, "time": time, "properties": dict(properties) if properties else None}
    return body | {name: value for name, value in rest.items() if value is not None}


def decision(body: Json) -> Decision:
    if body["allowed"]:
        return Allowed(
            key=body["key"],
            quantity=Decimal(body["quantity"]),
            remaining=_decimal(body.get("remaining")),
            used=Decimal(body["used"]),
            entry=body["entry"],
            replayed=body["replayed"],
        )
    limit = body.get("limit")
    return Denied(
        code=body["code"],
        status=body.get("status", 200),
        detail=body.get("detail", ""),
        remaining=_decimal(body.get("remaining")),
        limit=Limit(
            scope=limit["scope"],
            window=limit["window"],
            amount=_decimal(limit.get("amount")),
            used=_decimal(limit.get("used")),
            remaining=_decimal(limit.get("remaining")),
            resets_at=limit.get("resets_at"),
            user=limit.get("user"),
        )
        if limit
        else None,
        retry_after_secs=body.get("retry_after_secs"),
        problem=body,
    )


def _decimal(value: Any) -> Decimal | None:
    return None if value is None else Decimal(value)
