/**
 * Values of the keys used lately, in two generations: a key is found for at least `lifeMs` after it was last set, and gone at
 * the latest after twice that. Dropping a generation is one assignment, however many keys an attacker makes up.
 */
export class RecentKeys<V> {
  readonly #lifeMs: number;
  readonly #maxYoung: number;
  #young = new Map<string, V>();
  #old = new Map<string, V>();
  #turnAtMs: number;
  #forgotten = 0;

  constructor(lifeMs: number, maxKeys: number) {
    this.#lifeMs = lifeMs;
    this.#maxYoung = Math.max(1, Math.floor(maxKeys / 2));
    this.#turnAtMs = lifeMs;
  }

  /** Keys held, of which some may be past their life. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Keys dropped before their life was over. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /** @param nowMs - Never less than in the call before. */
  get(key: string, nowMs: number): V | undefined {
    if (nowMs >= this.#turnAtMs) {
      this.#turn();
      this.#turnAtMs = nowMs + this.#lifeMs;
    }
    return this.#young.get(key) ?? this.#old.get(key);
  }

  set(key: string, value: V): void {
    if (this.#young.size >= this.#maxYoung && !this.#young.has(key)) {
      this.#forgotten += this.#old.size;
      this.#turn();
    }
    this.#young.set(key, value);
  }

  delete(key: string): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }

  #turn(): void {
    this.#old = this.#young;
    this.#young = new Map();
  }
}
