"""Sends meter events with the published client of Stripe: `python stripe_client.py URL API_KEY BOUND_KEY`.

Says how each call ended, a line of JSON for each. BOUND_KEY is an API key of the organization acme.
"""

import json
import sys

import stripe

url, key, bound = sys.argv[1:]


def client(api_key):
    return stripe.StripeClient(api_key, base_addresses={"api": url}, max_network_retries=0).v1.billing


def event(value, customer="acme", **more):
    return {"event_name": "ai_search", "payload": {"stripe_customer_id": customer, "value": value, "model": "large"}, **more}


def adjustment(identifier, **more):
    return {"event_name": "ai_search", "type": "cancel", "cancel": {"identifier": identifier, **more}}


def module(**params):
    """The same by the older form of the client, with settings of the module."""
    stripe.api_key, stripe.api_base = key, url
    return stripe.billing.MeterEvent.create(**params)


admin = client(key)
calls = [
    ("an event", lambda: admin.meter_events.create(event("25", identifier="me-1"))),
    ("a retry", lambda: admin.meter_events.create(event("25", identifier="me-1"))),
    ("other content", lambda: admin.meter_events.create(event("26", identifier="me-1"))),
    ("no identifier", lambda: admin.meter_events.create(event("0.5"), {"idempotency_key": "ik-1"})),
    ("its retry", lambda: admin.meter_events.create(event("0.5"), {"idempotency_key": "ik-1"})),
    ("its other content", lambda: admin.meter_events.create(event("0.6"), {"idempotency_key": "ik-1"})),
    ("a number", lambda: admin.meter_events.create(event(4, identifier="me-2", timestamp=1793613540))),
    ("the module", lambda: module(**event("2", identifier="me-3"))),
    ("too old", lambda: admin.meter_events.create(event("1", timestamp=1))),
    ("no number", lambda: admin.meter_events.create(event("many"))),
    ("no customer", lambda: admin.meter_events.create({"event_name": "ai_search", "payload": {"value": "1"}})),
    ("an unknown customer", lambda: admin.meter_events.create(event("1", customer="cus_nobody"))),
    ("an unknown meter", lambda: admin.meter_events.create({**event("1"), "event_name": "nothing"})),
    ("an unknown parameter", lambda: admin.meter_events.create(event("1", flavor="sweet"))),
    ("a stranger", lambda: client("sk_test_unknown").meter_events.create(event("1"))),
    ("another organization", lambda: client(bound).meter_events.create(event("1", customer="globex"))),
    ("cancel", lambda: client(bound).meter_event_adjustments.create(adjustment("me-2"))),
    ("cancel again", lambda: client(bound).meter_event_adjustments.create(adjustment("me-2"))),
    ("cancel by an admin", lambda: admin.meter_event_adjustments.create(adjustment("me-3", stripe_customer_id="acme"))),
    ("cancel of nobody", lambda: admin.meter_event_adjustments.create(adjustment("me-1"))),
    ("cancel of nothing", lambda: client(bound).meter_event_adjustments.create(adjustment("me-9"))),
    ("a retry of what was canceled", lambda: admin.meter_events.create(event(4, identifier="me-2"))),
]

for name, call in calls:
    try:
        told = {"call": name, "ok": True, "reply": call().to_dict()}
    except stripe.StripeError as error:
        told = {
            "call": name,
            "ok": False,
            "error": type(error).__name__,
            "status": error.http_status,
            "code": error.code,
            "param": getattr(error, "param", None),
            "message": error.user_message,
        }
    print(json.dumps(told))
