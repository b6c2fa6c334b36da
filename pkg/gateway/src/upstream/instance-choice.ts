import { createHash } from "node:crypto";
import type { BalancingConfig, HashBy, StickyConfig } from "../config/schema-balancing.ts";
import { cookieIn, headerOf } from "../router/conditions.ts";

/** What a request says of the instance that it should go to. */
export interface InstanceWish {
  /** Same key, same instance. */
  readonly key: string | undefined;
  /** What the cookie holds that the gateway has set. */
  readonly cookie: string | undefined;
}

/** What of a request may count. */
export interface WishFacts {
  /** Name and value by turns. */
  readonly headers: readonly string[];
  /** Unique among all callers; undefined without a token. */
  readonly subject: string | undefined;
  readonly address: string;
}

/** Reads out of a request what decides on its instance, and writes what it shall say next time. */
export class InstanceChoice {
  readonly #hashBy: HashBy | undefined;
  readonly #sticky: StickyConfig | undefined;

  constructor({ hashBy, sticky }: Pick<BalancingConfig, "hashBy" | "sticky">) {
    this.#hashBy = hashBy;
    this.#sticky = sticky;
  }

  wishOf(facts: WishFacts): InstanceWish {
    const cookie = this.#sticky && cookieIn(facts.headers, this.#sticky.cookie);
    return { key: this.#keyOf(facts), cookie };
  }

  /** What the cookie holds for an instance; undefined where none is set. It tells nobody what the instance is called, or where it is. */
  tokenOf(service: string, memberId: string): string | undefined {
    if (!this.#sticky) return undefined;
    return createHash("sha256").update(`${service}\0${memberId}`).digest("base64url").slice(0, 22);
  }

  /**
   * The line that sets the cookie; undefined where there is none, or it holds that already.
   * @param token - Of the instance that has answered.
   */
  setCookie(wish: InstanceWish | undefined, token: string | undefined, isTls: boolean): string | undefined {
    if (!this.#sticky || token === undefined || wish?.cookie === token) return undefined;
    const { cookie, maxAgeMs, sameSite } = this.#sticky;
    const age = maxAgeMs === undefined ? "" : `; Max-Age=${Math.ceil(maxAgeMs / 1e3)}`;
    return `${cookie}=${token}; Path=/${age}; HttpOnly; SameSite=${sameSite}${isTls ? "; Secure" : ""}`;
  }

  #keyOf({ headers, subject, address }: WishFacts): string | undefined {
    const by = this.#hashBy;
    if (by === undefined) return undefined;
    if (by === "subject") return subject;
    if (by === "address") return address;
    return ("header" in by ? headerOf(headers, by.header) : cookieIn(headers, by.cookie)) || undefined;
  }
}
