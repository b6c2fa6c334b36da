/** Layers outside of any request hand an error on at once: after so long it is thrown anew. */
const sameMs = 1_000;

/**
 * Tells an error that several layers report from one object that is thrown again and again, as a constant error is or the
 * reason of a promise that is kept: that is an error for each request it fails.
 */
export class Sightings {
  readonly #lastAtMs = new WeakMap<object, number>();
  readonly #byRequest = new WeakMap<object, Seen>();

  /**
   * Notes that it is seen, and whether for the first time: in this request, or, outside of any, for a second.
   * @param request - What stands for it in all its layers; undefined outside of any.
   */
  isNew(error: object, request: object | undefined, nowMs: number): boolean {
    const isNew = request ? this.#isNewIn(request, error) : !(nowMs - this.#lastOf(error) < sameMs);
    if (isNew) this.#lastAtMs.set(error, nowMs);
    return isNew;
  }

  #isNewIn(request: object, error: object): boolean {
    const seen = this.#byRequest.get(request);
    if (seen === undefined) {
      this.#byRequest.set(request, { first: error, others: undefined });
      return true;
    }
    if (seen.first === error || seen.others?.has(error)) return false;
    (seen.others ??= new WeakSet()).add(error);
    return true;
  }

  #lastOf(error: object): number {
    return this.#lastAtMs.get(error) ?? -Infinity;
  }
}

/** The errors of one request, which mostly is one: to make a set for it would cost as much as the rest of a report. */
interface Seen {
  readonly first: object;
  others: WeakSet<object> | undefined;
}
