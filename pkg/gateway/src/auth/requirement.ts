import { claimAt, type ClaimPath, type Claims } from "@plinth/transport/jwt";
import type { AuthConfig, ClaimRuleConfig } from "../config/schema-auth.ts";
import type { Reason } from "../reasons.ts";

/** What is asked, of a caller whose token is valid. */
export interface Asked {
  readonly scopes: readonly string[];
  readonly roles: readonly string[];
  /** Those that some route asks for. */
  readonly claims: Claims;
}

type Rule = (claims: Claims) => boolean;
type Words = (given: readonly string[]) => boolean;

/** What a route asks of its callers, worked out ahead. */
export class Requirement {
  /** Scopes as they stand in a challenge. */
  readonly scopes: readonly string[];
  readonly #scopes: Words | undefined;
  readonly #roles: Words | undefined;
  readonly #claims: Rule | undefined;

  constructor({ scopes, roles, claims }: Pick<AuthConfig, "scopes" | "roles" | "claims">) {
    this.scopes = "any" in scopes ? scopes.any : scopes;
    this.#scopes = toWords(scopes);
    this.#roles = toWords(roles);
    this.#claims = claims && toRule(claims);
  }

  /** Why the caller may not; undefined for one who may. */
  refusalOf(caller: Asked): Extract<Reason, "scope_missing" | "role_missing" | "claim_refused"> | undefined {
    if (this.#scopes?.(caller.scopes) === false) return "scope_missing";
    if (this.#roles?.(caller.roles) === false) return "role_missing";
    return this.#claims?.(caller.claims) === false ? "claim_refused" : undefined;
  }
}

function toWords(needed: AuthConfig["scopes"]): Words | undefined {
  if ("any" in needed) return (given) => needed.any.some((word) => given.includes(word));
  return needed.length === 0 ? undefined : (given) => needed.every((word) => given.includes(word));
}

/** A claim that is not there, or of another type, meets no rule. */
function toRule({ claim, equals, oneOf, contains, any, all }: ClaimRuleConfig): Rule {
  if (any) {
    const rules = any.map((rule) => toRule(rule));
    return (claims) => rules.some((rule) => rule(claims));
  }
  if (all) {
    const rules = all.map((rule) => toRule(rule));
    return (claims) => rules.every((rule) => rule(claims));
  }
  if (claim === undefined) return () => false;
  if (contains !== undefined) {
    return (claims) => {
      const value = claimAt(claims, claim);
      return Array.isArray(value) && value.includes(contains);
    };
  }
  const accepted = new Set<unknown>(oneOf ?? [equals]);
  accepted.delete(undefined);
  return (claims) => accepted.has(claimAt(claims, claim));
}

/** Names of the claims that a rule looks at. */
export function claimsOfRule({ claim, any = [], all = [] }: ClaimRuleConfig): string[] {
  const inner = [...any, ...all].flatMap((rule) => claimsOfRule(rule));
  return claim === undefined ? inner : [topName(claim), ...inner];
}

function topName(path: ClaimPath): string {
  return typeof path === "string" ? path : (path[0] ?? "");
}
