import { type AuthMode, type Authenticator, type AuthNeed, authModes, type Identity } from "./auth.ts";
import { TransportError } from "./errors.ts";
import type { Incoming } from "./incoming.ts";

/** What the gate reads and writes of a request. */
export interface GatedRequest extends Incoming {
  identity: Identity | undefined;
}

/** A need that has been looked over. */
export interface CheckedNeed {
  readonly mode: AuthMode;
  readonly scopes: readonly string[];
}

const noScopes: readonly string[] = Object.freeze([]);

/** The auth layer of every wire: lets in who has what the route asks for. */
export class AuthGate {
  readonly #authenticator: Authenticator | undefined;
  readonly #default: CheckedNeed;

  /** @param mode - For routes that say nothing themselves. Without an authenticator it is `none`. */
  constructor(authenticator: Authenticator | undefined, mode: AuthMode) {
    this.#authenticator = authenticator;
    this.#default = { mode: authenticator === undefined ? "none" : mode, scopes: noScopes };
  }

  /** Nobody is ever asked. */
  get isOpen(): boolean {
    return this.#authenticator === undefined;
  }

  /**
   * Looks a need over when its route is added, so that no request finds it wanting.
   * @param where - The route or method, for the error.
   * @throws {@link TransportError} `ERR_AUTH_NEED` when it contradicts itself, or nobody could ever meet it.
   */
  checkNeed(need: AuthNeed | undefined, where: string): CheckedNeed {
    const { auth, scopes = noScopes } = need ?? {};
    const fault = this.#authenticator && isMisspelt(need) ? misspelt : this.#faultOf(auth, scopes);
    if (fault !== undefined) throw new TransportError("ERR_AUTH_NEED", "failed_precondition", `${where} ${fault}`);
    if (auth === undefined && scopes.length === 0) return this.#default;
    return { mode: auth ?? "required", scopes };
  }

  #faultOf(auth: AuthMode | undefined, scopes: unknown): string | undefined {
    if (auth !== undefined && !authModes.some((mode) => mode === auth))
      return `has auth ${JSON.stringify(auth)}; expected ${authModes.join(", ")}`;
    if (!Array.isArray(scopes) || !scopes.every((scope) => typeof scope === "string" && scopePattern.test(scope)))
      return "has scopes that are no list of words; expected such as `notes:read`";
    if (scopes.length > 0 && auth !== undefined && auth !== "required")
      return `asks for scopes, and its auth is ${auth}; nobody would be asked for them, leave auth away`;
    if (this.#authenticator === undefined && (auth === "required" || scopes.length > 0))
      return "asks who calls, and nothing tells; add a module that provides an authenticator, such as jwtModule";
    return undefined;
  }

  /**
   * Finds out who asks, as far as the need wants it, and keeps that in the request.
   * @returns A promise only where there is something to wait for.
   * @throws {@link TransportError} `ERR_UNAUTHENTICATED`, `ERR_SCOPE_MISSING`; what the authenticator throws.
   */
  admit(request: GatedRequest, { mode, scopes }: CheckedNeed): undefined | Promise<undefined> {
    if (mode === "none" || this.#authenticator === undefined) return undefined;
    const found = this.#authenticator.authenticate(request);
    if (!(found instanceof Promise)) return settle(request, found, mode, scopes);
    return found.then((identity) => settle(request, identity, mode, scopes));
  }
}

/** The slip that would let in everybody who has any token at all. */
function isMisspelt(need: object | undefined): boolean {
  return need !== undefined && "scope" in need && !("scopes" in need);
}

const misspelt = "has `scope`, which nobody looks at; it is `scopes`, and a list";

function settle(
  request: GatedRequest,
  identity: Identity | undefined,
  mode: AuthMode,
  scopes: readonly string[],
): undefined {
  if (identity === undefined) {
    if (mode === "required") throw unauthenticated("say who you are; send a bearer token in the authorization header");
    return undefined;
  }
  request.identity = identity;
  for (const scope of scopes) {
    if (!identity.scopes.includes(scope))
      throw new TransportError(
        "ERR_SCOPE_MISSING",
        "permission_denied",
        "the caller has not the scope that this needs",
      );
  }
  return undefined;
}

/** @param message - A constant: a caller learns nothing from it that it could try next. */
export function unauthenticated(message: string, cause?: unknown): TransportError {
  return new TransportError("ERR_UNAUTHENTICATED", "unauthenticated", message, cause === undefined ? {} : { cause });
}

/** A scope as RFC 6749 §3.3 has it. */
const scopePattern = /^[\u0021\u0023-\u005B\u005D-\u007E]+$/;

/**
 * What www-authenticate says with a refusal; undefined for one that is none of the authentication's.
 * @see https://www.rfc-editor.org/rfc/rfc6750#section-3
 */
export function challengeOf(thrown: unknown, scopes: readonly string[], hadCredentials: boolean): string | undefined {
  if (!(thrown instanceof TransportError)) return undefined;
  if (thrown.code === "ERR_SCOPE_MISSING") return `${realm}, error="insufficient_scope", scope="${scopes.join(" ")}"`;
  if (thrown.code !== "ERR_UNAUTHENTICATED") return undefined;
  return hadCredentials ? `${realm}, error="invalid_token"` : realm;
}

const realm = 'Bearer realm="plinth"';
