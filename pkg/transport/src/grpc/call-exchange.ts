import type { Metadata } from "@grpc/grpc-js";
import type { AppError } from "@plinth/kernel";
import { type Budget, callerGone, Exchange, type ExchangeOptions } from "../exchange.ts";
import type { GrpcSettings } from "./settings.ts";

/** What grpc-js gives for every kind of call. */
export interface AnyCall {
  readonly metadata: Metadata;
  getDeadline(): Date | number;
  on(event: "cancelled", listener: () => void): unknown;
}

/** One RPC being served. */
export class CallExchange extends Exchange {
  override readonly protocol = "grpc";
  readonly #metadata: Metadata;
  readonly #givenUp = Promise.withResolvers<never>();

  constructor(options: ExchangeOptions & { readonly metadata: Metadata }) {
    super(options);
    this.#metadata = options.metadata;
  }

  override header(name: string): string | undefined {
    const values = this.#metadata.get(name).filter((value) => typeof value === "string");
    return values.length === 0 ? undefined : values.join(", ");
  }

  protected override peerAddress(): string {
    return "";
  }

  override get hasReplyBegun(): boolean {
    return this.isOver;
  }

  /** Rejects when the handler is no longer waited for. */
  get givenUp(): Promise<never> {
    return this.#givenUp.promise;
  }

  cancel(): void {
    const gone = callerGone();
    this.abort(gone);
    this.#givenUp.reject(gone);
  }

  protected override expired(error: AppError): void {
    this.#givenUp.reject(error);
  }
}

/** The first text of that name. */
export function textIn(metadata: Metadata, name: string): string | undefined {
  const [value] = metadata.get(name);
  return typeof value === "string" ? value : undefined;
}

/** Milliseconds until the caller gives up; `Infinity` when it never does. */
export function leftMsOf(call: AnyCall): number {
  const deadline = call.getDeadline();
  return (typeof deadline === "number" ? deadline : deadline.getTime()) - Date.now();
}

/** Streams live as long as their caller wants; unary calls as long as the caller's deadline, capped by the server's. */
export function budgetOf(call: AnyCall, isUnary: boolean, { deadlineMs }: GrpcSettings): Budget {
  const leftMs = Math.max(1, leftMsOf(call));
  const capMs = isUnary ? deadlineMs : longestTimerMs;
  return leftMs < capMs ? { ms: leftMs, isCallers: true } : { ms: capMs, isCallers: false };
}

/** setTimeout takes no more. */
const longestTimerMs = 2 ** 31 - 1;
