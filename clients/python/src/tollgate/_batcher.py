"""A stream of usage records, sent in batches by a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from . import _protocol as protocol
from ._client import Tollgate
from ._protocol import Json, ModelCall, Quantity, Unreachable


@dataclass(frozen=True)
class Rejection:
    """A record that the server refused for good, and why."""

    record: Json
    code: str
    detail: str


class Batcher:
    """Takes records and sends them, each until it is counted.

    A record gets its key when it is added, so a batch that is sent twice counts once. `add` waits when `waiting_max` records
    are not sent yet: nothing is dropped. `flush` returns when all that was added before is on the server's disk. Records that
    were added and not flushed are lost if your own process dies; where that matters, add them again from their source with
    keys of your own.
    """

    def __init__(
        self,
        client: Tollgate,
        *,
        batch_max: int = 1_000,
        wait_secs: float = 0.5,
        waiting_max: int = 100_000,
        on_rejection: Callable[[Rejection], None] | None = None,
    ) -> None:
        self._client = client
        self._batch_max = batch_max
        self._wait_secs = wait_secs
        self._on_rejection = on_rejection
        self._queue: queue.Queue[Json | None] = queue.Queue(waiting_max)
        self.counted = 0
        self.duplicates = 0
        self.rejected: list[Rejection] = []
        self._thread = threading.Thread(target=self._work, name="tollgate-batcher", daemon=True)
        self._thread.start()

    def add(
        self,
        org: str,
        meter: str,
        *,
        quantity: Quantity | ModelCall = 1,
        user: str | None = None,
        key: str | None = None,
        time: str | None = None,
        properties: Mapping[str, Any] | None = None,
        path: str | None = None,
    ) -> str:
        """Adds a record; gives its key."""
        key = key or protocol.new_key()
        self._queue.put(protocol.usage(org, meter, quantity, user, key, properties, time, path))
        return key

    def flush(self) -> None:
        """Waits until all that was added is counted or rejected."""
        self._queue.join()

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        is_open = True
        while is_open:
            batch: list[Json] = []
            record = self._queue.get()
            while True:
                if record is None:
                    is_open = False
                    self._queue.task_done()
                    break
                batch.append(record)
                if len(batch) == self._batch_max:
                    break
                try:
                    record = self._queue.get(timeout=self._wait_secs)
                except queue.Empty:
                    break
            if batch:
                self._send(batch)
                for _ in batch:
                    self._queue.task_done()

    def _send(self, batch: list[Json]) -> None:
        while True:
            try:
                answer = self._client.record(batch)
                break
            except Unreachable:
                # The client has waited for its patience; what was added is sent for as long as this runs.
                continue
            except protocol.ApiError as error:
                self._reject([(record, error.code, str(error)) for record in batch])
                return
        self.counted += answer["counted"]
        self.duplicates += answer["duplicates"]
        refused = [result for result in answer["results"] if result["status"] == "rejected"]
        self._reject([(batch[result["index"]], result["code"], result["detail"]) for result in refused])

    def _reject(self, refused: list[tuple[Json, str, str]]) -> None:
        for record, code, detail in refused:
            rejection = Rejection(record, code, detail)
            self.rejected.append(rejection)
            if self._on_rejection is not None:
                self._on_rejection(rejection)
