import { didYouMean } from "../config/nearest.ts";
import { OptionError } from "../errors/option-error.ts";

/** Why something of ours may be undefined where the compiler knows it is there. */
export const importHint = "is it misspelled, or imported in a circle?";

/**
 * @param of - What it is a list of, for the error.
 * @throws {@link OptionError} `ERR_OPTION_TYPE` for what is no list.
 */
export function requireList(name: string, value: unknown, of: string): void {
  if (Array.isArray(value)) return;
  refuse(`${name} must be a list of ${of}, not ${phraseOf(value)}${value === undefined ? `; ${importHint}` : ""}`);
}

/** @throws {@link OptionError} `ERR_OPTION_TYPE` for what holds no fields: a list, a function, null, a text or number. */
export function requireObject(name: string, value: unknown): void {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return;
  refuse(`${name} must be an object, not ${phraseOf(value)}`);
}

/**
 * @param toName - What a key is called in the error.
 * @throws {@link OptionError} `ERR_OPTION_TYPE` for a key that is not `known`, with the nearest that is.
 */
export function requireKnownKeys(value: object, known: readonly string[], toName: (key: string) => string): void {
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue;
    refuse(`${toName(key)} is not known${didYouMean(key, known) || `; there are ${known.join(", ")}`}`);
  }
}

/** @throws {@link OptionError} `ERR_OPTION_TYPE` */
export function refuse(what: string): never {
  throw new OptionError("ERR_OPTION_TYPE", "invalid_argument", what);
}

/** Says what kind of thing it is without looking into it. */
export function phraseOf(value: unknown): string {
  if (value === undefined || value === null) return String(value);
  if (typeof value === "string") return `the text ${JSON.stringify(value)}`;
  if (typeof value === "function") return `the function ${value.name === "" ? "without a name" : value.name}`;
  return Array.isArray(value) ? "a list" : `some ${typeof value}`;
}
