import { AppError, type ErrorBus, type Logger, randomHex, runInContext } from "@plinth/kernel";
import type { Exchange } from "../exchange.ts";
import type { FailureIds } from "../failure-ids.ts";
import { toGrpcStatus } from "./errors.ts";
import type { Wire } from "./wire.ts";

export interface CallFaultsOptions {
  readonly errors: ErrorBus;
  readonly log: Logger;
}

/** Who is told of what goes wrong in a call, besides its caller. */
export class CallFaults {
  readonly #errors: ErrorBus;
  readonly #log: Logger;

  constructor({ errors, log }: CallFaultsOptions) {
    this.#errors = errors;
    this.#log = log;
  }

  /** What a handler throws for which nobody waits any more. */
  late(thrown: unknown, exchange: Exchange): void {
    if (thrown === exchange.stopped) return;
    runInContext(exchange, () => this.#log.debug("a handler failed after it had been told to stop", { error: thrown }));
  }

  report(thrown: unknown, exchange: Exchange): void {
    runInContext(exchange, () =>
      this.#errors.report(thrown, { origin: "rpc", attributes: { method: exchange.route } }),
    );
  }

  /** The outermost layer: what surrounds the handler has failed, or the status could not be sent. */
  recover(thrown: unknown, wire: Wire, { traceId, requestId }: FailureIds): void {
    const context = { requestId, span: { traceId, spanId: randomHex(8), sampled: false } };
    const attributes = { method: wire.served.name };
    const report = (fault: unknown): void =>
      runInContext(context, () => void this.#errors.report(fault, { origin: "rpc", attributes }));
    report(thrown);
    try {
      const error = new AppError("ERR_INTERNAL", "internal", "a layer around the handler failed");
      wire.fail(toGrpcStatus(error, { traceId, requestId }));
    } catch (second) {
      report(second);
    }
  }
}
