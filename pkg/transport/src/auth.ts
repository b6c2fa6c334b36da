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

/**
 * - `required`: who says nothing of itself is refused.
 * - `optional`: who says nothing is let in without an identity; who says something false is refused.
 * - `none`: nobody is asked.
 */
export type AuthMode = "required" | "optional" | "none";

export const authModes = ["required", "optional", "none"] as const satisfies readonly AuthMode[];

/** What a route, service or method asks of its callers. */
export interface AuthNeed {
  /** Default: what the server's setting `auth` says; `required` where there are {@link scopes}. */
  readonly auth?: AuthMode | undefined;
  /** Scopes of which the caller must have all. Default none. */
  readonly scopes?: readonly string[] | undefined;
}
