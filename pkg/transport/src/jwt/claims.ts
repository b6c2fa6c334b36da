import type { ClaimPath } from "./provider.ts";

export type Claims = Readonly<Record<string, unknown>>;

/** The claim at a path; undefined when there is none. Looks at a claim's own members only. */
export function claimAt(claims: Claims, path: ClaimPath): unknown {
  if (typeof path === "string") return ownMember(claims, path);
  let value: unknown = claims;
  for (const name of path) value = ownMember(value, name);
  return value;
}

function ownMember(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value) || !Object.hasOwn(value, name))
    return undefined;
  return Reflect.get(value, name);
}

/** One text, or a list of nothing but texts. */
export function wordsOf(value: unknown): string[] | undefined {
  const words: unknown[] = Array.isArray(value) ? value : [value];
  return words.every((word) => typeof word === "string") ? words : undefined;
}
