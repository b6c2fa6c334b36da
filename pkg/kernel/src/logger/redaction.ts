import { OptionError } from "../errors/option-error.ts";

export const mask = "***";

/** What a pattern looks like: names joined by dots, `*` for any one of them. */
export const redactPattern = /^(?:\*|[^.*[\]\s]+)(?:\.(?:\*|[^.*[\]\s]+))*$/;

/** One part of some patterns: whether one ends here, and what may come next. */
export interface PathNode {
  endsHere: boolean;
  readonly next: Map<string, PathNode>;
}

/**
 * Patterns such as `user.email` and `payment.*.number` as a tree; undefined for none.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when one is no pattern.
 */
export function compilePaths(patterns: readonly string[]): PathNode | undefined {
  if (patterns.length === 0) return undefined;
  const root: PathNode = { endsHere: false, next: new Map() };
  for (const pattern of patterns) {
    if (!redactPattern.test(pattern)) throw notAPattern(pattern);
    let node = root;
    for (const part of pattern.split(".")) {
      let next = node.next.get(part);
      if (!next) node.next.set(part, (next = { endsHere: false, next: new Map() }));
      node = next;
    }
    node.endsHere = true;
  }
  return root;
}

function notAPattern(pattern: string): OptionError {
  const what = `redact must hold names joined by dots, with * for any one name, not ${JSON.stringify(pattern)}`;
  return new OptionError("ERR_OPTION_RANGE", "invalid_argument", what);
}

/** Where the patterns that lead to `nodes` go on at `key`. */
export function follow(nodes: readonly PathNode[], key: string): readonly PathNode[] {
  if (nodes.length === 0) return nodes;
  return nodes.flatMap(({ next }) => [next.get(key), next.get("*")]).filter((node) => node !== undefined);
}

/** Plain data without what a pattern ends at, or what stands under a hidden name. */
export function redact(plain: unknown, nodes: readonly PathNode[], isHidden: (key: string) => boolean): unknown {
  if (nodes.some(({ endsHere }) => endsHere)) return mask;
  if (typeof plain !== "object" || plain === null) return plain;
  const inner = (key: string, value: unknown): unknown =>
    isHidden(key) ? mask : redact(value, follow(nodes, key), isHidden);
  if (Array.isArray(plain)) return plain.map((value, index) => inner(String(index), value));
  return Object.fromEntries(Object.entries(plain).map(([key, value]) => [key, inner(key, value)]));
}
