import {
  type Allowed,
  type Decision,
  DeniedError,
  exactly,
  newKey,
  path,
  persistent,
  type Quantity,
  type Transport,
} from "./protocol.js";

export interface Options {
  /** TOLLGATE_URL, or http://127.0.0.1:8080, unless given. */
  url?: string;
  /** TOLLGATE_API_KEY unless given. */
  apiKey?: string;
  /** How long one attempt may take; 10 s unless given. */
  timeoutMs?: number;
  /** How long one call is tried again before `Unreachable` is thrown; 30 s unless given. */
  patienceMs?: number;
  fetch?: typeof globalThis.fetch;
}

export interface UseOptions {
  quantity?: Quantity;
  user?: string;
  /** The id of your work. Without one, a random key is made for the call and kept over its retries. */
  key?: string;
  properties?: Record<string, string | number | boolean>;
}

export interface TopUpOptions {
  key?: string;
  expiresAt?: string;
  reason?: string;
}

export interface BatchAnswer {
  counted: number;
  duplicates: number;
  rejected: number;
  results: { index: number; status: string; code: string; detail: string }[];
}

export class Tollgate {
  readonly #transport: Transport;

  constructor(options: Options = {}) {
    const environment = globalThis.process?.env ?? {};
    const apiKey = options.apiKey ?? environment["TOLLGATE_API_KEY"];
    this.#transport = {
      url: (options.url ?? environment["TOLLGATE_URL"] ?? "http://127.0.0.1:8080").replace(/\/$/, ""),
      headers: apiKey ? { authorization: `Bearer ${apiKey}` } : {},
      timeoutMs: options.timeoutMs ?? 10_000,
      patienceMs: options.patienceMs ?? 30_000,
      fetch: options.fetch ?? globalThis.fetch,
    };
  }

  /** Checks and counts in one step. */
  async use(org: string, meter: string, options: UseOptions = {}): Promise<Decision> {
    const { quantity = 1, key = newKey(), ...rest } = options;
    return (await this.request("POST", "/v1/usage", { org, meter, quantity: exactly(quantity), key, ...rest })) as Decision;
  }

  /** `use` that throws `DeniedError` in place of a denial. */
  async require(org: string, meter: string, options: UseOptions = {}): Promise<Allowed> {
    const decision = await this.use(org, meter, options);
    if (!decision.allowed) throw new DeniedError(decision);
    return decision;
  }

  /** Whether a usage would pass, with every check; nothing is counted. */
  check(org: string, meter: string, options: Omit<UseOptions, "key" | "properties"> = {}): Promise<unknown> {
    const { quantity = 1, ...rest } = options;
    return this.request("POST", "/v1/usage/check", { org, meter, quantity: exactly(quantity), ...rest });
  }

  /** Takes a usage back by its key, once. */
  reverse(org: string, key: string): Promise<unknown> {
    return this.request("POST", "/v1/usage/reversals", { org, key });
  }

  /** Counts usage that has happened; each record has a `key`. See `Batcher` for a stream of them. */
  async record(records: unknown[]): Promise<BatchAnswer> {
    return (await this.request("POST", "/v1/usage/batch", records)) as BatchAnswer;
  }

  /** Sets the plan of an organization, and creates it. */
  setPlan(org: string, plan: string): Promise<unknown> {
    return this.request("PUT", path("orgs", org, "plan"), { plan });
  }

  /** Adds credit, once for each key. */
  topUp(org: string, meter: string, amount: Quantity, options: TopUpOptions = {}): Promise<unknown> {
    const { key = newKey(), expiresAt, reason } = options;
    const body = { meter, amount: exactly(amount), key, expires_at: expiresAt, reason };
    return this.request("POST", path("orgs", org, "top-ups"), body);
  }

  /** Credit, usage and limits of an organization. */
  balance(org: string): Promise<unknown> {
    return this.request("GET", path("orgs", org, "balance"));
  }

  /** Any other route. It is sent again after a lost answer: give what changes something a key. */
  request(method: string, route: string, body?: unknown): Promise<unknown> {
    return persistent(this.#transport, { method, path: route, body });
  }
}
