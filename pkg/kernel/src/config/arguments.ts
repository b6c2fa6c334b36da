import type { Declared } from "./declared.ts";
import type { ConfigFault } from "./errors.ts";
import { didYouMean } from "./nearest.ts";
import { type GivenText, layerOfTexts, type TextLayer } from "./texts.ts";

/** A command line, taken apart but not yet compared with what the sections declare. */
export interface Arguments {
  /** `--config FILE` */
  readonly file: string | undefined;
  /** `--profile NAME` */
  readonly profile: string | undefined;
  /** Each `--key`, with its value; a bare one has none. */
  readonly given: ReadonlyMap<string, string | undefined>;
  readonly faults: readonly ConfigFault[];
}

/**
 * Takes `--key=value`, `--key value` and a bare `--key` apart. What follows a key and does not begin with `--` is its value.
 * No fault repeats a value: it may be a secret whose key is misspelled.
 */
export function splitArguments(words: readonly string[]): Arguments {
  const given = new Map<string, string | undefined>();
  const faults: ConfigFault[] = [];
  const left = words.entries();
  for (const [index, word] of left) {
    const [, key = "", value] = /^--([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
    if (key === "") {
      faults.push({
        key: "command line",
        problem: "expected --key=value, --key value or --key, with a key such as http.port",
        source: `argument ${index + 1}`,
      });
      continue;
    }
    const next = words[index + 1];
    const takesNext = value === undefined && next !== undefined && !next.startsWith("--");
    if (takesNext) left.next();
    if (given.has(key)) faults.push({ key, problem: "this argument stands twice", source: `--${key}` });
    else given.set(key, takesNext ? next : value);
  }
  const take = (key: string): string | undefined => {
    const value = given.get(key);
    if (given.has(key) && !value) faults.push({ key: "command line", problem: "it needs a value", source: `--${key}` });
    given.delete(key);
    return value || undefined;
  };
  return { file: take("config"), profile: take("profile"), given, faults };
}

/** What the command line sets. Unlike a variable, an argument is for this app alone: each must be a key. */
export function readArguments({ leaves }: Declared, { given, faults }: Arguments): TextLayer {
  const known = new Map(leaves.map((leaf) => [leaf.key, leaf]));
  const own: ConfigFault[] = [...faults];
  const texts: GivenText[] = [];
  for (const [key, value] of given) {
    const leaf = known.get(key);
    const source = `--${key}`;
    if (!leaf)
      own.push({ key, problem: `unknown key${didYouMean(key, [...known.keys(), "config", "profile"])}`, source });
    else if (value !== undefined) texts.push({ leaf, text: value, source });
    else if (leaf.kinds.includes("boolean")) texts.push({ leaf, text: "true", source });
    else own.push({ key, problem: `it needs a value: ${source}=…`, source });
  }
  const layer = layerOfTexts(texts, (fault) => fault);
  const all = [...own, ...layer.faults];
  return { ...layer, faults: all, unread: new Set(all.map(({ key }) => key)) };
}
