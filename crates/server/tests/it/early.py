"""Sends requests one after the other over one HTTP/2 connection of httpx and prints their statuses."""

import json
import ssl
import sys

import httpx

origin, certificate, times, *cases = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
statuses = []
with httpx.Client(http1=False, http2=True, verify=context, trust_env=False) as client:
    for case in map(json.loads, cases):
        headers = {"authorization": f"Bearer {case['key']}", "content-type": case["type"]}
        for _ in range(int(times)):
            response = client.post(origin + case["path"], headers=headers, content=b" " * case["bytes"])
            assert response.http_version == "HTTP/2", response.http_version
            statuses.append(response.status_code)
print(json.dumps(statuses))
