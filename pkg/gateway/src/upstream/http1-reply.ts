import type { ReplyHeaders } from "../headers/reply.ts";
import type { UpstreamRequest } from "./upstream.ts";
import { ChunkReader } from "./http1-chunks.ts";
import { maxHeadBytes, readReplyStart, type ReplyStart, untilClose, untilLastChunk } from "./http1-head.ts";

/** Heads before the one that counts: an instance might send them for ever. */
const maxInformational = 16;
/** Most heads are shorter, in bytes. */
const usualHeadBytes = 1_024;
const noFields: ReplyHeaders = Object.freeze<string[]>([]);

/** What a request says of its reply. */
export type AskedFor = Pick<UpstreamRequest, "method" | "body" | "upgrade">;

/**
 * Reads replies off a connection, one after another, wherever reads divide them. After each `read`, what has come stands in the fields:
 * the head, once; of the body what that read had, as one buffer of its own; the end. `fault` comes after what was right before it.
 */
export class ReplyReader {
  /** Of the reply that is read; undefined until its head is whole. */
  start: ReplyStart | undefined;
  /** Of its body, from the last read alone. */
  body: Buffer | undefined;
  isDone = false;
  /** What is wrong: nothing after it can be believed. */
  fault: string | undefined;
  /** Whether the connection may be used again after it. */
  isKept = false;
  #asked: AskedFor = { method: "", body: null };
  #pending = "";
  #informational = 0;
  /** Of the body, still to come; or how it ends. */
  #left = 0;
  #chunks: ChunkReader | undefined;

  get trailers(): ReplyHeaders {
    return this.#chunks?.trailers ?? noFields;
  }

  /** A request has been sent: the next bytes are its reply. */
  begin(asked: AskedFor): void {
    this.#asked = asked;
    this.start = undefined;
    this.body = undefined;
    this.isDone = false;
    this.isKept = false;
    this.#informational = 0;
    this.#chunks = undefined;
  }

  /** @returns How many of the bytes belong to the reply. Those of a 101 end with its head. */
  read(source: Buffer, end: number): number {
    this.body = undefined;
    let at = 0;
    while (this.start === undefined && this.fault === undefined && at < end) at = this.#readHead(source, at, end);
    if (at < end && this.start !== undefined && !this.isDone && this.fault === undefined)
      at = this.#readBody(source, at, end);
    return at;
  }

  /**
   * The connection has ended.
   * @returns Whether the reply is whole: it may have had no other end.
   */
  end(): boolean {
    if (this.start === undefined || this.fault !== undefined || this.#left !== untilClose) return this.isDone;
    this.isDone = true;
    return true;
  }

  #readHead(source: Buffer, at: number, end: number): number {
    const before = this.#pending.length;
    if (before === 0) {
      // Most heads come whole, at once, and are short.
      const usual = Math.min(end, at + usualHeadBytes);
      const text = source.toString("latin1", at, usual);
      const stop = text.indexOf("\r\n\r\n");
      if (stop >= 0) {
        this.#takeHead(text, stop);
        return at + stop + 4;
      }
    }
    const upTo = Math.min(end, at + maxHeadBytes + 1 - before);
    const text = this.#pending + source.toString("latin1", at, upTo);
    const stop = text.indexOf("\r\n\r\n", Math.max(0, before - 3));
    if (stop >= 0) {
      this.#pending = "";
      this.#takeHead(text, stop);
      return at + stop + 4 - before;
    }
    if (text.length > maxHeadBytes) this.fault = "the head is too large";
    else if (!"HTTP/1.".startsWith(text.slice(0, 7))) this.fault = "it does not begin as HTTP/1 does";
    else if (/[^\r]\n|\r[^\n]/.test(text.slice(Math.max(0, before - 1))))
      this.fault = "a line of the head has no right end";
    this.#pending = text;
    return upTo;
  }

  #takeHead(text: string, stop: number): void {
    const start = readReplyStart(text, stop);
    if (typeof start === "string") this.fault = start;
    else if (start.status >= 200) this.#beginBody(start);
    else if (start.bodyLength > 0 || start.bodyLength === untilLastChunk)
      this.fault = "an informational reply has a body";
    else if (start.status === 101) {
      if (this.#asked.upgrade !== undefined) this.start = start;
      else this.fault = "another protocol was agreed to that nobody asked for";
    } else if (start.status === 100 && this.#asked.body === null)
      this.fault = "a body was asked for that there is none of";
    else if (++this.#informational > maxInformational) this.fault = "there are too many informational replies";
  }

  #beginBody(start: ReplyStart): void {
    const { status, bodyLength } = start;
    this.start = start;
    this.isKept = start.isKept;
    if (status === 204 || status === 304 || this.#asked.method === "HEAD") {
      this.#left = 0;
      this.isDone = true;
      // What is announced all the same may still come, and would be taken for the next reply.
      if (status === 204 && bodyLength !== 0 && bodyLength !== untilClose) this.isKept = false;
      return;
    }
    this.#left = bodyLength;
    if (bodyLength === 0) this.isDone = true;
    else if (bodyLength === untilLastChunk) this.#chunks = new ChunkReader();
    else if (bodyLength === untilClose) this.isKept = false;
  }

  #readBody(source: Buffer, at: number, end: number): number {
    const chunks = this.#chunks;
    if (chunks) {
      const target = Buffer.allocUnsafe(end - at);
      const { used, copied } = chunks.read(source, at, end, target);
      if (copied > 0) this.body = target.subarray(0, copied);
      this.isDone = chunks.isDone;
      this.fault = chunks.fault;
      return at + used;
    }
    const stop = this.#left === untilClose ? end : Math.min(end, at + this.#left);
    const body = Buffer.allocUnsafe(stop - at);
    source.copy(body, 0, at, stop);
    this.body = body;
    if (this.#left !== untilClose) {
      this.#left -= stop - at;
      this.isDone = this.#left === 0;
    }
    return stop;
  }
}
