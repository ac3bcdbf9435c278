/**
 * Client of Tollgate: ask before you work, count once, retry safely.
 *
 * Every call that changes something carries an idempotency key, made once per call and kept over all its attempts. So a call is
 * sent again after a lost answer, a restart of the server or a 503, and still counts once.
 */

export { Tollgate, type OperationId, type Options, type Parameters, type UseOptions, type TopUpOptions } from "./client.js";
export { Batcher, type BatcherOptions, type Rejection, type UsageRecord } from "./batcher.js";
export { Held, type CaptureReply, type HoldOptions, type HoldReply } from "./hold.js";
export { express, type Caller, type ExpressOptions } from "./express.js";
export {
  ApiError,
  DeniedError,
  Unreachable,
  type Allowed,
  type Decision,
  type Denied,
  type HoldItem,
  type Limit,
  type Problem,
  type ModelCall,
  type Quantity,
} from "./protocol.js";
