import type { ReplyHeaders } from "../headers/reply.ts";
import { fieldName, isTextCode, isTokenCode } from "./http1-fields.ts";

/** A larger head of a reply is refused, in bytes. */
export const maxHeadBytes = 32_768;
const maxHeadLines = 256;

/** Where a body ends that has no length: with its last chunk, or with its connection. */
export const untilLastChunk = -1;
export const untilClose = -2;

/** The head of a reply, read in the one way that it can be. */
export interface ReplyStart {
  /** 100 to 599. */
  readonly status: number;
  readonly headers: ReplyHeaders;
  /** Bytes of its body, or one of the two above. What the method says is not looked at. */
  readonly bodyLength: number;
  /** Whether the connection may be used once more. */
  readonly isKept: boolean;
  /** Value of Keep-Alive. */
  readonly keepAlive: string | undefined;
}

const [tab, lineFeed, carriageReturn, space, digit0, digit9, colon] = [9, 10, 13, 32, 48, 57, 58];

/**
 * Takes a head apart, and refuses what can be read in two ways: folded lines, line feeds or carriage returns by themselves, a length
 * beside chunks, two lengths, a length that is no plain number, other codings than the one word `chunked`.
 *
 * @param text - Latin-1, from the first character of the head.
 * @param end - Where the line break before the empty line begins.
 * @returns The head, or what is wrong with it.
 * @see https://www.rfc-editor.org/rfc/rfc9112#section-6.3
 */
export function readReplyStart(text: string, end: number): ReplyStart | string {
  const isOld = text.startsWith("HTTP/1.0 ");
  if (!isOld && !text.startsWith("HTTP/1.1 ")) return "the status line names no version that is known";
  const status = numberAt(text, 9) * 100 + numberAt(text, 10) * 10 + numberAt(text, 11);
  if (!(status >= 100 && status <= 599)) return "the status is none of HTTP's";
  let at = 12;
  if (text.charCodeAt(at) === space) {
    while (isTextCode[text.charCodeAt(at)] === 1) at++;
  }
  if (text.charCodeAt(at) !== carriageReturn || text.charCodeAt(at + 1) !== lineFeed)
    return "the status line is malformed";
  at += 2;

  const headers: string[] = [];
  let length = untilClose;
  let isChunked = false;
  let connection = "";
  let keepAlive: string | undefined;
  let lines = 0;
  while (at <= end) {
    if (++lines > maxHeadLines) return "the head has too many lines";
    const from = at;
    while (isTokenCode[text.charCodeAt(at)] === 1) at++;
    if (at === from || text.charCodeAt(at) !== colon) return "a header has no name";
    const { name, kind } = fieldName(text.slice(from, at));
    at++;
    while (isBlank(text.charCodeAt(at))) at++;
    const start = at;
    while (isTextCode[text.charCodeAt(at)] === 1) at++;
    if (text.charCodeAt(at) !== carriageReturn || text.charCodeAt(at + 1) !== lineFeed)
      return "the value of a header is malformed";
    let stop = at;
    while (stop > start && isBlank(text.charCodeAt(stop - 1))) stop--;
    const value = text.slice(start, stop);
    at += 2;
    headers.push(name, value);
    if (kind === "other") continue;
    if (kind === "content-length") {
      if (length !== untilClose || !/^\d{1,15}$/.test(value)) return "the length is not one plain number";
      length = Number(value);
    } else if (kind === "transfer-encoding") {
      if (isChunked || value.toLowerCase() !== "chunked") return "the coding is not the one word chunked";
      isChunked = true;
    } else if (kind === "connection") connection = connection === "" ? value : `${connection},${value}`;
    else keepAlive = value;
  }
  if (isChunked && (isOld || length !== untilClose)) return "the length of the body is given in two ways";
  const bodyLength = isChunked ? untilLastChunk : length;
  return { status, headers, bodyLength, isKept: !isOld && !hasClose(connection), keepAlive };
}

function hasClose(connection: string): boolean {
  if (connection === "" || connection === "keep-alive") return false;
  return connection.split(",").some((token) => token.trim().toLowerCase() === "close");
}

/** NaN where there is no digit. */
function numberAt(text: string, at: number): number {
  const code = text.charCodeAt(at);
  return code >= digit0 && code <= digit9 ? code - digit0 : NaN;
}

function isBlank(code: number): boolean {
  return code === space || code === tab;
}
