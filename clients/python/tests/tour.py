"""The tour of the README in Python, then the batcher and the middleware, against a server whose address is the argument."""

import asyncio
import sys
from decimal import Decimal
from typing import Any

import httpx
from tollgate import (
    ApiError,
    AsyncTollgate,
    Batcher,
    Caller,
    Denied,
    DeniedError,
    ModelCall,
    Tollgate,
    TollgateMiddleware,
)

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


def holds(gate: Tollgate) -> None:
    def left() -> Any:
        return gate.balance("acme")["meters"]["reports"]["remaining"]

    with gate.hold("acme", "reports", 10, user="cal", key="run-1") as held:
        assert left() == 20
        with gate.hold("acme", "reports", 4, user="cal", key="run-1/a", within=held.id) as step:
            step.capture(1, final=False)
            step.capture(2)
        try:
            held.capture(11)
            raise AssertionError("more than is held")
        except ApiError as error:
            assert error.code == "more_than_held"
        assert held.capture(3)["hold"]["state"] == "captured"
    assert left() == 24
    with gate.hold("acme", "reports", 9, user="cal", key="run-2") as held:
        assert [item["hold"] for item in gate.call("list_holds", org="acme", limit=10)["holds"]] == [held.id]
    assert left() == 24, "what was not captured is given back"
    try:
        gate.hold("acme", "reports", 20, user="cal", key="run-3")
        raise AssertionError("there is no room")
    except DeniedError as error:
        assert error.denied.code == "user_limit_reached"
    for wrong in [{}, {"org": "acme", "limits": 1}]:
        try:
            gate.call("list_holds", **wrong)
            raise AssertionError("the operation has other parameters")
        except TypeError:
            pass


def calls(gate: Tollgate) -> None:
    catalog = gate.call("get_catalog")["catalog"]
    catalog["meters"].append({"id": "usd", "name": "US dollars", "unit": "USD"})
    catalog["plans"].append({"id": "calls", "name": "Calls", "allowances": [{"meter": "usd", "amount": 1}]})
    catalog["models"] = [{"id": "small", "rates": [{"input": 1, "output": 2}]}]
    gate.call("put_catalog", catalog)
    gate.set_plan("initech", "calls")
    cost: ModelCall = {"model": "small", "input_tokens": 1_000, "output_tokens": 500}
    most: ModelCall = {"model": "small", "input_tokens": 1_000, "output_tokens": 100_000}
    with gate.hold("initech", "usd", most) as held:
        assert str(held.item["quantity"]) == "0.201"
        assert str(held.capture(cost)["captured"]) == "0.002"
    used = gate.require("initech", "usd", quantity=cost)
    assert str(used.quantity) == "0.002"


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
        async with await gate.hold("globex", "reports", 4) as held:
            await held.capture(0)
        assert (await gate.call("get_hold", hold=held.id))["state"] == "captured"
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
    holds(client)
    calls(client)
    batches(client)
asyncio.run(middleware())
print("done")
