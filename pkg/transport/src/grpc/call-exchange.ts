import type { IncomingHttpHeaders } from "node:http2";
import { TLSSocket } from "node:tls";
import { Metadata } from "@grpc/grpc-js";
import type { AppError, SpanContext } from "@plinth/kernel";
import { type Budget, Exchange, type ExchangeOptions } from "../exchange.ts";
import type { FailureIds } from "../failure-ids.ts";
import { callerOf } from "../propagation.ts";
import type { GrpcSettings } from "./settings.ts";
import type { Wire } from "./wire.ts";

/** Answers for a handler that is not waited for any more. */
export interface CallOwner {
  giveUp(wire: Wire, error: AppError): void;
  /** Whether what the connection's peer says of a call is believed. */
  isTrusted(wire: Wire): boolean;
}

/** One RPC being served. */
export class CallExchange extends Exchange {
  override readonly protocol = "grpc";
  readonly #wire: Wire;
  readonly #owner: CallOwner;

  constructor(wire: Wire, owner: CallOwner, options: ExchangeOptions) {
    super(options);
    this.#wire = wire;
    this.#owner = owner;
    this.route = wire.served.name;
  }

  override header(name: string): string | undefined {
    return name.startsWith(":") ? undefined : textIn(this.#wire.headers, name);
  }

  override setReplyHeader(name: string, value: string): void {
    toMetadata({ [name]: value }); // so that what cannot be sent is told to who sets it
    super.setReplyHeader(name, value);
  }

  override setReplyTrailer(name: string, value: string): void {
    toMetadata({ [name]: value });
    super.setReplyTrailer(name, value);
  }

  /** The certificate of the caller, on a connection where it has shown one that was found good. */
  get peerCertificate() {
    const socket = this.#wire.stream.session?.socket;
    if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
    const certificate = socket.getPeerCertificate();
    return Object.keys(certificate).length === 0 ? undefined : certificate;
  }

  protected override peerAddress(): string {
    return this.#wire.connection.peer;
  }

  protected override isPeerTrusted(): boolean {
    return this.#owner.isTrusted(this.#wire);
  }

  override get hasReplyBegun(): boolean {
    return this.#wire.hasBegun || this.isOver;
  }

  protected override expired(error: AppError): void {
    this.#owner.giveUp(this.#wire, error);
  }
}

/** The span that the caller's headers name; null where a trace begins here. */
export function callerIn(headers: IncomingHttpHeaders, isTrusted: () => boolean): SpanContext | null {
  return callerOf((name) => textIn(headers, name), isTrusted); // two of a traceparent are none
}

/**
 * Values under a name that ends in `-bin` are base64.
 * @throws Error for a name or a value that no metadata has.
 */
export function toMetadata(values: Readonly<Record<string, string>>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(values)) {
    if (ownNames.test(name)) throw new Error(`${JSON.stringify(name)} belongs to HTTP/2 or gRPC itself`);
    metadata.set(name, name.endsWith("-bin") ? Buffer.from(value, "base64") : value);
  }
  return metadata;
}

/** What HTTP/2 forbids would be noticed only once the trailers are due, when nobody can be told any more. */
const ownNames =
  /^(?::.*|connection|keep-alive|proxy-connection|transfer-encoding|upgrade|te|http2-settings|grpc-(?:status|message))$/i;

/** What came under that name; several are joined by commas. */
export function textIn(headers: IncomingHttpHeaders, name: string): string | undefined {
  const given = headers[name];
  if (given === undefined) return undefined;
  return typeof given === "string" ? given : given.join(", ");
}

const unitsMs: ReadonlyMap<string, number> = new Map([
  ["H", 3_600_000],
  ["M", 60_000],
  ["S", 1_000],
  ["m", 1],
  ["u", 1e-3],
  ["n", 1e-6],
]);

/** Until when the caller waits, in milliseconds of the clock on the wall; `Infinity` where it does not say, undefined where that is no time. */
export function expiryIn(headers: IncomingHttpHeaders): number | undefined {
  const given = headers["grpc-timeout"];
  if (given === undefined) return Infinity;
  const [, digits, unit = ""] = /^(\d{1,8})([HMSmun])$/.exec(String(given)) ?? [];
  const unitMs = unitsMs.get(unit);
  return unitMs === undefined ? undefined : Date.now() + Number(digits) * unitMs;
}

/** Milliseconds until the caller gives up; `Infinity` when it never does. */
export function leftMsOf({ expiresAtMs }: Wire): number {
  return expiresAtMs === Infinity ? Infinity : expiresAtMs - Date.now();
}

/** Streams live as long as their caller wants; unary calls as long as the caller's deadline, capped by the server's. */
export function budgetOf(wire: Wire, { deadlineMs }: GrpcSettings): Budget {
  const leftMs = Math.max(1, leftMsOf(wire));
  const capMs = wire.served.isUnary ? deadlineMs : longestTimerMs;
  return leftMs < capMs ? { ms: leftMs, isCallers: true } : { ms: capMs, isCallers: false };
}

/** setTimeout takes no more. */
const longestTimerMs = 2 ** 31 - 1;

export function idsIn({ span, requestId }: CallExchange): FailureIds {
  return { traceId: span.traceId, requestId };
}
