import { AppError, runInContext } from "@plinth/kernel";
import type { AuthConfig } from "../config/schema-auth.ts";
import type { AuthServicesConfig } from "../config/schema-auth-services.ts";
import type { Pattern } from "../router/pattern.ts";
import type { Exchange } from "../server/exchange.ts";
import type { KnownCaller } from "./authenticator.ts";
import type { Introspection } from "./introspection.ts";
import { Permission, type PermissionClient } from "./permission.ts";

/** Why a caller does not pass, and what operators see of it. */
export interface RemoteRefusal {
  readonly reason: "token_missing" | "token_invalid" | "auth_unavailable" | "permission_denied" | "authz_unavailable";
  readonly fault: string | undefined;
}

/** Those that are asked. */
export interface AuthServices {
  readonly introspection: Introspection | undefined;
  readonly authz: PermissionClient | undefined;
  readonly config: AuthServicesConfig;
}

const missing: RemoteRefusal = Object.freeze({ reason: "token_missing", fault: undefined });
const inactive: RemoteRefusal = Object.freeze({ reason: "token_invalid", fault: "inactive" });
const denied: RemoteRefusal = Object.freeze({ reason: "permission_denied", fault: undefined });

/** What a route has others say about its callers. Who does not answer in time lets nobody through. */
export class RemoteAuth {
  /** Whether Auth alone says whose token it is. */
  readonly isInstead: boolean;
  readonly #services: AuthServices;
  readonly #introspection: Introspection | undefined;
  readonly #permission: Permission | undefined;

  constructor({ introspect, authorize }: AuthConfig, patterns: readonly Pattern[], services: AuthServices) {
    this.isInstead = introspect === "instead";
    this.#services = services;
    this.#introspection = introspect && services.introspection;
    this.#permission = authorize && new Permission(authorize, patterns, services.config.subjectType);
  }

  /** Whose token it is. */
  async callerOf(
    { clientAddress }: Pick<Exchange, "clientAddress">,
    token: string | undefined,
  ): Promise<{ readonly known: KnownCaller } | RemoteRefusal> {
    if (token === undefined) return missing;
    try {
      const known = await this.#introspection?.ask(token, clientAddress);
      if (known === "busy") return { reason: "auth_unavailable", fault: known };
      return known ? { known } : inactive;
    } catch (error) {
      return { reason: "auth_unavailable", fault: faultOf(error) };
    }
  }

  /** Whether a caller whose token is good may go on: undefined if so. */
  async refusalOf(
    exchange: Exchange,
    token: string | undefined,
    caller: KnownCaller,
  ): Promise<RemoteRefusal | undefined> {
    if (!this.isInstead && this.#introspection) {
      const verdict = await this.callerOf(exchange, token);
      if ("reason" in verdict) return verdict;
    }
    return this.#permission && (await this.#ask(exchange, this.#permission, caller));
  }

  async #ask(exchange: Exchange, permission: Permission, caller: KnownCaller): Promise<RemoteRefusal | undefined> {
    const { authz, config } = this.#services;
    const question = permission.questionOf(caller.identity.subject, exchange.template ?? "", exchange.path);
    if (!question || exchange.isFinished) return denied;
    const leaving = (exchange.leaving = new AbortController());
    try {
      const options = { timeoutMs: config.timeoutMs, signal: leaving.signal };
      const answer = await runInContext(exchange, async () => authz?.check(question, options));
      return answer?.allowed === true ? undefined : denied;
    } catch (error) {
      return { reason: "authz_unavailable", fault: faultOf(error) };
    }
  }
}

/** @throws What is no answer of a client: a fault of our own. */
function faultOf(error: unknown): string {
  if (AppError.is(error)) return error.code;
  throw error;
}
