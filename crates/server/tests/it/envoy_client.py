"""Asks Envoy's rate limit service by gRPC: `python envoy_client.py HOST:PORT [NAME]`, where NAME is what it calls the server.

Takes calls as lines of JSON, and says how each ended, a line of JSON for each. The messages are those of Envoy's own API,
as the package `envoy_data_plane` has them.
"""

import json
import sys

import grpc
from envoy_data_plane.envoy.extensions.common.ratelimit.v3 import (
    RateLimitDescriptor,
    RateLimitDescriptorEntry,
    RateLimitDescriptorRateLimitOverride,
)
from envoy_data_plane.envoy.service.ratelimit.v3 import RateLimitRequest, RateLimitResponse

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

options = [("grpc.default_authority", name) for name in sys.argv[2:]]
channel = grpc.insecure_channel(sys.argv[1], options)
should_rate_limit = channel.unary_unary(METHOD, lambda message: message, lambda reply: RateLimitResponse.parse(reply))


def descriptor(entries, hits=None, limit=False, negative=False):
    return RateLimitDescriptor(
        entries=[RateLimitDescriptorEntry(key=key, value=value) for key, value in entries],
        hits_addend=hits,
        limit=RateLimitDescriptorRateLimitOverride(requests_per_unit=1, unit=1) if limit else None,
        is_negative_hits=negative,
    )


def message(call):
    if "raw" in call:
        return bytes.fromhex(call["raw"])
    descriptors = [descriptor(**each) for each in call.get("descriptors", [])]
    return bytes(RateLimitRequest(domain=call.get("domain", ""), descriptors=descriptors, hits_addend=call.get("hits", 0)))


def said(status):
    told = {"code": status.code.name, "remaining": status.limit_remaining}
    if status.current_limit is not None:
        limit = status.current_limit
        told |= {"limit": limit.requests_per_unit, "unit": limit.unit.name, "name": limit.name}
    if status.duration_until_reset is not None:
        told["reset"] = status.duration_until_reset.total_seconds()
    return told


for line in sys.stdin:
    call = json.loads(line)
    metadata = [("authorization", f"Bearer {call['api_key']}")] if "api_key" in call else []
    metadata += call.get("metadata", {}).items()
    try:
        reply = should_rate_limit(message(call), metadata=metadata, timeout=30)
        headers = {header.key: header.value for header in reply.response_headers_to_add}
        told = {"code": reply.overall_code.name, "statuses": [said(status) for status in reply.statuses], "headers": headers}
    except grpc.RpcError as error:
        told = {"error": error.code().name, "message": error.details()}
    print(json.dumps(told), flush=True)
