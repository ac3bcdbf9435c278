"""Drives `tollgate mcp` with the official SDK of another language: calls tools, and prints what came of it as JSON.

Arguments: what to connect to, and the calls. The first is `{"command": [...], "env": {...}}` or `{"url": ..., "key": ...}`, the
second a list of `[tool, arguments]`.
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client


def transport(to):
    if "url" in to:
        headers = {"Authorization": f"Bearer {to['key']}"} if to.get("key") else {}
        return streamable_http_client(to["url"], http_client=httpx2.AsyncClient(headers=headers, timeout=30))
    command, *args = to["command"]
    return StdioServerParameters(command=command, args=args, env=to["env"])


def told(result):
    return {
        "is_error": bool(result.is_error),
        "said": result.structured_content,
        "text": "".join(block.text for block in result.content),
    }


async def main(to, calls):
    async with Client(transport(to), mode=to.get("mode", "auto")) as client:
        listed = await client.list_tools()
        tools = {
            tool.name: {
                "needed": tool.input_schema.get("required", []),
                "members": sorted(tool.input_schema["properties"]),
                "reads": tool.annotations.read_only_hint,
                "described": bool(tool.description),
            }
            for tool in listed.tools
        }
        results = []
        for tool, arguments in calls:
            results.append(told(await client.call_tool(tool, arguments)))
        about = {"server": client.server_info.name, "protocol": client.protocol_version, "instructions": client.instructions}
        print(json.dumps({"about": about, "tools": tools, "results": results}))


asyncio.run(main(json.loads(sys.argv[1]), json.loads(sys.argv[2])))
