import { isRecord, nearestAbove } from "./data.ts";

/** Where each value came from, and which sources it won over. */
export class Provenance {
  readonly #sources = new Map<string, string[]>();

  set(key: string, source: string): void {
    const sources = this.#sources.get(key);
    if (sources) sources.push(source);
    else this.#sources.set(key, [source]);
  }

  /** What stood below `key`, for a value that is replaced as a whole. */
  forgetBelow(key: string, value: unknown): void {
    if (!isRecord(value) && !Array.isArray(value)) return;
    for (const [name, child] of Object.entries(value)) {
      this.forgetBelow(`${key}.${name}`, child);
      this.#sources.delete(`${key}.${name}`);
    }
  }

  /** Replaces the source of a value that stays where it is. */
  rename(key: string, rename: (source: string) => string): void {
    const sources = this.#sources.get(key);
    const last = sources?.pop();
    if (last !== undefined) sources?.push(rename(last));
  }

  /** The source of a key, or of the nearest thing above it that came from somewhere; else `default`. */
  sourceOf(key: string): string {
    return nearestAbove(this.#sources, key)?.at(-1) ?? "default";
  }

  /** The source of this very key; else `default`. */
  sourceAt(key: string): string {
    return this.#sources.get(key)?.at(-1) ?? "default";
  }

  /** The sources that lost, the nearest first. */
  overriddenAt(key: string): readonly string[] {
    return (this.#sources.get(key) ?? []).slice(0, -1).toReversed();
  }
}
