import { handlingOf, isTrailerForClient } from "./names.ts";
import type { HeaderRules } from "./rules.ts";

/**
 * Those fields behind the body of a client's request that go on to the service: none that makes a claim about the caller, or says how the
 * request is to be framed or taken.
 *
 * @param fields - Name and value by turns.
 * @param rules - What the route says of the head: a client cannot say behind the body what it may not say there.
 */
export function toServiceTrailers(fields: readonly string[], rules?: HeaderRules): string[] {
  const result: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    const [name = "", value = ""] = [fields[at], fields[at + 1]];
    const lower = name.toLowerCase();
    if (handlingOf(name) !== "pass" || !isTrailerForClient(lower)) continue;
    if (rules?.drop.has(lower) === true || rules?.values.some(([own]) => own === lower) === true) continue;
    if (/^[\t -~\u0080-\u00ff]*$/.test(value)) result.push(name, value);
  }
  return result;
}
