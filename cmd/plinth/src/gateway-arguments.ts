import { didYouMean } from "@plinth/kernel";
import { type Given, oneOf, UsageError } from "./usage.ts";

/** What is asked of a gateway's document. */
export type GatewayQuestion =
  | { readonly kind: "gateway"; readonly action: "check"; readonly file: string; readonly isJson: boolean }
  | GatewayExplanation;

/** What a gateway with this document would do with a request. */
export interface GatewayExplanation {
  readonly kind: "gateway";
  readonly action: "explain";
  readonly file: string;
  readonly method: string;
  /** As it was typed: a path, or a URL. */
  readonly url: string;
  /** Names and values. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** The client's address. */
  readonly from: string | undefined;
  /** The agent that is asked for instances. Undefined: they are not asked for. */
  readonly consul: string | undefined;
  readonly isJson: boolean;
  /** How long Consul may take, in milliseconds. */
  readonly limitMs: number;
}

const optionsOfAction = { check: ["json"], explain: ["json", "header", "from", "consul", "timeout"] } as const;

/**
 * @param positionals - Behind `gateway`.
 * @param headers - What `-H` was given, in order.
 * @throws {@link UsageError}
 */
export function toGatewayQuestion(
  [action, ...positionals]: readonly string[],
  given: Given,
  { headers, limitMs }: { readonly headers: readonly string[]; readonly limitMs: number },
): GatewayQuestion {
  const names = Object.keys(optionsOfAction);
  if (action === undefined) throw new UsageError(`plinth gateway does nothing by itself; ${oneOf("take", names)}`);
  if (action !== "check" && action !== "explain")
    throw new UsageError(
      `there is no plinth gateway "${action}"${didYouMean(action, names) || `; ${oneOf("take", names)}`}`,
    );
  const allowed: readonly string[] = optionsOfAction[action];
  const strange = [...given.keys()].find((name) => !allowed.includes(name));
  if (strange !== undefined) throw new UsageError(`"--${strange}" is no option of plinth gateway ${action}`);
  const [file = "", method, url, ...more] = positionals;
  if (file === "") throw new UsageError(`plinth gateway ${action} needs FILE, the gateway's document`);
  const isJson = given.has("json");
  const extra = action === "check" ? method : more[0];
  if (extra !== undefined) throw new UsageError(`"${extra}" is one argument too many`);
  if (action === "check") return { kind: "gateway", action, file, isJson };
  if (method === undefined || !/^[!#$%&'*+.^`|~\w-]+$/.test(method))
    throw new UsageError("plinth gateway explain needs METHOD, such as GET, behind FILE");
  if (url === undefined || url === "")
    throw new UsageError("plinth gateway explain needs URL behind METHOD: a path, or http://HOST/PATH");
  const [from, consul] = (["from", "consul"] as const).map((name) => {
    if (given.has(name) && !given.get(name)) throw new UsageError(`--${name} takes an address`);
    return given.get(name);
  });
  return { kind: "gateway", action, file, method, url, headers: headers.map(toHeader), from, consul, isJson, limitMs };
}

function toHeader(text: string): readonly [string, string] {
  const [, name, value] = /^([!#$%&'*+.^`|~\w-]+):[ \t]*([^\0\r\n]*?)[ \t]*$/.exec(text) ?? [];
  if (name !== undefined && value !== undefined) return [name, value];
  throw new UsageError(`-H takes "name: value", and was given ${JSON.stringify(text)}`);
}
