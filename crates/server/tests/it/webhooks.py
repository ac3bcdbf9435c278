"""Verifies requests with the library of Standard Webhooks and prints whether each is genuine."""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError


def is_genuine(case):
    try:
        Webhook(case["secret"]).verify(case["body"], case["headers"])
        return True
    except WebhookVerificationError:
        return False


print(json.dumps([is_genuine(json.loads(text)) for text in sys.argv[1:]]))
