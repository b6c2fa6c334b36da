/** A text that several processes hold. */
export interface SharedText {
  readonly text: string;
  /** It is forgotten then, in milliseconds since the Unix epoch. Default: never. */
  readonly untilMs?: number | undefined;
}

/** What has become of a text. */
export interface TextChange extends SharedText {
  /** `remove`: it was taken out, which is remembered for a while. */
  readonly op: "add" | "remove";
}

export interface TextChanges {
  /** In the order in which they were made; each text once, by what was done to it last. */
  readonly changes: readonly TextChange[];
  /** What to ask with for those that follow. */
  readonly next: number;
  /** There is nothing after it. Lower than what was asked with: the store has lost what it had, and is to be read from 0 on. */
  readonly head: number;
}

/** Where several processes keep a list of texts in common: each has a copy of its own, and asks for what has changed. */
export interface SharedTexts {
  /** For the log: what it is and where, without secrets. */
  readonly name: string;
  /** Why it did not answer, last. */
  readonly lastError: unknown;
  /**
   * Adds some; one that is there already gets the time that is given here. Rejects where there is no answer: it may have been done.
   *
   * @param texts - At most 500.
   * @param options.onlyMissing - Passes over those that are there and those that were taken out lately. Default false.
   * @returns How many found no place.
   */
  add(texts: readonly SharedText[], options?: { readonly onlyMissing?: boolean }): Promise<number>;
  /** Takes some out, whether they are there or not. At most 500. */
  remove(texts: readonly string[]): Promise<void>;
  /** @param since - `next` of what was asked before; 0 for everything. At most 500 changes are in one answer. */
  changesSince(since: number): Promise<TextChanges>;
  /** Safe to call twice. */
  close(): Promise<void>;
}
