import type { DescMethod } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Level } from "@bufbuild/protobuf/wkt";
import type { Hedging } from "@plinth/resilience";
import type { RpcMetadata } from "@plinth/transport";
import type { Called } from "./failures.ts";

/** What is the same for all calls of a method. */
export interface MethodPlan {
  readonly called: Called;
  /** Whether doing it twice is the same as doing it once: its contract says so. */
  readonly isIdempotent: boolean;
  /** When a second attempt is sent beside a slow one; undefined: never. */
  readonly hedging: Hedging | undefined;
}

/** Makes the plan of a method with its first call. */
export class MethodPlans {
  readonly #peer: string;
  readonly #toHedging: (() => Hedging) | undefined;
  readonly #plans = new Map<DescMethod, MethodPlan>();

  constructor(peer: string, toHedging: (() => Hedging) | undefined) {
    this.#peer = peer;
    this.#toHedging = toHedging;
  }

  of(method: DescMethod): MethodPlan {
    return this.#plans.get(method) ?? this.#make(method);
  }

  #make(method: DescMethod): MethodPlan {
    const { idempotency, methodKind, parent, name } = method;
    const isIdempotent = idempotency === Level.IDEMPOTENT || idempotency === Level.NO_SIDE_EFFECTS;
    const hedging = isIdempotent && methodKind === "unary" ? this.#toHedging?.() : undefined;
    const plan = { called: { peer: this.#peer, method: `${parent.typeName}/${name}` }, isIdempotent, hedging };
    this.#plans.set(method, plan);
    return plan;
  }
}

/** What is known of one call while it is under way. */
export interface CallState {
  readonly plan: MethodPlan;
  /** When its caller leaves, in the clock's monotonic milliseconds; `Infinity`: it does not say. */
  readonly deadlineAtMs: number;
  /** The caller's headers, and those that say who calls. */
  readonly headers: RpcMetadata;
  readonly key: string | undefined;
  attempts: number;
  isAnswered: boolean;
  /** Whether nothing was done by any attempt so far. */
  isUnsent: boolean;
  /** Ids of instances that have failed; undefined: none. */
  tried: Set<string> | undefined;
  /** The instance of the latest attempt. */
  pickedId: string | undefined;
  /** What came with the reply, or with the latest error, for the caller to be told. */
  told: Told | undefined;
}

export interface Told {
  headers?: RpcMetadata;
  trailers?: RpcMetadata;
}
