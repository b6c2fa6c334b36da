import type { ConfigDocument } from "./file.ts";

/** A place that config comes from beside files and variables: a key in a key-value store, for instance. */
export interface ConfigSource {
  /** In fault reports and explanations: `consul:config/notes`. */
  readonly name: string;
  /**
   * The document as it is now; an absent one is empty. Called at the start, within the start's limit, and at each reload.
   * @throws when it cannot be read: the start then fails, and a reload keeps what was.
   */
  load(options: { readonly signal: AbortSignal }): Promise<ConfigDocument>;
  /**
   * The text that `load` makes its document of, YAML or JSON, for who makes it elsewhere; its lines are then told as `name:LINE`.
   * Undefined, or absent: it is made of no one text.
   * @throws as `load`.
   */
  readText?(options: { readonly signal: AbortSignal }): Promise<string | undefined>;
  /**
   * Calls `onChange` whenever the document may have changed, until `signal` aborts. Absent: it is read again at reloads only.
   * @throws when it cannot be watched: that is told, `signal` aborts, and it is read again at reloads only.
   */
  watch?(onChange: () => void, options: { readonly signal: AbortSignal }): void;
}
