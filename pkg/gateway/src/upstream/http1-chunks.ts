import { fieldName, isFieldText, isToken } from "./http1-fields.ts";

/** Longest line with a chunk's size, in characters. */
const maxSizeLine = 1_024;
/** Of all extensions of a body together, in characters: it might be extensions for ever. */
const maxExtensions = 16_384;
const maxTrailerBytes = 16_384;
const maxTrailerLines = 64;

const extensions =
  /^(?:;[\w!#$%&'*+.^`|~-]+(?:=(?:[\w!#$%&'*+.^`|~-]+|"(?:[\t \u0021\u0023-\u005b\u005d-\u007e\u0080-\u00ff]|\\[\t \u0021-\u007e\u0080-\u00ff])*"))?)*$/;

const [lineFeed, carriageReturn] = [10, 13];

type Part = "size" | "data" | "data end" | "trailers";

/** Takes the chunks of a body apart, wherever reads divide them. RFC 9112, 7.1. */
export class ChunkReader {
  /** What is wrong with them. */
  fault: string | undefined;
  isDone = false;
  trailers: string[] = [];
  #part: Part = "size";
  /** Of the chunk, still to come. */
  #left = 0;
  /** Of a line that has not come whole. */
  #line = "";
  #extensions = 0;
  #trailerBytes = 0;

  /**
   * Copies what is data.
   * @returns How many bytes of the source were used, and how many were copied to `target`, which has room for as many.
   */
  read(source: Buffer, from: number, end: number, target: Buffer): { readonly used: number; readonly copied: number } {
    let at = from;
    let copied = 0;
    while (at < end && !this.isDone && this.fault === undefined) {
      if (this.#part === "data") {
        const stop = Math.min(end, at + this.#left);
        source.copy(target, copied, at, stop);
        copied += stop - at;
        this.#left -= stop - at;
        at = stop;
        if (this.#left === 0) this.#part = "data end";
        continue;
      }
      const stop = source.indexOf(lineFeed, at);
      const isWhole = stop >= 0 && stop < end;
      const next = isWhole ? stop + 1 : end;
      const longest = this.#part === "data end" ? 2 : this.#part === "size" ? maxSizeLine : maxTrailerBytes;
      if (this.#line.length + next - at > longest) this.fault = "a line between chunks is too long";
      else this.#line += source.toString("latin1", at, next);
      at = next;
      if (this.fault === undefined) {
        if (isWhole) this.#takeLine();
        else if (hasStray(this.#line)) this.fault = "a carriage return stands by itself between chunks";
      }
    }
    return { used: at - from, copied };
  }

  #takeLine(): void {
    const whole = this.#line;
    this.#line = "";
    if (whole.length < 2 || whole.charCodeAt(whole.length - 2) !== carriageReturn) {
      this.fault = "a line between chunks has no right end";
      return;
    }
    const line = whole.slice(0, -2);
    if (this.#part === "size") this.#takeSize(line);
    else if (this.#part === "trailers") this.#takeTrailer(line);
    else if (line === "") this.#part = "size";
    else this.fault = "a chunk is longer than its size";
  }

  #takeSize(line: string): void {
    const digits = /^[0-9A-Fa-f]{1,13}/.exec(line)?.[0];
    const rest = line.slice(digits?.length ?? 0);
    this.#extensions += rest.length;
    if (digits === undefined || (rest !== "" && !extensions.test(rest)))
      this.fault = "the size of a chunk is malformed";
    else if (this.#extensions > maxExtensions) this.fault = "the chunks have too much beside their sizes";
    else {
      this.#left = Number.parseInt(digits, 16);
      this.#part = this.#left === 0 ? "trailers" : "data";
    }
  }

  #takeTrailer(line: string): void {
    if (line === "") {
      this.isDone = true;
      return;
    }
    this.#trailerBytes += line.length + 2;
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(0, colon));
    const value = line.slice(colon + 1).replace(/^[\t ]+|[\t ]+$/g, "");
    if (this.#trailerBytes > maxTrailerBytes || this.trailers.length >= maxTrailerLines * 2) {
      this.fault = "there are too many trailers";
    } else if (!isToken(name) || !isFieldText(value)) this.fault = "a trailer is malformed";
    else if (!isFraming(name)) this.trailers.push(fieldName(name).name, value);
  }
}

function isFraming(name: string): boolean {
  const { kind } = fieldName(name);
  return kind === "content-length" || kind === "transfer-encoding";
}

/** Whether a line that goes on has a carriage return that is not its last character. */
function hasStray(line: string): boolean {
  const at = line.indexOf("\r");
  return at >= 0 && at < line.length - 1;
}
