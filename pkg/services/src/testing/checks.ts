import { type FieldFault, RequestError } from "@plinth/transport";
import { isPlainId } from "../ids.ts";

/** What is wrong with a request: all of it at once. */
export class Checks {
  readonly #faults: FieldFault[] = [];

  that(holds: boolean, pointer: string, detail: string): this {
    if (!holds) this.#faults.push({ pointer, detail });
    return this;
  }

  /** The length of a text, in characters. */
  length(text: string, pointer: string, { min = 0, max }: { readonly min?: number; readonly max: number }): this {
    return this.that(text.length >= min && text.length <= max, pointer, `must have ${min} to ${max} characters`);
  }

  /** How many there are. */
  size(size: number, pointer: string, { min = 0, max }: { readonly min?: number; readonly max: number }): this {
    return this.that(size >= min && size <= max, pointer, `must have ${min} to ${max} items`);
  }

  requestId(text: string, pointer = "/request_id"): this {
    return this.length(text, pointer, { min: 8, max: 64 });
  }

  /** `{ type, id }`, as all contracts have it. */
  object({ type, id }: { readonly type: string; readonly id: string }, pointer: string): this {
    const typeHolds = /^[a-z][a-z0-9_]{0,63}$/.test(type);
    this.that(typeHolds, `${pointer}/type`, "must be a letter of a–z and up to 63 of a–z 0–9 _");
    return this.that(isPlainId(id), `${pointer}/id`, "must be 1 to 128 of A–Z a–z 0–9 . _ : ~ @ | -");
  }

  attributes(
    attributes: Readonly<Record<string, string>>,
    pointer: string,
    { max, maxLength }: { readonly max: number; readonly maxLength: number },
  ): this {
    const entries = Object.entries(attributes);
    this.size(entries.length, pointer, { max });
    this.that(
      entries.every(([key]) => key.length >= 1 && key.length <= 64),
      pointer,
      "must have keys of 1 to 64 characters",
    );
    return this.that(
      entries.every(([, value]) => value.length <= maxLength),
      pointer,
      `must have values of at most ${maxLength} characters`,
    );
  }

  /** @throws RequestError with all that does not hold. */
  done(): void {
    if (this.#faults.length > 0) throw new RequestError(this.#faults);
  }
}
