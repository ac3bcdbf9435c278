"""The tour of the README in Python, then the batcher and the middleware, against a server whose address is the argument."""

import asyncio
import sys
from decimal import Decimal
from typing import Any

import httpx
from tollgate import AsyncTollgate, Batcher, Caller, Denied, DeniedError, Tollgate, TollgateMiddleware

URL = sys.argv[1]


def tour(gate: Tollgate) -> None:
    gate.set_plan("acme", "lite")
    first = gate.use("acme", "reports", user="ada", key="report-1")
    assert first.allowed and first.remaining == 19 and not first.replayed
    again = gate.use("acme", "reports", user="ada", key="report-1")
    assert again.allowed and again.replayed and again.remaining == 19

    gate.request("PUT", "/v1/orgs/acme/limits", {"meter": "reports", "scope": "user", "amount": 15})
    denied = gate.use("acme", "reports", quantity=15, user="ada", key="report-2")
    assert isinstance(denied, Denied)
    assert (denied.status, denied.code) == (403, "user_limit_reached")
    assert denied.limit is not None and denied.limit.user == "ada" and denied.limit.remaining == 14

    assert gate.use("acme", "reports", quantity=14, user="ada").allowed
    try:
        gate.require("acme", "reports", quantity=10, user="ben", key="report-4")
        raise AssertionError("there is not enough credit")
    except DeniedError as error:
        assert (error.denied.status, error.denied.code) == (402, "org_limit_reached")
    gate.top_up("acme", "reports", 25, key="goodwill-1")
    after = gate.require("acme", "reports", quantity=Decimal("10"), user="ben", key="report-4")
    assert after.remaining == 20
    assert gate.check("acme", "reports", quantity=6, user="ben")["allowed"] is False
    gate.reverse("acme", "report-4")
    assert gate.balance("acme")["meters"]["reports"]["remaining"] == 30
    try:
        gate.use("acme", "reports", quantity=1.5)  # type: ignore[arg-type]
        raise AssertionError("a float is refused")
    except TypeError:
        pass


def batches(gate: Tollgate) -> None:
    with Batcher(gate, batch_max=10, wait_secs=0.01) as batcher:
        for number in range(25):
            batcher.add("acme", "reports", key=f"late-{number}")
        batcher.add("acme", "reports", key="late-0")
        batcher.add("acme", "repots", key="wrong")
        batcher.flush()
        assert (batcher.counted, batcher.duplicates) == (25, 1)
        assert [rejection.code for rejection in batcher.rejected] == ["unknown_meter"]


async def middleware() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        status = 500 if scope["path"] == "/broken" else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"worked"})

    def who_calls(scope: Any) -> Caller | None:
        org = dict(scope["headers"]).get(b"x-org")
        return Caller(org.decode()) if org else None

    async with AsyncTollgate(URL) as gate:
        await gate.set_plan("globex", "trial")
        wrapped = TollgateMiddleware(app, client=gate, meter="reports", identify=who_calls)
        transport = httpx.ASGITransport(app=wrapped)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as browser:
            assert (await browser.get("/")).text == "worked", "nobody is counted who is not identified"
            headers = {"x-org": "globex", "idempotency-key": "page-1"}
            for _ in range(3):
                assert (await browser.get("/", headers=headers)).status_code == 200
            assert (await gate.balance("globex"))["meters"]["reports"]["used"] == 1
            assert (await browser.get("/broken", headers={"x-org": "globex"})).status_code == 500
            assert (await gate.balance("globex"))["meters"]["reports"]["used"] == 1, "what failed is taken back"
            for _ in range(9):
                assert (await browser.get("/", headers={"x-org": "globex"})).status_code == 200
            refused = await browser.get("/", headers={"x-org": "globex"})
            assert refused.status_code == 402
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["code"] == "trial_ended"


with Tollgate(URL) as client:
    tour(client)
    batches(client)
asyncio.run(middleware())
print("done")
