import { messageOf } from "../errors/app-error.ts";
import { type ConfigData, forbiddenKeys, isRecord, maxDepth } from "./data.ts";
import type { ConfigFault } from "./errors.ts";
import type { Provenance } from "./provenance.ts";

/** Values from one place. */
export interface Layer {
  readonly data: ConfigData;
  /** Where the value of a dotted key stands: `config.yaml:12`. */
  readonly sourceOf: (key: string) => string;
}

export interface Merged {
  /** By section; copies of what was given, without prototypes. */
  readonly data: Record<string, unknown>;
  readonly provenance: Provenance;
  readonly faults: ConfigFault[];
}

/**
 * Lays a layer over what is there: mappings key by key, all else replaced whole. Absent values, and a section with nothing
 * under its name (as when every line of it is commented out), change nothing.
 */
export function mergeLayer(merged: Merged, layer: Layer): void {
  try {
    new Merge(merged, layer).into(merged.data, layer.data, "");
  } catch (error) {
    // a getter or a trap in data that was made by code
    merged.faults.push({ key: "config", problem: `cannot be read: ${messageOf(error)}`, source: layer.sourceOf("") });
  }
}

class Merge {
  readonly #merged: Merged;
  readonly #layer: Layer;
  /** What is being walked through: who meets it again has found a circle. */
  readonly #path: object[] = [];

  constructor(merged: Merged, layer: Layer) {
    this.#merged = merged;
    this.#layer = layer;
  }

  into(target: Record<string, unknown>, source: ConfigData, path: string): void {
    for (const [key, value] of Object.entries(source)) {
      if (value === undefined || (value === null && path === "")) continue;
      const full = path === "" ? key : `${path}.${key}`;
      if (forbiddenKeys.has(key)) {
        this.#refuse(full, "this key is never allowed");
        continue;
      }
      const present = target[key];
      if (isRecord(value) && isRecord(present)) {
        this.#merged.provenance.set(full, this.#layer.sourceOf(full));
        this.#descend(value, full, () => this.into(present, value, full));
      } else {
        this.#merged.provenance.forgetBelow(full, present);
        target[key] = this.#copy(value, full);
      }
    }
  }

  /** What lists and mappings hold is copied, so that freezing it freezes nothing of the caller's. */
  #copy(value: unknown, path: string): unknown {
    this.#merged.provenance.set(path, this.#layer.sourceOf(path));
    if (Array.isArray(value)) {
      const result: unknown[] = [];
      this.#descend(value, path, () => {
        for (const [index, item] of value.entries()) result.push(this.#copy(item, `${path}.${index}`));
      });
      return result;
    }
    if (!isRecord(value)) return value;
    const result: Record<string, unknown> = { __proto__: null };
    this.#descend(value, path, () => this.into(result, value, path));
    return result;
  }

  #descend(value: object, path: string, walk: () => void): void {
    if (this.#path.includes(value)) return this.#refuse(path, "holds itself");
    if (this.#path.length >= maxDepth) return this.#refuse(path, `nested deeper than ${maxDepth} levels`);
    this.#path.push(value);
    walk();
    this.#path.pop();
    return undefined;
  }

  #refuse(key: string, problem: string): void {
    this.#merged.faults.push({ key, problem, source: this.#layer.sourceOf(key) });
  }
}
