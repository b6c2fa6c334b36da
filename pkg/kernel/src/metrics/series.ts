import { toLabelValue } from "./label-value.ts";
import type { Labels } from "./metrics.ts";

/** The value of every label of the one series that takes what no longer gets its own. */
export const overflowValue = "_overflow";

export interface SeriesOptions<S> {
  readonly labels: readonly string[];
  /** Most series, beside the one for the overflow. */
  readonly max: number;
  readonly create: (values: readonly string[]) => S;
  /** Told each time that a set of label values is sent to the overflow. */
  readonly onOverflow: () => void;
  /** Told once of labels that were not declared, or not given. */
  readonly onWrongLabels: (problem: string) => void;
}

/**
 * The series of one metric by their label values. A tree with a level for each label: nothing is allocated for a series that is there, and no
 * two sets of values are taken for one, whatever characters stand in them.
 */
export class SeriesTree<S> {
  readonly #options: SeriesOptions<S>;
  #root: Branch<S> = newBranch();
  #all: S[] = [];
  #hasWarned = false;

  constructor(options: SeriesOptions<S>) {
    this.#options = options;
  }

  /** In the order in which they first came. */
  get all(): readonly S[] {
    return this.#all;
  }

  clear(): void {
    this.#root = newBranch();
    this.#all = [];
  }

  /** The series of `labels`, made when it is new, or that of the overflow. Never throws, whatever untyped code hands in. */
  find(labels: Labels<string>): S {
    let branch: Branch<S> | undefined = this.#root;
    try {
      for (const label of this.#options.labels) {
        branch = branch.next.get(labels[label] ?? "");
        if (branch === undefined) break;
      }
    } catch {
      branch = undefined; // no object, or a getter that throws
    }
    return branch?.series ?? this.#findClean(labels);
  }

  #findClean(labels: unknown): S {
    const { labels: names, max, onOverflow } = this.#options;
    const values = names.map((label) => toLabelValue(read(labels, label)));
    const known = this.#at(values).series;
    if (known !== undefined) return known;
    if (this.#all.length < max) {
      this.#checkLabels(labels);
      return this.#add(values);
    }
    onOverflow();
    const overflow = names.map(() => overflowValue);
    return this.#at(overflow).series ?? this.#add(overflow);
  }

  /** The branch of these values, as far as there is one. */
  #at(values: readonly string[]): Partial<Branch<S>> {
    let branch: Branch<S> | undefined = this.#root;
    for (const value of values) branch = branch?.next.get(value);
    return branch ?? {};
  }

  #add(values: readonly string[]): S {
    let branch = this.#root;
    for (const value of values) {
      const next = branch.next.get(value) ?? newBranch<S>();
      branch.next.set(value, next);
      branch = next;
    }
    const series = this.#options.create(values);
    branch.series = series;
    this.#all.push(series);
    return series;
  }

  /** Only new series are looked at: what is wrong in the code is wrong the first time. */
  #checkLabels(labels: unknown): void {
    if (this.#hasWarned) return;
    const problem = wrongLabels(this.#options.labels, labels);
    if (problem === undefined) return;
    this.#hasWarned = true;
    this.#options.onWrongLabels(problem);
  }
}

interface Branch<S> {
  readonly next: Map<string, Branch<S>>;
  series: S | undefined;
}

function newBranch<S>(): Branch<S> {
  return { next: new Map(), series: undefined };
}

function read(labels: unknown, name: string): unknown {
  try {
    return typeof labels === "object" && labels !== null ? Reflect.get(labels, name) : undefined;
  } catch {
    return undefined; // a getter or a trap that throws
  }
}

function wrongLabels(names: readonly string[], labels: unknown): string | undefined {
  const expected = `its labels are ${names.join(", ")}`;
  if (typeof labels !== "object" || labels === null) return `labels were given as ${typeof labels}; ${expected}`;
  const missing = names.filter((name) => read(labels, name) === undefined);
  if (missing.length > 0) return `no value was given for ${missing.join(", ")}; ${expected}`;
  try {
    const extra = Object.keys(labels).filter((name) => !names.includes(name));
    return extra.length > 0 ? `${extra.map(toLabelValue).join(", ")} is no label of it; ${expected}` : undefined;
  } catch {
    return `the names of its labels cannot be read; ${expected}`;
  }
}
