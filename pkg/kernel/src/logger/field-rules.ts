import { cutKey, maxKeyLength } from "./text.ts";
import { compilePaths, follow, type PathNode, redact } from "./redaction.ts";

/** Fields whose values are never written, at any depth and in any case. */
const hiddenNames: readonly string[] = [
  "authorization",
  "cookie",
  "password",
  "proxy-authorization",
  "secret",
  "set-cookie",
  "token",
];
/** Written by the logger itself: a line must not hold them twice. */
const reserved: ReadonlySet<string> = new Set(["level", "logger", "message", "time", "__proto__"]);
/** Names of fields come from code and are few. Should they come from data, no more than so many are remembered. */
const maxPlans = 1_000;
const upperCase = /[A-Z]/;
/** One bit for each field that names the request. */
export const idBitOf = Object.freeze({ trace_id: 1, span_id: 2, request_id: 4 } as const);
const idBits: ReadonlyMap<string, number> = new Map(Object.entries(idBitOf));

/** What is done with a field of a line, by its name. */
export interface FieldPlan {
  /** The name in the line: never one that the logger itself writes. */
  readonly name: string;
  /** The name as JSON text, with the comma before and the colon after it. */
  readonly start: string;
  readonly isHidden: boolean;
  /** It may hold anything thrown. */
  readonly isError: boolean;
  /** See {@link idBitOf}; 0 for all others. */
  readonly idBit: number;
  /** Where the patterns of hidden paths go on below this field; undefined when none does. */
  readonly paths: readonly PathNode[] | undefined;
}

export interface RedactionOptions {
  /** Paths of values that are never written: `user.email`, `payment.*.number`. `*` is any one name. Default none. */
  readonly redact?: readonly string[] | undefined;
  /** Names of fields that are never written at any depth, beside `password`, `token` and the like, in any case. Default none. */
  readonly redactNames?: readonly string[] | undefined;
}

/** Which fields of a line are hidden or renamed. Worked out once for each name. */
export class FieldRules {
  readonly #hidden: ReadonlySet<string>;
  readonly #paths: PathNode | undefined;
  readonly #plans = new Map<string, FieldPlan>();

  /** @throws {@link OptionError} `ERR_OPTION_RANGE` when a pattern is none. */
  constructor({ redact: patterns = [], redactNames = [] }: RedactionOptions = {}) {
    this.#hidden = new Set([...hiddenNames, ...redactNames.map((name) => name.toLowerCase())]);
    this.#paths = compilePaths(patterns);
  }

  plan(key: string): FieldPlan {
    const known = this.#plans.get(key);
    if (known) return known;
    const made = this.#planOf(key);
    if (this.#plans.size < maxPlans && made.name.length <= maxKeyLength) this.#plans.set(key, made);
    return made;
  }

  isHidden(key: string): boolean {
    return this.#hidden.has(key) || (upperCase.test(key) && this.#hidden.has(key.toLowerCase()));
  }

  /** Plain data below the field, without what the patterns and names hide. */
  redact(plain: unknown, paths: readonly PathNode[] = []): unknown {
    return redact(plain, paths, (key) => this.isHidden(key));
  }

  #planOf(key: string): FieldPlan {
    const name = reserved.has(key) ? `field_${key}` : cutKey(key);
    const paths = this.#paths ? follow([this.#paths], key) : [];
    return {
      name,
      start: `,${JSON.stringify(name)}:`,
      isHidden: this.isHidden(key),
      isError: key === "error",
      idBit: idBits.get(key) ?? 0,
      paths: paths.length > 0 ? paths : undefined,
    };
  }
}
