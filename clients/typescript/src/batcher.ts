import type { Tollgate } from "./client.js";
import { amount, ApiError, type ModelCall, newKey, type Quantity, Unreachable } from "./protocol.js";

export interface UsageRecord {
  org: string;
  meter: string;
  /** 1 unless given; or a `call` of a model, which the catalog prices. */
  quantity?: Quantity | ModelCall;
  user?: string;
  /** Where below the organization, such as `research/agent-7/run-42`. */
  path?: string;
  key?: string;
  /** RFC 3339. */
  time?: string;
  properties?: Record<string, string | number | boolean>;
}

/** A record that the server refused for good, and why. */
export interface Rejection {
  record: UsageRecord;
  code: string;
  detail: string;
}

export interface BatcherOptions {
  /** Records in one request; 1,000 unless given. */
  batchMax?: number;
  /** Records that are not sent yet before `add` waits; 100,000 unless given. */
  waitingMax?: number;
  onRejection?: (rejection: Rejection) => void;
}

/** A record as it is sent. */
function sent({ quantity = 1, ...rest }: UsageRecord): unknown {
  return { ...rest, ...amount(quantity) };
}

/**
 * Takes records and sends them, each until it is counted.
 *
 * A record gets its key when it is added, so a batch that is sent twice counts once. `flush` resolves when all that was added
 * before is on the server's disk. Records that were added and not flushed are lost if your own process dies; where that matters,
 * add them again from their source with keys of your own.
 */
export class Batcher {
  counted = 0;
  duplicates = 0;
  readonly rejected: Rejection[] = [];
  readonly #batchMax: number;
  readonly #waitingMax: number;
  #waiting: UsageRecord[] = [];
  #sending: Promise<void> | undefined;

  constructor(
    private readonly client: Tollgate,
    private readonly options: BatcherOptions = {},
  ) {
    this.#batchMax = options.batchMax ?? 1_000;
    this.#waitingMax = options.waitingMax ?? 100_000;
  }

  /** Adds a record; gives its key. Waits while too many are not sent yet: nothing is dropped. */
  async add(record: UsageRecord): Promise<string> {
    while (this.#waiting.length >= this.#waitingMax) await this.#send();
    const key = record.key ?? newKey();
    // What is not exact is refused here, not in the batch.
    amount(record.quantity ?? 1);
    this.#waiting.push({ ...record, key });
    if (this.#waiting.length >= this.#batchMax) void this.#send().catch(() => undefined);
    return key;
  }

  /** Resolves when all that was added is counted or rejected. */
  async flush(): Promise<void> {
    while (this.#waiting.length > 0 || this.#sending) await this.#send();
  }

  /** One batch at a time. */
  #send(): Promise<void> {
    this.#sending ??= this.#sendBatch().finally(() => (this.#sending = undefined));
    return this.#sending;
  }

  async #sendBatch(): Promise<void> {
    const batch = this.#waiting.slice(0, this.#batchMax);
    if (batch.length === 0) return;
    for (;;) {
      try {
        const answer = await this.client.record(batch.map(sent));
        this.counted += answer.counted;
        this.duplicates += answer.duplicates;
        for (const { index, code, detail, status } of answer.results) {
          const record = batch[index];
          if (status === "rejected" && record) this.#reject({ record, code, detail });
        }
        break;
      } catch (error) {
        // The client has waited for its patience; what was added is sent for as long as this runs.
        if (error instanceof Unreachable) continue;
        if (!(error instanceof ApiError)) throw error;
        for (const record of batch) this.#reject({ record, code: error.code, detail: error.message });
        break;
      }
    }
    this.#waiting = this.#waiting.slice(batch.length);
  }

  #reject(rejection: Rejection): void {
    this.rejected.push(rejection);
    this.options.onRejection?.(rejection);
  }
}
