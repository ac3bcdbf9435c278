"""The README's tour through the client that is generated from the OpenAPI document."""

import sys
from typing import TypeVar

from tollgate_api import Client
from tollgate_api.api.bills import bill
from tollgate_api.api.ledger import ledger
from tollgate_api.api.organizations import balance, put_limit, put_plan, top_up
from tollgate_api.api.usage import check, record, reverse, use
from tollgate_api.models import (
    BalanceReply,
    BatchReply,
    BillReply,
    CheckReply,
    Code,
    LedgerPage,
    LimitDetail,
    LimitReply,
    LimitRequest,
    PlanReply,
    PlanRequest,
    Problem,
    ReversalReply,
    ReversalRequest,
    ScopeName,
    TopUpReply,
    TopUpRequest,
    UsageReply,
    UsageRequest,
)

T = TypeVar("T")


def told(reply: object, kind: type[T]) -> T:
    """An answer of the type that is expected."""
    assert isinstance(reply, kind), reply
    return reply


def usage(key: str, user: str, quantity: float | str = 1) -> UsageRequest:
    return UsageRequest(org="acme", user=user, meter="reports", key=key, quantity=quantity)


def tour(client: Client) -> None:
    plan = told(put_plan.sync("acme", client=client, body=PlanRequest(plan="lite")), PlanReply)
    assert plan.changed

    used = told(use.sync(client=client, body=usage("report-1", "ada")), UsageReply)
    assert used.allowed and not used.replayed and used.remaining == 19
    again = told(use.sync(client=client, body=usage("report-1", "ada")), UsageReply)
    assert again.replayed and again.entry == used.entry

    limit = LimitRequest(meter="reports", scope=ScopeName.USER, amount=15)
    limits = told(put_limit.sync("acme", client=client, body=limit), LimitReply)
    assert limits.limits[0].amount == 15

    denied = told(use.sync(client=client, body=usage("report-2", "ada", 15)), Problem)
    assert denied.code == Code.USER_LIMIT_REACHED
    assert told(denied.limit, LimitDetail).user == "ada"
    told(use.sync(client=client, body=usage("report-3", "ada", "14")), UsageReply)
    out = use.sync_detailed(client=client, body=usage("report-4", "ben", 10))
    assert out.status_code == 402 and told(out.parsed, Problem).remaining == 5

    credit = TopUpRequest(meter="reports", amount=25, key="goodwill-1")
    assert told(top_up.sync("acme", client=client, body=credit), TopUpReply).total == 45
    checked = told(check.sync(client=client, body=usage("report-4", "ben", 10)), CheckReply)
    assert checked.allowed and all(step.passed for step in checked.steps)
    told(use.sync(client=client, body=usage("report-4", "ben", 10)), UsageReply)

    meters = told(balance.sync("acme", client=client), BalanceReply).meters
    assert meters["reports"].used == 25 and meters["reports"].remaining == 20
    entries = told(ledger.sync("acme", client=client), LedgerPage).entries
    assert entries[0].kind == "used" and entries[0].quantity == 10

    back = ReversalRequest(org="acme", key="report-4")
    assert told(reverse.sync(client=client, body=back), ReversalReply).reversed_
    batch = [usage("late-1", "ada", 2.5), usage("report-1", "ada")]
    recorded = told(record.sync(client=client, body=batch), BatchReply)
    assert (recorded.counted, recorded.duplicates, recorded.rejected) == (1, 1, 0)
    owed = told(bill.sync("acme", client=client), BillReply)
    assert isinstance(owed.total, str), "money is text"

    unknown = told(balance.sync("nobody", client=client), Problem)
    assert unknown.code == Code.UNKNOWN_ORG


if __name__ == "__main__":
    tour(Client(base_url=sys.argv[1]))
    print("done")
