// What the conversions of all services between messages and plain values have in common.
import { type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Duration } from "@bufbuild/protobuf/wkt";
import { messageOf } from "@plinth/kernel";
import { RequestError } from "@plinth/transport";
import { ServicesError } from "./errors.ts";
import type { Page, PageRequest } from "./pages.ts";

/**
 * What a service has answered, as plain values.
 * @throws {@link ServicesError} `ERR_SERVICE_REPLY` for what breaks its contract.
 */
export function readReply<M extends { readonly $typeName: string }, T>(message: M, read: (message: M) => T): T {
  try {
    return read(message);
  } catch (cause) {
    const what = `what came as ${message.$typeName} breaks its contract: ${messageOf(cause)}`;
    throw new ServicesError("ERR_SERVICE_REPLY", "internal", `${what}; is it that of another version?`, { cause });
  }
}

/** @throws {@link RequestError} `ERR_REQUEST_INVALID` when it is missing. */
export function required<T>(value: T | undefined, pointer: string): T {
  if (value === undefined || value === "") throw invalid(pointer, "is required");
  return value;
}

export function invalid(pointer: string, detail: string): RequestError {
  return new RequestError([{ pointer, detail }]);
}

/** An empty text is none. */
export function textOf(text: string): string | undefined {
  return text === "" ? undefined : text;
}

/** What `read` makes of a text, unless it is empty. */
export function mapText<T>(text: string, read: (text: string) => T): T | undefined {
  return text === "" ? undefined : read(text);
}

export function mapValue<T, R>(value: T | undefined, map: (value: T) => R): R | undefined {
  return value === undefined ? undefined : map(value);
}

export function toTimestamp(date: Date): Timestamp;
export function toTimestamp(date: Date | undefined): Timestamp | undefined;
export function toTimestamp(date: Date | undefined): Timestamp | undefined {
  return date === undefined ? undefined : timestampFromMs(date.getTime());
}

/** Its whole milliseconds: what is finer is cut off. */
export function toDate(time: Timestamp): Date;
export function toDate(time: Timestamp | undefined): Date | undefined;
export function toDate(time: Timestamp | undefined): Date | undefined {
  return time === undefined ? undefined : new Date(Number(time.seconds) * 1_000 + Math.floor(time.nanos / 1_000_000));
}

export function toDuration(ms: number): { readonly seconds: bigint; readonly nanos: number } {
  const seconds = Math.trunc(ms / 1_000);
  return { seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1_000) * 1_000_000) };
}

export function toMs(duration: Pick<Duration, "seconds" | "nanos">): number {
  return Number(duration.seconds) * 1_000 + Math.round(duration.nanos / 1_000_000);
}

/** Without the fields that are undefined, so that what came over a wire is equal to what did not. */
export function compact<T extends object>(value: T): T {
  for (const key of Object.keys(value)) if (Reflect.get(value, key) === undefined) Reflect.deleteProperty(value, key);
  return value;
}

/** The words of an enum, both ways. */
export interface Words<Word extends string, N extends number> {
  /** No word is the enum's zero. */
  toNumber(word: Word | undefined): N;
  /** undefined for zero, and for what is none of them. */
  toWord(number: number): Word | undefined;
}

/** @param none - The enum's zero. */
export function wordsOf<const Word extends string, N extends number, None extends number>(
  numbers: Readonly<Record<Word, N>>,
  none: None,
): Words<Word, N | None> {
  const isWord = (word: string): word is Word => Object.hasOwn(numbers, word);
  const byNumber = new Map<number, Word>();
  for (const word of Object.keys(numbers)) if (isWord(word)) byNumber.set(numbers[word], word);
  return {
    toNumber: (word) => (word === undefined ? none : numbers[word]),
    toWord: (number) => byNumber.get(number),
  };
}

/**
 * The word of a number in a request.
 * @throws {@link RequestError} `ERR_REQUEST_INVALID` for one that this side does not know.
 */
export function requestWord<Word extends string>(
  words: Words<Word, number>,
  number: number,
  pointer: string,
): Word | undefined {
  const word = words.toWord(number);
  if (word === undefined && number !== 0) throw invalid(pointer, "is none that is known");
  return word;
}

export function toPageFields({ pageSize = 0, pageToken = "" }: PageRequest): {
  readonly pageSize: number;
  readonly pageToken: string;
} {
  return { pageSize, pageToken };
}

/** @throws {@link RequestError} `ERR_REQUEST_INVALID` for a negative size. */
export function fromPageFields({ pageSize, pageToken }: { readonly pageSize: number; readonly pageToken: string }): {
  readonly pageSize: number | undefined;
  readonly pageToken: string | undefined;
} {
  if (pageSize < 0) throw invalid("/page_size", "must be 0 or more");
  return { pageSize: pageSize === 0 ? undefined : pageSize, pageToken: textOf(pageToken) };
}

export function toPage<T>(items: readonly T[], nextPageToken: string): Page<T> {
  return compact({ items, nextPageToken: textOf(nextPageToken) });
}
