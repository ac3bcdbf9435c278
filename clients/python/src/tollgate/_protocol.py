"""What is sent and what it means, without any input or output: shared by both clients."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, Required, TypedDict
from urllib.parse import quote

import httpx

from ._operations import OPERATIONS

Json = dict[str, Any]
#: Anything that says a quantity exactly; a float is refused, for it cannot.
Quantity = int | str | Decimal


class ModelCall(TypedDict, total=False):
    """A call of a language model, in place of a quantity: the catalog prices it."""

    model: Required[str]
    #: `standard`, `batch`, `flex` or `priority`.
    tier: str
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    audio_input_tokens: int
    #: In a hold: what may come at most.
    output_tokens: int
    reasoning_tokens: int
    audio_output_tokens: int


#: Statuses after which the same call may succeed, and is safe to send again.
TRANSIENT = frozenset({408, 500, 502, 503, 504})
FIRST_PAUSE_SECS = 0.05
PAUSE_SECS_MAX = 5.0


@dataclass(frozen=True)
class Limit:
    """The limit or credit that decided a denial."""

    #: `org`, `path`, `user` or `hold`.
    scope: str
    window: str | None
    amount: Decimal | None
    used: Decimal | None
    remaining: Decimal | None
    resets_at: str | None
    user: str | None = None
    #: The path that is full: that of the usage, or one that it lies below.
    path: str | None = None
    #: What holds reserve of it.
    held: Decimal | None = None


@dataclass(frozen=True)
class Allowed:
    """The usage is counted, and on disk."""

    key: str
    org: str
    meter: str
    user: str | None
    quantity: Decimal
    #: Credit that is left; None where the plan does not ask for credit.
    remaining: Decimal | None
    #: What is used of the period's credit, and that credit.
    used: Decimal
    total: Decimal
    #: What holds reserve of it, while there are some.
    held: Decimal | None
    #: What the user used this month.
    user_used: Decimal | None
    #: The number of the ledger entry.
    entry: int
    #: This call was counted before: a retry.
    replayed: bool
    #: Where below the organization.
    path: str | None = None
    allowed: Literal[True] = field(default=True, init=False)


@dataclass(frozen=True)
class Denied:
    """Nothing was counted. The key is still free: after a top-up the same call may pass."""

    #: `org_limit_reached`, `user_limit_reached`, `no_plan`, `trial_ended` …
    code: str
    #: 402: buying helps; 429: waiting helps; 403: neither.
    status: int
    detail: str
    quantity: Decimal | None
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
        self.title: str = problem.get("title", "")
        self.detail: str = problem.get("detail", "")
        self.field: str | None = problem.get("field")
        #: To find it in the server's log.
        self.request_id: str | None = problem.get("request_id")


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


def amount(quantity: Quantity | ModelCall) -> Json:
    """How much: a quantity, or a call that is priced."""
    return {"call": dict(quantity)} if isinstance(quantity, Mapping) else {"quantity": exactly(quantity)}


def usage(
    org: str,
    meter: str,
    quantity: Quantity | ModelCall,
    user: str | None,
    key: str | None,
    properties: Mapping[str, Any] | None,
    time: str | None = None,
    path: str | None = None,
) -> Json:
    # `quantity`, or `call`.
    body: Json = {"org": org, "meter": meter} | amount(quantity)
    rest: Json = {"user": user, "path": path, "key": key, "time": time}
    rest["properties"] = dict(properties) if properties else None
    return body | {name: value for name, value in rest.items() if value is not None}


def credit(
    meter: str,
    amount: Quantity,
    key: str | None,
    effective_at: str | None,
    expires_at: str | None,
    priority: int | None,
    reason: str | None,
    metadata: Mapping[str, Any] | None,
) -> Json:
    body: Json = {"meter": meter, "amount": exactly(amount), "key": key or new_key()}
    rest: Json = {"effective_at": effective_at, "expires_at": expires_at, "priority": priority, "reason": reason}
    rest["metadata"] = dict(metadata) if metadata else None
    return body | {name: value for name, value in rest.items() if value is not None}


def reservation(
    org: str,
    meter: str,
    quantity: Quantity | ModelCall,
    user: str | None,
    key: str | None,
    expires_in: int | None,
    overrun: Quantity | None,
    on_expiry: str | None,
    within: str | None,
    properties: Mapping[str, Any] | None,
    path: str | None,
) -> Json:
    rest: Json = {"expires_in": expires_in, "on_expiry": on_expiry, "within": within}
    rest["overrun"] = None if overrun is None else exactly(overrun)
    # A `call` may stand for the quantity.
    body = usage(org, meter, quantity, user, key or new_key(), properties, path=path)
    return body | {name: value for name, value in rest.items() if value is not None}


def held(body: Json) -> Json:
    """The answer to a hold, or its denial raised."""
    if not body["allowed"]:
        denied = decision(body)
        assert isinstance(denied, Denied)
        raise DeniedError(denied)
    return body


def operation(name: str, parameters: Mapping[str, Any], body: Any) -> Request:
    """A route by its id, with the parameters of its path and query."""
    if name not in OPERATIONS:
        raise ValueError(f"the API has no operation {name!r}")
    method, template, names = OPERATIONS[name]
    given = {key: _parameter(value) for key, value in parameters.items() if value is not None}
    missing = set(re.findall(r"{(\w+)}", template)) - given.keys()
    if missing:
        raise TypeError(f"{name} needs {', '.join(sorted(missing))}")
    route = re.sub(r"{(\w+)}", lambda match: quote(given.pop(match[1]), safe=""), template)
    if unknown := given.keys() - set(names):
        raise TypeError(f"{name} takes no {', '.join(sorted(unknown))}")
    return Request(method, route, body, given or None)


def _parameter(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def decision(body: Json) -> Decision:
    if body["allowed"]:
        return Allowed(
            key=body["key"],
            org=body["org"],
            meter=body["meter"],
            user=body.get("user"),
            quantity=Decimal(body["quantity"]),
            remaining=_decimal(body.get("remaining")),
            used=Decimal(body["used"]),
            total=Decimal(body["total"]),
            held=_decimal(body.get("held")),
            user_used=_decimal(body.get("user_used")),
            entry=body["entry"],
            replayed=body["replayed"],
            path=body.get("path"),
        )
    limit = body.get("limit")
    return Denied(
        code=body["code"],
        status=body.get("status", 200),
        detail=body.get("detail", ""),
        quantity=_decimal(body.get("quantity")),
        remaining=_decimal(body.get("remaining")),
        limit=Limit(
            scope=limit["scope"],
            window=limit.get("window"),
            amount=_decimal(limit.get("amount")),
            used=_decimal(limit.get("used")),
            remaining=_decimal(limit.get("remaining")),
            resets_at=limit.get("resets_at"),
            user=limit.get("user"),
            path=limit.get("path"),
            held=_decimal(limit.get("held")),
        )
        if limit
        else None,
        retry_after_secs=body.get("retry_after_secs"),
        problem=body,
    )


def _decimal(value: Any) -> Decimal | None:
    return None if value is None else Decimal(value)
