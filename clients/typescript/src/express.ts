import type { Tollgate } from "./client.js";
import { newKey, type Quantity } from "./protocol.js";

/** Who uses what a request uses, and how much of it. */
export interface Caller {
  org: string;
  user?: string;
  quantity?: Quantity;
}

/** The part of Express, or of Node's own server, that is needed. */
interface IncomingRequest {
  headers: Record<string, string | string[] | undefined>;
}
interface OutgoingResponse {
  statusCode: number;
  writableFinished?: boolean;
  setHeader(name: string, value: string): unknown;
  end(body?: string): unknown;
  on(event: "close", listener: () => void): unknown;
}

export interface ExpressOptions<R> {
  client: Tollgate;
  meter: string;
  /** Gives who calls, or undefined for what is not counted. */
  identify: (request: R) => Caller | undefined;
}

/**
 * Middleware for Express, Connect and Node's own server: asks before the handler works. A denial is answered with the problem of
 * the server, and the handler does not run. If the handler fails (5xx) the usage is taken back.
 */
export function express<R extends IncomingRequest>(options: ExpressOptions<R>) {
  return async (request: R, response: OutgoingResponse, next: (error?: unknown) => void): Promise<void> => {
    const caller = options.identify(request);
    if (!caller) return next();
    const given = request.headers["idempotency-key"];
    const key = typeof given === "string" ? given.replace(/^"|"$/g, "") : newKey();
    try {
      const { org, ...rest } = caller;
      const decision = await options.client.use(org, options.meter, { ...rest, key });
      if (!decision.allowed) {
        const { retryAfterSecs, ...problem } = decision;
        response.statusCode = problem.status;
        response.setHeader("content-type", "application/problem+json");
        if (retryAfterSecs !== undefined) response.setHeader("retry-after", String(retryAfterSecs));
        response.end(JSON.stringify(problem));
        return;
      }
      response.on("close", () => {
        // A replay was paid for by the request that came first.
        if (response.statusCode >= 500 && !decision.replayed) {
          options.client.reverse(org, key).catch((error: unknown) => console.error("tollgate: not taken back:", error));
        }
      });
    } catch (error) {
      return next(error);
    }
    next();
  };
}
