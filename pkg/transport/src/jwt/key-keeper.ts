import { backoffDelayMs, type Clock, messageOf, type Scheduled } from "@plinth/kernel";
import { type KeySet, parseKeySet } from "./key-set.ts";

export interface KeyKeeperOptions {
  readonly fetchText: (options: { readonly signal: AbortSignal }) => Promise<string>;
  readonly clock: Clock;
  /** How old a set may get before it is fetched anew, in milliseconds; the fetch begins at 0.5 to 0.8 of it. */
  readonly refreshMs: number;
  /** How long after that its keys are still used when it cannot be fetched, in milliseconds. */
  readonly keepMs: number;
  /** At least this long between two fetches for unknown key ids, whatever became of the first, in milliseconds. Default 30_000. */
  readonly cooldownMs?: number;
  /** Longest wait between two tries, in milliseconds. Default 60_000. */
  readonly maxRetryDelayMs?: number;
  readonly random?: () => number;
  /** Told of each fetch, with the failure if it failed. */
  readonly onFetch?: (failure: string | undefined) => void;
}

/**
 * Keeps the key set of an issuer at hand: fetched in the background, one fetch at a time, never by each request. Keys stay in
 * use for hours when the issuer cannot be reached, and garbage never replaces a good set.
 */
export class KeyKeeper {
  readonly #options: KeyKeeperOptions;
  readonly #closing = new AbortController();
  #set: KeySet | undefined;
  #version = 0;
  #fetchedAtMs = -Infinity;
  #flight: Promise<void> | undefined;
  #timer: Scheduled | undefined;
  #failures = 0;
  #nextUnknownAtMs = -Infinity;

  constructor(options: KeyKeeperOptions) {
    this.#options = options;
  }

  /** The keys now; undefined when there are none, or only ones too old to trust. */
  get current(): KeySet | undefined {
    return this.ageMs < this.#options.refreshMs + this.#options.keepMs ? this.#set : undefined;
  }

  /** One more each time that the keys have changed. */
  get version(): number {
    return this.#version;
  }

  /** Milliseconds since the set was fetched; `Infinity` when none ever was. */
  get ageMs(): number {
    return this.#options.clock.monotonicMs() - this.#fetchedAtMs;
  }

  /** Begins to fetch, and goes on in the background until closed. */
  start(): void {
    void this.#fetch();
  }

  close(): void {
    this.#closing.abort(new Error("the key keeper was closed"));
    this.#timer?.cancel();
  }

  /** The keys, after the fetch under way if there are none yet. Never begins one: those follow their own pace. */
  async available(): Promise<KeySet | undefined> {
    if (this.current === undefined) await this.#flight;
    return this.current;
  }

  /** The keys after a fetch that an unknown key id asks for; at once, and as they are, while the cooldown runs. */
  async refreshForUnknown(): Promise<KeySet | undefined> {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs >= this.#nextUnknownAtMs && !this.#flight) {
      this.#nextUnknownAtMs = nowMs + (this.#options.cooldownMs ?? 30_000);
      void this.#fetch();
    }
    await this.#flight;
    return this.current;
  }

  #fetch(): Promise<void> {
    this.#timer?.cancel();
    this.#flight ??= this.#run().finally(() => (this.#flight = undefined));
    return this.#flight;
  }

  async #run(): Promise<void> {
    const { fetchText, clock, onFetch } = this.#options;
    const { signal } = this.#closing;
    if (signal.aborted) return;
    let failure: string | undefined;
    try {
      const set = parseKeySet(await fetchText({ signal }));
      if (set.text !== this.#set?.text) {
        this.#set = set;
        this.#version++;
      }
      this.#fetchedAtMs = clock.monotonicMs();
      this.#failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      this.#failures++;
      failure = describe(error);
    }
    onFetch?.(failure);
    this.#timer = clock.schedule(this.#delayMs(), () => void this.#fetch(), { keepAlive: false });
  }

  #delayMs(): number {
    const { refreshMs, maxRetryDelayMs = 60_000, random = Math.random } = this.#options;
    if (this.#failures === 0) return refreshMs * (0.5 + 0.3 * random());
    // Half of the ceiling at least: full jitter could ask again at once, again and again.
    return Math.max(
      500,
      backoffDelayMs(this.#failures, {
        baseDelayMs: 1_000,
        maxDelayMs: maxRetryDelayMs,
        random: () => 0.5 + 0.5 * random(),
      }),
    );
  }
}

/** `fetch` says "fetch failed" and keeps why in the cause. */
function describe(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? `: ${messageOf(error.cause)}` : "";
  return `${messageOf(error)}${cause}`;
}
