/** After so many draws of the same one the next in the list is taken: one that has nearly all the weight. */
const maxTries = 4;

/**
 * Draws places of a list, each with a probability in proportion to its weight, in constant time: Vose's alias method.
 * @see Vose, A linear algorithm for generating random numbers with a given distribution: https://doi.org/10.1109/32.92917
 */
export class WeightedDraw {
  readonly #count: number;
  readonly #random: () => number;
  /** Undefined when all weigh the same: then a plain draw will do. */
  readonly #kept: Float64Array | undefined;
  readonly #alias: Uint32Array;

  /** @param weights - At least one, each above 0. */
  constructor(weights: Float64Array, random: () => number) {
    const count = weights.length;
    this.#count = count;
    this.#random = random;
    this.#alias = new Uint32Array(count);
    if (weights.every((weight) => weight === weights[0])) return;
    const mean = weights.reduce((sum, weight) => sum + weight, 0) / count;
    const scaled = weights.map((weight) => weight / mean);
    const kept = new Float64Array(count).fill(1); // what rounding leaves over stays at 1
    const light: number[] = [];
    const heavy: number[] = [];
    for (const [index, weight] of scaled.entries()) (weight < 1 ? light : heavy).push(index);
    for (;;) {
      const more = heavy.at(-1);
      const less = more === undefined ? undefined : light.pop();
      if (more === undefined || less === undefined) break;
      kept[less] = scaled[less] ?? 1;
      this.#alias[less] = more;
      scaled[more] = (scaled[more] ?? 1) + (scaled[less] ?? 1) - 1;
      if (scaled[more] < 1) {
        heavy.pop();
        light.push(more);
      }
    }
    this.#kept = kept;
  }

  draw(): number {
    const at = this.#random() * this.#count;
    const index = Math.floor(at);
    if (this.#kept === undefined || at - index < (this.#kept[index] ?? 1)) return index;
    return this.#alias[index] ?? index;
  }

  /** Another place than `first`, as long as there is one. */
  drawOther(first: number): number {
    const others = this.#count - 1;
    if (others < 1) return first;
    if (this.#kept === undefined) {
      const index = Math.floor(this.#random() * others);
      return index < first ? index : index + 1;
    }
    for (let tries = 0; tries < maxTries; tries++) {
      const other = this.draw();
      if (other !== first) return other;
    }
    return first === others ? 0 : first + 1;
  }
}
