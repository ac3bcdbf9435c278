// What is sent and what it means.

/** A whole number, or a text such as "2.5": fractions of a JavaScript number are not exact, so they are refused. */
export type Quantity = number | string;

/** A call of a language model, in place of a quantity: the catalog prices it. */
export interface ModelCall {
  model: string;
  tier?: "standard" | "batch" | "flex" | "priority";
  input_tokens?: number;
  cached_input_tokens?: number;
  cache_write_tokens?: number;
  audio_input_tokens?: number;
  /** In a hold: what may come at most. */
  output_tokens?: number;
  reasoning_tokens?: number;
  audio_output_tokens?: number;
}

/** The limit or credit that decided a denial. */
export interface Limit {
  /** `org`, `path`, `user` or `hold`. */
  scope: string;
  user?: string;
  /** The path that is full: that of the usage, or one that it lies below. */
  path?: string;
  window?: string;
  amount: number | null;
  used: number | null;
  /** What holds reserve of it. */
  held?: number;
  remaining: number | null;
  resets_at: string | null;
}

/** `application/problem+json`, with a stable `code`. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  field?: string;
  request_id?: string;
  /** What a catalog would break, of each one. */
  conflicts?: string[];
  /** The hold that has ended, or is too small. */
  hold?: HoldItem;
  allowed?: boolean;
  quantity?: number;
  remaining?: number | null;
  limit?: Limit;
}

/** A hold as the server knows it. */
export interface HoldItem {
  hold: string;
  state: "open" | "captured" | "released" | "expired";
  org: string;
  user?: string;
  path?: string;
  meter: string;
  key: string;
  quantity: number;
  held: number;
  captured: number;
  overran: number;
  carved: number;
  overrun: number;
  on_expiry: "release" | "charge";
  within?: string | null;
  properties?: Record<string, string | number | boolean>;
  made_at: string;
  expires_at: string;
  ended_at?: string | null;
  ended_by?: number | null;
}

/** The usage is counted, and on disk. */
export interface Allowed {
  allowed: true;
  /** This call was counted before: a retry. */
  replayed: boolean;
  key: string;
  org: string;
  meter: string;
  quantity: number;
  /** Credit that is left; null where the plan does not ask for credit. */
  remaining: number | null;
  used: number;
  total: number | null;
  /** What holds reserve of it, while there are some. */
  held?: number;
  user?: string;
  path?: string;
  user_used?: number;
  /** The number of the ledger entry. */
  entry: number;
}

/** Nothing was counted. The key is still free: after a top-up the same call may pass. */
export interface Denied extends Problem {
  allowed: false;
  /** With 429: when there is room again. */
  retryAfterSecs?: number;
}

export type Decision = Allowed | Denied;

/** Thrown by `require`. */
export class DeniedError extends Error {
  constructor(readonly denied: Denied) {
    super(`${denied.code}: ${denied.detail}`);
    this.name = "DeniedError";
  }
}

/** The call is wrong, or the server failed for good; sending it again does not help. */
export class ApiError extends Error {
  readonly code: string;
  constructor(
    readonly status: number,
    readonly problem: Partial<Problem>,
  ) {
    super(`${status} ${problem.code ?? ""}: ${problem.detail ?? problem.title ?? ""}`);
    this.name = "ApiError";
    this.code = problem.code ?? "";
  }
}

/** No answer within the patience of the client. The call may have been counted: send it again with the same key. */
export class Unreachable extends Error {
  constructor(message: string, cause: unknown) {
    super(message, { cause });
    this.name = "Unreachable";
  }
}

/** Statuses after which the same call may succeed, and is safe to send again. */
const TRANSIENT = new Set([408, 500, 502, 503, 504]);
const FIRST_PAUSE_MS = 50;
const PAUSE_MS_MAX = 5_000;

export interface Request {
  method: string;
  path: string;
  body?: unknown;
}

export interface Transport {
  url: string;
  headers: Record<string, string>;
  timeoutMs: number;
  patienceMs: number;
  fetch: typeof globalThis.fetch;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Sends a request until there is an answer that stands, pausing longer each time. */
export async function persistent(transport: Transport, request: Request): Promise<unknown> {
  let waited = 0;
  let pause = FIRST_PAUSE_MS;
  for (;;) {
    let why: unknown;
    let asked = 0;
    try {
      const response = await once(transport, request);
      const text = await response.text();
      const body: unknown = text === "" ? {} : JSON.parse(text);
      const problem = body as Partial<Problem>;
      const isFlood = response.status === 429 && problem.code === "rate_limited";
      if (!TRANSIENT.has(response.status) && !isFlood) return standing(response, body);
      asked = Number(response.headers.get("retry-after") ?? 0) * 1000;
      why = new ApiError(response.status, problem);
    } catch (error) {
      if (error instanceof ApiError) throw error;
      why = error;
    }
    // Half of the pause is random, so that many clients do not come back together.
    const next = Math.max(pause * (0.5 + Math.random() / 2), Math.min(asked, PAUSE_MS_MAX));
    if (waited + next > transport.patienceMs) {
      throw new Unreachable(`${request.method} ${request.path}: no answer in ${Math.round(waited)} ms (${String(why)})`, why);
    }
    await sleep(next);
    waited += next;
    pause = Math.min(pause * 2, PAUSE_MS_MAX);
  }
}

function once(transport: Transport, request: Request): Promise<Response> {
  const init: RequestInit = {
    method: request.method,
    headers: { ...transport.headers, ...(request.body === undefined ? {} : { "content-type": "application/json" }) },
    signal: AbortSignal.timeout(transport.timeoutMs),
  };
  if (request.body !== undefined) init.body = JSON.stringify(request.body);
  return transport.fetch(transport.url + request.path, init);
}

function standing(response: Response, body: unknown): unknown {
  if (response.status < 400) return body;
  const problem = body as Problem;
  if (problem.allowed !== false) throw new ApiError(response.status, problem);
  const after = response.headers.get("retry-after");
  return after === null ? problem : { ...problem, retryAfterSecs: Number(after) };
}

/** How much, as it is sent: a quantity, or a call that is priced. */
export function amount(quantity: Quantity | ModelCall): { quantity: Quantity } | { call: ModelCall } {
  return typeof quantity === "object" ? { call: quantity } : { quantity: exactly(quantity) };
}

/** A quantity that is exact in JSON. */
export function exactly(quantity: Quantity): Quantity {
  if (typeof quantity === "number" && !Number.isSafeInteger(quantity)) {
    throw new TypeError(`${quantity} is not exact: give fractions as text, such as "2.5"`);
  }
  return quantity;
}

export function newKey(): string {
  return globalThis.crypto.randomUUID();
}

export function path(...segments: string[]): string {
  return "/v1/" + segments.map(encodeURIComponent).join("/");
}
