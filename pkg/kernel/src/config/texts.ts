import { nearestAbove, setAt } from "./data.ts";
import type { ConfigFault } from "./errors.ts";
import type { Leaf } from "./leaves.ts";
import type { Layer } from "./merge.ts";
import { parseText } from "./parse-text.ts";

/** A text that somebody gave for one value of the config. */
export interface GivenText {
  readonly leaf: Leaf;
  readonly text: string;
  /** The variable or the argument. */
  readonly source: string;
}

export interface TextLayer extends Layer {
  readonly faults: readonly ConfigFault[];
  /** Keys whose text could not be read: that they are absent is no second fault. */
  readonly unread: ReadonlySet<string>;
}

/** A layer of variables or arguments, each read as its schema says. */
export function layerOfTexts(
  texts: readonly GivenText[],
  describe: (fault: ConfigFault, text: string) => ConfigFault,
): TextLayer {
  const data: Record<string, unknown> = { __proto__: null };
  const sources = new Map<string, string>();
  const faults: ConfigFault[] = [];
  for (const { leaf, text, source } of texts) {
    const parsed = parseText(leaf, text);
    if ("problem" in parsed) {
      faults.push(describe({ key: leaf.key, problem: parsed.problem, source }, text));
      continue;
    }
    setAt(data, leaf.path, parsed.value);
    // of what holds several values the first one
    for (const [index] of leaf.path.entries()) {
      const key = leaf.path.slice(0, index + 1).join(".");
      if (!sources.has(key)) sources.set(key, source);
    }
  }
  const sourceOf = (key: string): string => nearestAbove(sources, key) ?? "default";
  return { data, sourceOf, faults, unread: new Set(faults.map(({ key }) => key)) };
}
