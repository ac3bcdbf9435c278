"""Client of Tollgate: ask before you work, count once, retry safely.

Every call that changes something carries an idempotency key, made once per call and kept over all its attempts. So a call is
sent again after a lost answer, a restart of the server or a 503, and still counts once.
"""

from ._batcher import Batcher, Rejection
from ._client import AsyncHeld, AsyncTollgate, Held, Tollgate
from ._middleware import Caller, TollgateMiddleware
from ._protocol import Allowed, ApiError, Decision, Denied, DeniedError, Limit, ModelCall, Unreachable

__all__ = [
    "Allowed",
    "ApiError",
    "AsyncHeld",
    "AsyncTollgate",
    "Batcher",
    "Caller",
    "Decision",
    "Denied",
    "DeniedError",
    "Held",
    "Limit",
    "ModelCall",
    "Rejection",
    "Tollgate",
    "TollgateMiddleware",
    "Unreachable",
]
