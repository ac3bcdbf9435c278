"""Many concurrent calls and a stream of records while the server is killed: arguments are its address and how many."""

import asyncio
import sys
import threading

from tollgate import AsyncTollgate, Batcher, Tollgate

URL, CALLS = sys.argv[1], int(sys.argv[2])
PATIENCE_SECS = 120.0


async def calls() -> None:
    done = 0
    async with AsyncTollgate(URL, patience_secs=PATIENCE_SECS, connections_max=64) as gate:

        async def one(number: int) -> None:
            nonlocal done
            decided = await gate.use("acme", "api_call", key=f"call-{number}")
            assert decided.allowed
            done += 1
            if done % (CALLS // 10) == 0:
                print("progress", flush=True)

        await asyncio.gather(*(one(number) for number in range(CALLS)))


def records() -> None:
    with Tollgate(URL, patience_secs=PATIENCE_SECS) as gate, Batcher(gate, batch_max=50, wait_secs=0.01) as batcher:
        for _ in range(CALLS):
            batcher.add("globex", "api_call")
        batcher.flush()
        assert not batcher.rejected
        assert batcher.counted + batcher.duplicates == CALLS


with Tollgate(URL) as setup:
    setup.set_plan("acme", "pro")
    setup.set_plan("globex", "pro")
stream = threading.Thread(target=records)
stream.start()
asyncio.run(calls())
stream.join()
print("done", flush=True)
