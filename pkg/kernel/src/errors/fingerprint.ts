import type { ErrorReport } from "./error-bus.ts";
import { fieldOf, messageOf } from "./thrown.ts";

/** Of a message so much tells faults apart. */
const maxMessageLength = 200;
const maxCodeLength = 100;
const maxPlaceLength = 300;
/** To read a stack for the first time takes longer than all the rest of a report: no more than so many in a second. */
const maxStacksPerSecond = 100;
const maxKindsKept = 1_000;

/** All that tells one fault from another, but for the place. */
export function kindOf({ error, origin }: ErrorReport, root: unknown): string {
  return `${origin} ${error.code.slice(0, maxCodeLength)} ${withoutNumbers(messageOf(root))}`;
}

/** Where errors of foreign types came from; those of ours have codes that say it. */
export class Places {
  /** By kind: the last one known. */
  readonly #last = new Map<string, string>();
  #left = maxStacksPerSecond;
  #sinceMs = -Infinity;

  /** The innermost line of its stack that is neither Node's nor a package's; in a flood, that of the last error of the kind. */
  placeOf(root: unknown, kind: string, nowMs: number): string {
    if (nowMs - this.#sinceMs >= 1_000) {
      this.#sinceMs = nowMs;
      this.#left = maxStacksPerSecond;
    }
    if (this.#left <= 0) return this.#last.get(kind) ?? "";
    this.#left--;
    const place = ownFrameOf(fieldOf(root, "stack"));
    if (this.#last.size >= maxKindsKept) this.#last.clear();
    this.#last.set(kind, place);
    return place;
  }
}

function ownFrameOf(stack: unknown): string {
  if (typeof stack !== "string") return "";
  for (let start = stack.indexOf("\n    at "); start >= 0;) {
    const end = stack.indexOf("\n", start + 1);
    const frame = stack.slice(start + 8, Math.min(end < 0 ? stack.length : end, start + 8 + maxPlaceLength));
    if (!/\bnode:|[\\/]node_modules[\\/]|<anonymous>/.test(frame)) return frame;
    start = end < 0 ? end : stack.indexOf("\n    at ", end);
  }
  return "";
}

/**
 * A text of 16 digits for a text of any length.
 * @see FNV-1a, here twice with 32 bits: http://www.isthe.com/chongo/tech/comp/fnv/
 */
export function fingerprintOf(text: string): string {
  let one = 0x811c9dc5;
  let two = 0x01000193;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    one = Math.imul(one ^ unit, 0x01000193);
    two = Math.imul(two ^ unit, 0x5bd1e995);
  }
  return [one, two].map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("");
}

/** The beginning of a message, with `#` for each word that holds a digit: ids, ports, durations. */
export function withoutNumbers(message: string): string {
  const end = Math.min(message.length, maxMessageLength);
  let text = "";
  let taken = 0;
  let wordAt = 0;
  let hasDigit = false;
  for (let at = 0; at <= end; at++) {
    const unit = at < end ? message.charCodeAt(at) : 0;
    if (isDigit(unit)) hasDigit = true;
    else if (!isInWord(unit)) {
      if (hasDigit) {
        text += `${message.slice(taken, wordAt)}#`;
        taken = at;
        hasDigit = false;
      }
      wordAt = at + 1;
    }
  }
  return text + message.slice(taken, end);
}

function isDigit(unit: number): boolean {
  return unit >= 48 && unit <= 57;
}

/** Letters, whatever is not ASCII, `_` and `-`. */
function isInWord(unit: number): boolean {
  return (unit >= 97 && unit <= 122) || (unit >= 65 && unit <= 90) || unit > 127 || unit === 95 || unit === 45;
}
