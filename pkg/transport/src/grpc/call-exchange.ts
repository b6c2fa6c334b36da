import { Metadata } from "@grpc/grpc-js";
import type { AppError } from "@plinth/kernel";
import { type Budget, Exchange, type ExchangeOptions } from "../exchange.ts";
import { peerOf } from "../client-address.ts";
import type { GrpcSettings } from "./settings.ts";
import type { Wire } from "./wire.ts";

/** Answers for a handler that is not waited for any more. */
export interface CallOwner {
  giveUp(wire: Wire, error: AppError): void;
}

/** One RPC being served. */
export class CallExchange extends Exchange {
  override readonly protocol = "grpc";
  readonly metadata: Metadata;
  /** What goes ahead of the reply; undefined until something is set. */
  replyMetadata: Metadata | undefined;
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
    const values = this.metadata.get(name).filter((value) => typeof value === "string");
    return values.length === 0 ? undefined : values.join(", ");
  }

  /** Of a binary entry, whose name ends in `-bin`, the value is base64. */
  override setReplyHeader(name: string, value: string): void {
    super.setReplyHeader(name, value);
    this.replyMetadata ??= new Metadata();
    this.replyMetadata.set(name, name.endsWith("-bin") ? Buffer.from(value, "base64") : value);
  }

  /** The certificate of the caller, on a connection where it has shown one that was found good. */
  get peerCertificate() {
    return this.#wire.base.getAuthContext().sslPeerCertificate;
  }

  protected override peerAddress(): string {
    return peerOf(this.#wire.base.getConnectionInfo());
  }

  override get hasReplyBegun(): boolean {
    return this.#wire.hasBegun || this.isOver;
  }

  protected override expired(error: AppError): void {
    this.#owner.giveUp(this.#wire, error);
  }
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
