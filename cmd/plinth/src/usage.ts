/** What was typed is not understood; the message says what is. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Options by name, with their values. */
export type Given = ReadonlyMap<string, string | undefined>;

export function oneOf(verb: string, names: readonly string[]): string {
  return `${verb} ${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
}
