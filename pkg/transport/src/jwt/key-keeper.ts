import { backoffDelayMs, type Clock, messageOf, type Scheduled } from "@plinth/kernel";
import type { FetchBudget } from "./fetch-budget.ts";
import { type KeySet, parseKeySet } from "./key-set.ts";
import type { KeySnapshot } from "./key-snapshot.ts";
import { UnknownKids } from "./unknown-kids.ts";

/** What became of a key id that is not in the set: asked for, or not since it was missing before, or others were asked for just now. */
export type UnknownKeyOutcome = "asked" | "missing" | "cooldown" | "budget";

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
  /** The set is what it is: it is read once, never grows old, and an unknown key id asks for nothing. Default false. */
  readonly fixed?: boolean;
  /** Private and symmetric keys in it are a fault, instead of left out. Default false. */
  readonly strict?: boolean;
  /** Tells of changes, so that the set is read anew at once. */
  readonly watch?: ((onChange: () => void, options: { readonly signal: AbortSignal }) => void) | undefined;
  /** The last good set on disk, for a start while the issuer is down. Default none. */
  readonly snapshot?: KeySnapshot | undefined;
  /** What fetches for unknown key ids draw from, along with those of other keepers. Default: only the cooldown bounds them. */
  readonly budget?: FetchBudget;
  /** Told of each fetch, with the failure if it failed. */
  readonly onFetch?: (failure: string | undefined) => void;
  /** Told of each token's key id that is not in the set. */
  readonly onUnknown?: (outcome: UnknownKeyOutcome) => void;
  /** Told of a snapshot that could not be read or written, with why, and of one that is in use. */
  readonly onSnapshot?: (what: "used" | "refused" | "unwritten", detail: string) => void;
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
  #hasStarted = false;
  #isFromSnapshot = false;
  /** The snapshot on its way from the disk. */
  #loading: Promise<void> | undefined;
  #saving: Promise<void> = Promise.resolve();
  readonly #cooldownMs: number;
  readonly #missing: UnknownKids;

  constructor(options: KeyKeeperOptions) {
    this.#options = options;
    this.#cooldownMs = options.cooldownMs ?? 30_000;
    this.#missing = new UnknownKids({
      firstMs: this.#cooldownMs,
      longestMs: Math.max(options.refreshMs, this.#cooldownMs),
    });
  }

  /** The keys now; undefined when there are none, or only ones too old to trust. */
  get current(): KeySet | undefined {
    const { fixed, refreshMs, keepMs } = this.#options;
    return fixed === true || this.ageMs < refreshMs + keepMs ? this.#set : undefined;
  }

  /** Whether the keys are those of a snapshot: the issuer has not been reached since the start. */
  get isFromSnapshot(): boolean {
    return this.#isFromSnapshot && this.current !== undefined;
  }

  /** One more each time that the keys have changed. */
  get version(): number {
    return this.#version;
  }

  /** Milliseconds since the set was fetched; `Infinity` when none ever was. */
  get ageMs(): number {
    return this.#options.clock.monotonicMs() - this.#fetchedAtMs;
  }

  /** Begins to fetch, and goes on in the background until closed. Safe to call twice. */
  start(): void {
    const { snapshot, watch } = this.#options;
    const { signal } = this.#closing;
    if (signal.aborted || this.#hasStarted) return;
    this.#hasStarted = true;
    watch?.(() => void this.#fetchAnew(), { signal });
    if (!snapshot) {
      void this.#fetch();
      return;
    }
    this.#loading = this.#load(snapshot).then(() => {
      this.#loading = undefined;
      void this.#fetch();
    });
  }

  close(): void {
    this.#closing.abort(new Error("the key keeper was closed"));
    this.#timer?.cancel();
  }

  /** The keys, after the fetch under way if there are none yet. Never begins one: those follow their own pace. */
  async available(): Promise<KeySet | undefined> {
    if (this.current === undefined) await this.#loading;
    if (this.current === undefined) await this.#flight;
    return this.current;
  }

  /**
   * The keys after a fetch that an unknown key id asks for; at once, and as they are, while the cooldown runs, where the id was missing
   * not long ago, and where the budget of all issuers is used up.
   */
  async refreshForUnknown(kid: string): Promise<KeySet | undefined> {
    const { clock, onUnknown, fixed, budget } = this.#options;
    const nowMs = clock.monotonicMs();
    if (fixed === true || this.#missing.has(kid, nowMs)) {
      onUnknown?.("missing");
      return this.current;
    }
    if (!this.#flight) {
      if (nowMs < this.#nextUnknownAtMs || budget?.take() === false) {
        onUnknown?.(nowMs < this.#nextUnknownAtMs ? "cooldown" : "budget");
        return this.current;
      }
      this.#nextUnknownAtMs = nowMs + this.#cooldownMs;
      void this.#fetch();
    }
    onUnknown?.("asked");
    await this.#flight;
    if (this.#failures === 0 && this.#set?.has(kid) === false) this.#missing.missed(kid, clock.monotonicMs());
    return this.current;
  }

  /** Resolves when no snapshot is being written any more. */
  async saved(): Promise<void> {
    await this.#saving;
  }

  /** Something has changed: what is under way may have read it as it was before. */
  async #fetchAnew(): Promise<void> {
    await this.#flight;
    await this.#fetch();
  }

  async #load(snapshot: KeySnapshot): Promise<void> {
    const { clock, onSnapshot } = this.#options;
    try {
      const saved = await snapshot.read(clock.now());
      if (!saved || this.#set || this.#closing.signal.aborted) return;
      this.#fetchedAtMs = clock.monotonicMs() - saved.ageMs;
      this.#set = saved.set;
      this.#version++;
      this.#isFromSnapshot = true;
      if (this.current) onSnapshot?.("used", `${Math.round(saved.ageMs / 1e3)} s old`);
      else onSnapshot?.("refused", `it is ${Math.round(saved.ageMs / 1e3)} s old, which is too old to trust`);
    } catch (error) {
      onSnapshot?.("refused", messageOf(error));
    }
  }

  /** One after the other, and never in the way of a request. */
  #save(set: KeySet): void {
    const { snapshot, clock, onSnapshot } = this.#options;
    if (!snapshot) return;
    const savedAtMs = clock.now();
    this.#saving = this.#saving
      .then(() => snapshot.write(set, savedAtMs))
      .catch((error: unknown) => onSnapshot?.("unwritten", messageOf(error)));
  }

  #fetch(): Promise<void> {
    this.#timer?.cancel();
    this.#flight ??= this.#run().finally(() => (this.#flight = undefined));
    return this.#flight;
  }

  async #run(): Promise<void> {
    const { fetchText, clock, onFetch, strict = false, fixed } = this.#options;
    const { signal } = this.#closing;
    if (signal.aborted) return;
    let failure: string | undefined;
    try {
      const set = parseKeySet(await fetchText({ signal }), { strict });
      if (set.text !== this.#set?.text) {
        this.#set = set;
        this.#version++;
      }
      this.#isFromSnapshot = false;
      this.#fetchedAtMs = clock.monotonicMs();
      this.#failures = 0;
      this.#save(set);
    } catch (error) {
      if (signal.aborted) return;
      this.#failures++;
      failure = describe(error);
    }
    onFetch?.(failure);
    if (fixed === true && failure === undefined) return;
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
