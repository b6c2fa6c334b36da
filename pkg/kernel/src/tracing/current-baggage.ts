import { currentContext, deriveContext, runInContext } from "../context.ts";
import { OptionError } from "../errors/option-error.ts";
import { type Baggage, baggageBytes, baggageName, maxBaggageBytes, maxBaggageMembers } from "./baggage.ts";

const none: Baggage = new Map();

/** What has come with the request being served, and what was added on the way here. Empty outside of a request. */
export function currentBaggage(): Baggage {
  return currentContext()?.baggage ?? none;
}

/**
 * Runs `fn` with more baggage: it goes with all that `fn` asks of others, and nowhere else.
 *
 * @param entries - Values by name; `undefined` takes one away. A name is a token of HTTP; a value is any text.
 * @throws {@link OptionError} `ERR_OPTION_TYPE` for a name that is no token, `ERR_OPTION_RANGE` for more than 64 members or 8192 bytes in all.
 * @example await withBaggage({ tenant: "acme" }, () => billing.charge(order));
 */
export function withBaggage<T>(entries: Readonly<Record<string, string | undefined>>, fn: () => T): T {
  const outer = currentContext();
  const baggage = new Map(outer?.baggage);
  for (const [name, value] of Object.entries(entries)) {
    if (!baggageName.test(name)) {
      throw new OptionError(
        "ERR_OPTION_TYPE",
        "invalid_argument",
        `baggage cannot be named ${JSON.stringify(name)}; use letters, digits and - _ .`,
      );
    }
    if (value === undefined) baggage.delete(name);
    else baggage.set(name, { value });
  }
  const bytes = baggageBytes(baggage);
  if (baggage.size > maxBaggageMembers || bytes > maxBaggageBytes) {
    throw new OptionError(
      "ERR_OPTION_RANGE",
      "invalid_argument",
      `baggage has ${baggage.size} members and ${bytes} bytes; at most ${maxBaggageMembers} and ${maxBaggageBytes} are passed on: put less into it`,
    );
  }
  return runInContext(deriveContext(outer, { baggage }), fn);
}
