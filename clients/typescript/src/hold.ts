import type { Tollgate } from "./client.js";
import { amount, type HoldItem, type ModelCall, newKey, path, type Quantity, Unreachable } from "./protocol.js";

export interface HoldOptions {
  user?: string;
  /** Where below the organization, such as `research/agent-7/run-42`. */
  path?: string;
  /** The id of your work; a random key unless given. */
  key?: string;
  /** Seconds; 600 unless given. */
  expiresIn?: number;
  /** How much more than is held may be captured. */
  overrun?: Quantity;
  onExpiry?: "release" | "charge";
  /** The id of the hold to carve it out of. */
  within?: string;
  properties?: Record<string, string | number | boolean>;
}

export interface HoldReply {
  allowed: true;
  replayed: boolean;
  remaining: number | null;
  hold: HoldItem;
}

export interface CaptureReply {
  captured: number;
  replayed: boolean;
  entry: number;
  remaining: number | null;
  hold: HoldItem;
}

/** A hold that was taken. `withHold` gives back what was not captured; so does `release`. */
export class Held {
  /** The hold as it was after the last call. */
  item: HoldItem;
  /** It was taken before: a retry. */
  readonly replayed: boolean;
  #isOpen: boolean;

  constructor(
    private readonly client: Tollgate,
    reply: HoldReply,
  ) {
    this.item = reply.hold;
    this.replayed = reply.replayed;
    this.#isOpen = this.item.state === "open";
  }

  get id(): string {
    return this.item.hold;
  }

  /** Charges what was used. The last capture ends the hold; one that is not final is a part. */
  async capture(
    quantity: Quantity | ModelCall,
    options: { final?: boolean; key?: string } = {},
  ): Promise<CaptureReply> {
    const part = options.final === false ? { final: false, key: options.key ?? newKey() } : {};
    try {
      const body = { ...amount(quantity), ...part };
      const reply = (await this.client.request("POST", path("holds", this.id, "capture"), body)) as CaptureReply;
      this.#see(reply.hold);
      return reply;
    } catch (error) {
      // What was captured is not known: a release could take from what is owed. It expires by itself.
      if (error instanceof Unreachable) this.#isOpen = false;
      throw error;
    }
  }

  /** Gives back what is held, now. */
  async release(): Promise<void> {
    if (!this.#isOpen) return;
    const reply = (await this.client.request("POST", path("holds", this.id, "release"))) as { hold: HoldItem };
    this.#see(reply.hold);
  }

  #see(item: HoldItem): void {
    this.item = item;
    this.#isOpen = item.state === "open";
  }
}
