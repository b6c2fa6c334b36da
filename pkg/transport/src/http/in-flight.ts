/** A link of {@link InFlight}. */
export interface InFlightLink<T> {
  before: T | undefined;
  after: T | undefined;
}

/** The requests being served, in the order in which they came. Each is a link of it, so that coming and going allocates nothing. */
export class InFlight<T extends InFlightLink<T>> {
  #first: T | undefined;
  #last: T | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Once for each. */
  add(exchange: T): void {
    exchange.before = this.#last;
    if (this.#last === undefined) this.#first = exchange;
    else this.#last.after = exchange;
    this.#last = exchange;
    this.#size++;
  }

  /** Safe to call twice. */
  delete(exchange: T): void {
    const { before, after } = exchange;
    if (before === undefined && this.#first !== exchange) return;
    if (before === undefined) this.#first = after;
    else before.after = after;
    if (after === undefined) this.#last = before;
    else after.before = before;
    exchange.before = exchange.after = undefined;
    this.#size--;
  }

  /** Those of this moment, whatever becomes of them while they are gone through. */
  [Symbol.iterator](): ArrayIterator<T> {
    const all: T[] = [];
    for (let at = this.#first; at !== undefined; at = at.after) all.push(at);
    return all.values();
  }
}
