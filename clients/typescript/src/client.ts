import {
  amount,
  type Allowed,
  type Decision,
  type Denied,
  DeniedError,
  exactly,
  type ModelCall,
  newKey,
  path,
  persistent,
  type Quantity,
  type Transport,
} from "./protocol.js";
import { Held, type HoldOptions, type HoldReply } from "./hold.js";
import { operations } from "./operations.js";

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
  quantity?: Quantity | ModelCall;
  user?: string;
  /** Where below the organization, such as `research/agent-7/run-42`. */
  path?: string;
  /** The id of your work. Without one, a random key is made for the call and kept over its retries. */
  key?: string;
  properties?: Record<string, string | number | boolean>;
}

export interface TopUpOptions {
  key?: string;
  effectiveAt?: string;
  expiresAt?: string;
  /** Lower burns first. */
  priority?: number;
  reason?: string;
  metadata?: Record<string, unknown>;
}

/** The operations of the API, by their ids in `openapi.json`. */
export type OperationId = keyof typeof operations;

/** The names in a path such as `/v1/orgs/{org}/holds`. */
type PathNames<P extends string> = P extends `${string}{${infer Name}}${infer Rest}` ? Name | PathNames<Rest> : never;

/** The parameters of an operation: those of its path are needed, those of its query are not. */
export type Parameters<K extends OperationId> = { [N in PathNames<(typeof operations)[K]["path"]>]: string | number } & {
  [N in (typeof operations)[K]["query"][number]]?: string | number | boolean;
};

export interface BatchAnswer {
  counted: number;
  duplicates: number;
  rejected: number;
  results: { index: number; status: string; code: string; detail: string; field?: string; entry?: number }[];
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
    return (await this.request("POST", "/v1/usage", { org, meter, ...amount(quantity), key, ...rest })) as Decision;
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
    return this.request("POST", "/v1/usage/check", { org, meter, ...amount(quantity), ...rest });
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
    const { key = newKey(), effectiveAt, expiresAt, ...rest } = options;
    const body = { meter, amount: exactly(amount), key, effective_at: effectiveAt, expires_at: expiresAt, ...rest };
    return this.request("POST", path("orgs", org, "top-ups"), body);
  }

  /** Credit, usage and limits of an organization. */
  balance(org: string): Promise<unknown> {
    return this.request("GET", path("orgs", org, "balance"));
  }

  /** Reserves an amount, or what a call of a model may cost; throws `DeniedError` if there is no room. */
  async hold(org: string, meter: string, quantity: Quantity | ModelCall, options: HoldOptions = {}): Promise<Held> {
    const { key = newKey(), expiresIn, onExpiry, overrun, ...rest } = options;
    const body = {
      // Its `quantity`, or its `call`.
      ...{ org, meter, ...amount(quantity), key, expires_in: expiresIn, on_expiry: onExpiry },
      ...{ overrun: overrun === undefined ? undefined : exactly(overrun), ...rest },
    };
    const answer = (await this.request("POST", "/v1/holds", body)) as HoldReply | Denied;
    if (!answer.allowed) throw new DeniedError(answer);
    return new Held(this, answer);
  }

  /** The same as a scope: what was not captured when `work` ends, or fails, is given back. */
  async withHold<T>(
    ...[org, meter, quantity, options, work]: [string, string, Quantity | ModelCall, HoldOptions, (held: Held) => Promise<T>]
  ): Promise<T> {
    const held = await this.hold(org, meter, quantity, options);
    try {
      return await work(held);
    } finally {
      await held.release();
    }
  }

  /** Any operation of the API: `call("list_holds", { org: "acme", limit: 10 })`. */
  call<K extends OperationId>(operation: K, parameters: Parameters<K>, body?: unknown): Promise<unknown> {
    const { method, path: template, query } = operations[operation];
    const given = parameters as Record<string, string | number | boolean | undefined>;
    const route = template.replace(/{(\w+)}/g, (_, name: string) => {
      if (given[name] === undefined) throw new TypeError(`${operation} needs ${name}`);
      return encodeURIComponent(given[name]);
    });
    const asked = new URLSearchParams();
    for (const name of query as readonly string[]) if (given[name] !== undefined) asked.set(name, String(given[name]));
    return this.request(method, `${asked}` === "" ? route : `${route}?${asked}`, body);
  }

  /** Any other route. It is sent again after a lost answer: give what changes something a key. */
  request(method: string, route: string, body?: unknown): Promise<unknown> {
    return persistent(this.#transport, { method, path: route, body });
  }
}
