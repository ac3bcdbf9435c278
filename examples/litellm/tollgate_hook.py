"""Holds credit before a call of a model, and captures what the call cost after it: a callback of the LiteLLM proxy.

See docs/how-to/litellm.md. Settings: TOLLGATE_URL, TOLLGATE_API_KEY, TOLLGATE_METER, TOLLGATE_ORG, TOLLGATE_EXPIRES_IN.
"""

import asyncio
import logging
import os
import uuid
from decimal import ROUND_UP, Decimal

import httpx
from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy import proxy_server
from litellm.proxy.spend_tracking.budget_reservation import estimate_request_max_cost

METER = os.environ.get("TOLLGATE_METER", "usd")
EXPIRES_IN = int(os.environ.get("TOLLGATE_EXPIRES_IN", "3600"))  # seconds; longer than the longest call
OVERRUN = "1000"  # how much more than its estimate a call may cost
HOLD = "tollgate_hold"  # where LiteLLM carries the hold of a call
PAUSES = (0.2, 1, 5)  # seconds between tries


def usd(cost):
    """A cost with nine decimals, without the noise of a float, and never rounded to zero."""
    return format(Decimal(f"{cost:.15f}").quantize(Decimal("1e-12")).quantize(Decimal("1e-9"), ROUND_UP), "f")


def metadata(data):
    """What LiteLLM keeps of a request: under another name on the routes whose requests have metadata of their own."""
    return data.setdefault("litellm_metadata" if "litellm_metadata" in data else "metadata", {})


class Tollgate(CustomLogger):
    def __init__(self):
        super().__init__()
        key = os.environ.get("TOLLGATE_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.gate = httpx.AsyncClient(base_url=os.environ["TOLLGATE_URL"], headers=headers, timeout=5)

    async def ask(self, path, body):
        """Every step has a key or ends its hold once, so it can be sent again."""
        for pause in (*PAUSES, None):
            try:
                answer = await self.gate.post(path, json=body)
                if answer.status_code < 500:
                    return answer
            except httpx.TransportError:
                pass
            if pause:
                await asyncio.sleep(pause)
        raise HTTPException(503, "Tollgate cannot be reached")

    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        caller = user_api_key_dict
        route = caller.request_route or ""
        org = caller.org_id or caller.team_id or os.environ.get("TOLLGATE_ORG")
        estimate = estimate_request_max_cost(data, route, proxy_server.llm_router)
        if org is None:
            raise HTTPException(403, "the key has neither organization nor team, and TOLLGATE_ORG is not set")
        if not estimate:
            raise HTTPException(403, f"the model {data.get('model')} has no price")
        hold = {
            "org": org,
            "user": caller.user_id,
            "meter": METER,
            "quantity": usd(estimate),
            # Not LiteLLM's id of the call, which clients can choose.
            "key": str(uuid.uuid4()),
            "expires_in": EXPIRES_IN,
            "overrun": OVERRUN,
            "on_expiry": "charge",
        }
        answer = await self.ask("/v1/holds", hold)
        if answer.status_code != 200:
            raise HTTPException(answer.status_code, answer.json())
        hold["hold"] = answer.json()["hold"]["hold"]
        # LiteLLM carries the one to a success, the other to a failure.
        data["litellm_logging_obj"].model_call_details[HOLD] = hold
        metadata(data)[HOLD] = hold
        return data

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        """The call ended, or its client left in mid-stream: what was streamed until then has a cost, too."""
        if hold := kwargs.get(HOLD):
            cost = kwargs.get("response_cost")
            await self.capture(hold, hold["quantity"] if cost is None else usd(cost))

    async def async_post_call_failure_hook(self, request_data, original_exception, user_api_key_dict, *_, **__):
        await self.release(request_data)

    async def async_post_call_streaming_iterator_hook(self, user_api_key_dict, response, request_data):
        streamed = False
        try:
            async for chunk in response:
                streamed = True
                yield chunk
        except (asyncio.CancelledError, GeneratorExit):
            if not streamed:
                await asyncio.shield(self.release(request_data))
            raise

    async def capture(self, hold, cost):
        answer = await self.ask(f"/v1/holds/{hold['hold']}/capture", {"quantity": cost})
        if answer.status_code == 409 and not Decimal(str(answer.json()["hold"]["captured"])):
            # The hold was released, and its call cost something all the same: what was used is recorded.
            usage = {key: hold[key] for key in ("org", "user", "meter")}
            usage |= {"quantity": cost, "key": hold["key"] + "-late"}
            answer = await self.ask("/v1/usage/batch", [usage])
        if answer.status_code != 200:
            logging.getLogger(__name__).error("hold %s was not captured: %s", hold["hold"], answer.text)

    async def release(self, request_data):
        if hold := metadata(request_data).get(HOLD):
            await self.ask(f"/v1/holds/{hold['hold']}/release", {})


hook = Tollgate()
