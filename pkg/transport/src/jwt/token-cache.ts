import { hash } from "node:crypto";

/** What is remembered of a token. */
export interface CachedToken {
  /** When it ends to be of use, skew included, in milliseconds since the Unix epoch. */
  readonly usableUntilMs: number;
  /** Version of the key set that it was verified with. */
  readonly keyVersion: number;
}

/**
 * Tokens that were verified, by the SHA-256 of all of their text: two tokens never share an entry, and no token is kept.
 * Two generations: when the younger is full, the elder is dropped whole.
 */
export class TokenCache<T extends CachedToken> {
  readonly #maxYoung: number;
  #young = new Map<string, T>();
  #old = new Map<string, T>();

  /** @param maxTokens - Tokens remembered, 2 or more. */
  constructor(maxTokens: number) {
    this.#maxYoung = Math.floor(maxTokens / 2);
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(key: string): T | undefined {
    const young = this.#young.get(key);
    if (young) return young;
    const old = this.#old.get(key);
    if (old) this.set(key, old);
    return old;
  }

  set(key: string, value: T): void {
    if (this.#young.size >= this.#maxYoung) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
  }

  delete(key: string): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }
}

export function tokenKey(token: string): string {
  return hash("sha256", token, "base64");
}
