import { Metadata } from "@grpc/grpc-js";
import { type AppError, parseTraceparent, randomHex, type SpanContext } from "@plinth/kernel";
import { type Budget, Exchange, type ExchangeOptions, safeRequestIdOf } from "../exchange.ts";
import { peerOf } from "../client-address.ts";
import { callerOf } from "../propagation.ts";
import type { CallIds } from "./errors.ts";
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
  readonly metadata: Metadata;
  readonly #wire: Wire;
  readonly #owner: CallOwner;

  constructor(wire: Wire, owner: CallOwner, metadata: Metadata, options: ExchangeOptions) {
    super(options);
    this.#wire = wire;
    this.#owner = owner;
    this.metadata = metadata;
    this.route = wire.served.name;
  }

  override header(name: string): string | undefined {
    const values = this.metadata.get(name);
    if (values.length === 0) return undefined;
    return values.map((value) => (typeof value === "string" ? value : value.toString("base64"))).join(", ");
  }

  override setReplyHeader(name: string, value: string): void {
    super.setReplyHeader(name, value);
    toMetadata({ [name]: value }); // so that what cannot be sent is told to who sets it
  }

  override setReplyTrailer(name: string, value: string): void {
    super.setReplyTrailer(name, value);
    toMetadata({ [name]: value });
  }

  /** The certificate of the caller, on a connection where it has shown one that was found good. */
  get peerCertificate() {
    return this.#wire.base.getAuthContext().sslPeerCertificate;
  }

  protected override peerAddress(): string {
    return peerOf(this.#wire.base.getConnectionInfo());
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
export function callerIn(metadata: Metadata, isTrusted: () => boolean): SpanContext | null {
  return callerOf((name) => {
    const texts = metadata.get(name);
    return texts.length === 0 ? undefined : texts.join(","); // two of a traceparent are none
  }, isTrusted);
}

/**
 * Values under a name that ends in `-bin` are base64.
 * @throws Error for a name or a value that no metadata has.
 */
export function toMetadata(values: Readonly<Record<string, string>>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(values))
    metadata.set(name, name.endsWith("-bin") ? Buffer.from(value, "base64") : value);
  return metadata;
}

/** The first text of that name. */
export function textIn(metadata: Metadata, name: string): string | undefined {
  const [value] = metadata.get(name);
  return typeof value === "string" ? value : undefined;
}

/** Milliseconds until the caller gives up; `Infinity` when it never does. */
export function leftMsOf({ base }: Wire): number {
  const deadline = base.getDeadline();
  if (deadline === Infinity) return Infinity;
  return (typeof deadline === "number" ? deadline : deadline.getTime()) - Date.now();
}

/** Streams live as long as their caller wants; unary calls as long as the caller's deadline, capped by the server's. */
export function budgetOf(wire: Wire, { deadlineMs }: GrpcSettings): Budget {
  const leftMs = Math.max(1, leftMsOf(wire));
  const capMs = wire.served.isUnary ? deadlineMs : longestTimerMs;
  return leftMs < capMs ? { ms: leftMs, isCallers: true } : { ms: capMs, isCallers: false };
}

/** setTimeout takes no more. */
const longestTimerMs = 2 ** 31 - 1;

export function idsIn({ span, requestId }: CallExchange): CallIds {
  return { traceId: span.traceId, requestId };
}

/** For a call without an exchange: the caller's own ids where they are well formed. */
export function idsOf(metadata: Metadata): CallIds {
  return {
    traceId: parseTraceparent(textIn(metadata, "traceparent"))?.traceId ?? randomHex(16),
    requestId: safeRequestIdOf(textIn(metadata, "x-request-id")) ?? randomHex(16),
  };
}
