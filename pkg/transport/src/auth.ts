import { token } from "@plinth/kernel";
import type { Incoming } from "./incoming.ts";

/** Who asks, as the authentication has found. */
export interface Identity {
  /** Stable name of the caller, as the issuer gives it. */
  readonly subject: string;
  /** What the caller may ask for. */
  readonly scopes: readonly string[];
  /** Whatever else was verified. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Finds out who asks, on every wire. */
export interface Authenticator {
  /**
   * @returns undefined for a caller that says nothing of itself.
   * @throws {@link AppError} `unauthenticated` for one that says something false, `unavailable` where that cannot be told now.
   */
  authenticate(request: Incoming): Identity | undefined | Promise<Identity | undefined>;
}

/** Absent: nobody is asked who they are. */
export const authenticator = token("transport.authenticator").of<Authenticator>();
