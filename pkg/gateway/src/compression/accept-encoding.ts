import type { Coding } from "../config/schema-compression.ts";

/** A longer field is not looked into: the reply stays as it is. */
const maxFieldLength = 1_024;

/**
 * The coding that a client likes best.
 *
 * @param field - Accept-Encoding; undefined where the client does not say, which is no wish for any.
 * @param offered - In the order of our own liking.
 * @returns Undefined where it should stay as it is: also where the client likes that better, or nothing that we offer.
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
 */
export function preferredCoding(field: string | undefined, offered: readonly Coding[]): Coding | undefined {
  if (field === undefined || field.length > maxFieldLength) return undefined;
  const weights = new Map<string, number>();
  for (const item of field.toLowerCase().split(",")) {
    const [, name, weight] =
      /^[ \t]*([!#$%&'*+.^`|~\w-]+)[ \t]*(?:;[ \t]*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)[ \t]*)?$/.exec(item) ?? [];
    if (name === undefined) continue; // what cannot be read asks for nothing
    const coding = name === "x-gzip" ? "gzip" : name;
    if (!weights.has(coding)) weights.set(coding, weight === undefined ? 1 : Number(weight));
  }
  const any = weights.get("*") ?? 0;
  let best: Coding | undefined;
  let most = 0;
  for (const coding of offered) {
    const weight = weights.get(coding) ?? any;
    if (weight <= most) continue;
    best = coding;
    most = weight;
  }
  // Unless it is named, a reply as it is comes after every coding that is.
  return most >= (weights.get("identity") ?? 0) ? best : undefined;
}
