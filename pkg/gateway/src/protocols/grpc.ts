import type { Scheduled } from "@plinth/kernel";
import { fromHttpStatus, toGrpcCode } from "@plinth/transport";
import { isForClient } from "../headers/names.ts";
import { replyHeader, type ReplyHeaders } from "../headers/reply.ts";
import type { RequestHead } from "../headers/request-head.ts";
import { headerOf } from "../router/conditions.ts";
import type { Exchange } from "../server/exchange.ts";

/** Of gRPC itself; that of browsers, `application/grpc-web`, is HTTP like any other. */
const contentType = /^application\/grpc(?:[+;]|$)/i;
const unitsMs: ReadonlyMap<string, number> = new Map([
  ["H", 3_600_000],
  ["M", 60_000],
  ["S", 1_000],
  ["m", 1],
  ["u", 1e-3],
  ["n", 1e-6],
]);
/** setTimeout takes no more. */
const longestTimerMs = 2 ** 31 - 1;
const unavailable = 14;

/** What a request of gRPC has beside any other over HTTP/2. @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md */
export class GrpcCall {
  /** Until the caller gives up, in milliseconds of the monotonic clock; `Infinity` when it never does. */
  readonly expiresAtMs: number;
  #timer: Scheduled | undefined;

  constructor(expiresAtMs: number) {
    this.expiresAtMs = expiresAtMs;
  }

  /** Its time counts as the route's does; whichever is up first ends it. */
  begin(exchange: Exchange): void {
    const { clock } = exchange.core;
    const leftMs = this.expiresAtMs - clock.monotonicMs();
    if (leftMs > longestTimerMs || (exchange.list && exchange.expiresAtMs <= this.expiresAtMs)) return;
    this.#timer = clock.schedule(Math.max(0, leftMs), () => exchange.expire(), { keepAlive: false });
  }

  /** Safe to call twice. */
  end(): void {
    this.#timer?.cancel();
  }
}

/**
 * What a head says of gRPC, whose `grpc-timeout` is taken from it: what is left of that is said to the service.
 * @param nowMs - Of the monotonic clock.
 * @returns Undefined where it is no request of gRPC; `"malformed"` where it gives a time that is none.
 */
export function grpcCallOf({ headers }: RequestHead, nowMs: number): GrpcCall | "malformed" | undefined {
  const type = headerOf(headers, "content-type");
  if (type === undefined || !contentType.test(type)) return undefined;
  let expiresAtMs = Infinity;
  for (let at = headers.length - 2; at >= 0; at -= 2) {
    if (headers[at]?.toLowerCase() !== "grpc-timeout") continue;
    const ms = toMs(headers[at + 1] ?? "");
    if (ms === undefined) return "malformed";
    expiresAtMs = Math.min(expiresAtMs, nowMs + ms);
    headers.splice(at, 2);
  }
  return new GrpcCall(expiresAtMs);
}

function toMs(text: string): number | undefined {
  const [, digits, unit = ""] = /^(\d{1,8})([HMSmun])$/.exec(text) ?? [];
  const unitMs = unitsMs.get(unit);
  return unitMs === undefined ? undefined : Number(digits) * unitMs;
}

/** A time for `grpc-timeout`, which has up to eight digits. @param ms - 0 or more. */
export function toGrpcTimeout(ms: number): string {
  const whole = Math.max(1, Math.floor(ms));
  return whole <= 99_999_999 ? `${whole}m` : `${Math.min(99_999_999, Math.floor(whole / 1_000))}S`;
}

/** The number of gRPC for a reply of ours: by the table of all servers, but a route that is not there is a method that is not. */
export function grpcCodeOf(httpStatus: number): number {
  return toGrpcCode(httpStatus === 404 || httpStatus === 405 ? "unimplemented" : fromHttpStatus(httpStatus));
}

/** How a call ends that the gateway refuses, name and value by turns; the details hold the code that problem+json has. */
export function grpcEnding(httpStatus: number, code: string, detail: string): string[] {
  const status = grpcCodeOf(httpStatus);
  const info = Buffer.concat([field(1, code), field(2, "plinth")]);
  const any = Buffer.concat([field(1, "type.googleapis.com/google.rpc.ErrorInfo"), field(2, info)]);
  const details = Buffer.concat([Buffer.from([8, status]), field(2, detail), field(3, any)]);
  return [
    "grpc-status",
    `${status}`,
    "grpc-message",
    encodeURI(detail.toWellFormed()),
    "grpc-status-details-bin",
    details.toString("base64").replace(/=+$/, ""),
  ];
}

/** Lines of name and value by turns, one by one. */
export function pairsOf(lines: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let at = 0; at < lines.length; at += 2) pairs.push([lines[at] ?? "", lines[at + 1] ?? ""]);
  return pairs;
}

/** A field of protobuf with a length. */
function field(number: number, value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  const length: number[] = [];
  for (let left = bytes.length; ; left >>>= 7) {
    length.push(left > 127 ? (left & 127) | 128 : left);
    if (left <= 127) break;
  }
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length]), bytes]);
}

/** Whether the service says that it cannot serve. @param fields - Of the head or behind the body. */
export function isUnavailable(fields: ReplyHeaders): boolean {
  return replyHeader(fields, "grpc-status") === `${unavailable}`;
}

/** Another instance than the one meant has answered: nothing was done. */
export function isMisdirected(head: ReplyHeaders): boolean {
  const details = isUnavailable(head) ? replyHeader(head, "grpc-status-details-bin") : undefined;
  return details !== undefined && Buffer.from(details, "base64").includes("ERR_MISDIRECTED");
}

/** What ends a call reaches its caller as it is, but for what is of the connection. */
export function toGrpcTrailers(trailers: ReplyHeaders): [string, string][] {
  return pairsOf(trailers).filter(([name]) => isForClient(name));
}
