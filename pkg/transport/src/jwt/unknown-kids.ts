interface Missed {
  readonly times: number;
  /** When its issuer may be asked again, on the monotonic clock. */
  readonly untilMs: number;
}

/**
 * Key ids that an issuer was asked for and had not: each is asked for again after a time that doubles with each miss, so that one bad
 * token that comes again and again costs fewer and fewer fetches. Bounded: past that, those unseen for longest are forgotten.
 */
export class UnknownKids {
  readonly #maxYoung: number;
  readonly #firstMs: number;
  readonly #longestMs: number;
  #young = new Map<string, Missed>();
  #old = new Map<string, Missed>();

  /** @param options.maxKids - Ids remembered, 2 or more. Default 1_000. */
  constructor(options: { readonly firstMs: number; readonly longestMs: number; readonly maxKids?: number }) {
    this.#firstMs = options.firstMs;
    this.#longestMs = options.longestMs;
    this.#maxYoung = Math.floor((options.maxKids ?? 1_000) / 2);
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Whether it is too early to ask for it again. */
  has(kid: string, nowMs: number): boolean {
    const missed = this.#young.get(kid) ?? this.#old.get(kid);
    return missed !== undefined && nowMs < missed.untilMs;
  }

  /** The set was fetched, and it is not there. */
  missed(kid: string, nowMs: number): void {
    const times = ((this.#young.get(kid) ?? this.#old.get(kid))?.times ?? 0) + 1;
    if (this.#young.size >= this.#maxYoung && !this.#young.has(kid)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    const waitMs = Math.min(this.#longestMs, this.#firstMs * 2 ** Math.min(times - 1, 30));
    this.#young.set(kid, { times, untilMs: nowMs + waitMs });
  }
}
