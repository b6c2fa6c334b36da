import type { ParsedDocument } from "../config/schema.ts";
import { claimsOfRules } from "../headers/rules.ts";
import { limitClaimsOf } from "../limits/policy.ts";
import { claimsOfRule } from "./requirement.ts";

/** Names of the claims that routes and limits look at, sorted: what of a token is kept while it is remembered, and no more. */
export function claimNamesOf(document: ParsedDocument): readonly string[] {
  const names = document.routes.flatMap(({ auth, headers }) => [
    ...(auth?.claims ? claimsOfRule(auth.claims) : []),
    ...claimsOfRules(headers?.request),
    ...claimsOfRules(headers?.reply),
  ]);
  return [...new Set([...names, ...limitClaimsOf(document)])].toSorted();
}
