"""Sends events with the published client of Lago: `python lago_client.py URL API_KEY BOUND_KEY`.

Says how each call ended, a line of JSON for each. BOUND_KEY is an API key of the organization acme.
"""

import json
import sys

from lago_python_client.client import Client
from lago_python_client.exceptions import LagoApiError
from lago_python_client.models.event import BatchEvent, Event

url, key, bound = sys.argv[1:]


def client(api_key):
    return Client(api_key=api_key, api_url=f"{url}/lago/").events


def event(transaction, tokens, subscription="acme", code="completions", **more):
    return Event(
        transaction_id=transaction,
        external_subscription_id=subscription,
        code=code,
        properties={"tokens": tokens, "model": "large", "region": "eu"},
        **more,
    )


admin = client(key)


def batch(*events):
    admin.batch_create(BatchEvent(events=list(events)))


calls = [
    ("an event", lambda: admin.create(event("t-1", 120, timestamp=1793613540))),
    ("a retry", lambda: admin.create(event("t-1", 120, timestamp=1793613540))),
    ("other content", lambda: admin.create(event("t-1", 121))),
    ("texts", lambda: admin.create(event("t-2", "0.5", timestamp="1793613540.123"))),
    ("a batch", lambda: batch(event("t-3", 7), event("t-4", 1), event("t-5", 0))),
    ("its retry", lambda: batch(event("t-3", 7), event("t-4", 1), event("t-5", 0))),
    ("a batch with a wrong event", lambda: batch(event("t-6", 1), event("t-7", "many"), event("t-8", 1, code="nothing"))),
    ("a batch with a stranger", lambda: batch(event("t-9", 2), event("t-10", 1, subscription="nobody"), event("t-1", 5))),
    ("an unknown metric", lambda: admin.create(event("t-11", 1, code="nothing"))),
    ("an unknown subscription", lambda: admin.create(event("t-11", 1, subscription="nobody"))),
    ("too old", lambda: admin.create(event("t-11", 1, timestamp=1))),
    ("another organization", lambda: client(bound).create(event("t-11", 1, subscription="globex"))),
    ("a stranger", lambda: client("unknown").create(event("t-11", 1))),
    ("find", lambda: client(bound).find("t-1")),
    ("find by an admin", lambda: admin.find("t-1", {"external_subscription_id": "acme"})),
    ("find nothing", lambda: client(bound).find("t-99")),
    ("find of nobody", lambda: admin.find("t-1")),
]

for name, call in calls:
    try:
        reply = call()
        told = {"call": name, "ok": True, "reply": reply and reply.dict()}
    except LagoApiError as error:
        told = {"call": name, "ok": False, "status": error.status_code, "error": error.response}
    print(json.dumps(told))
