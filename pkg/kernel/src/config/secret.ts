import { inspect } from "node:util";
import { z } from "zod";

const mask = "***";

/** A value that no log line, JSON, template string or inspection prints. {@link Secret.reveal} is the only way in. */
export class Secret<T = string> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
    Object.freeze(this); // so that nothing else can be made of what it prints
  }

  /** The value itself. Call it where it is used, not before. */
  reveal(): T {
    return this.#value;
  }

  toString(): string {
    return mask;
  }

  toJSON(): string {
    return mask;
  }

  [inspect.custom](): string {
    return `Secret(${mask})`;
  }
}

/** A schema for text in config that becomes a {@link Secret}; its value stands in no fault report. */
export function secretString(description: string): z.ZodType<Secret, string> {
  return z
    .string()
    .min(1)
    .transform((value) => new Secret(value))
    .meta({ description, writeOnly: true });
}
