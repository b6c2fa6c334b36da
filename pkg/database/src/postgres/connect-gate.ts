import type { Clock } from "@plinth/kernel";
import { DatabaseError } from "../errors.ts";

export interface ConnectGateOptions {
  readonly clock: Clock;
  /** Source of jitter in [0, 1). Default `Math.random`. */
  readonly random?: (() => number) | undefined;
}

const firstDelayMs = 100;
const maxDelayMs = 2_000;

/**
 * Holds back attempts to connect while they fail, so that a server that comes back is not met by a storm: then one at a time, each
 * between half a delay and a whole one after the last, which doubles from 100 ms up to 2 s.
 */
export class ConnectGate {
  readonly #clock: Clock;
  readonly #random: () => number;
  #failures = 0;
  #failedAtMs = -Infinity;
  #opensAtMs = -Infinity;
  #error: DatabaseError | undefined;

  constructor({ clock, random = Math.random }: ConnectGateOptions) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Milliseconds until the next attempt may be made; 0 when it may be now. */
  get waitMs(): number {
    return Math.max(0, this.#opensAtMs - this.#clock.monotonicMs());
  }

  /** How many attempts may begin now, of those wanted, while others are under way. */
  admit(wanted: number, underWay: number): number {
    if (this.#failures === 0) return wanted;
    return this.waitMs > 0 || underWay > 0 ? 0 : Math.min(wanted, 1);
  }

  succeeded(): void {
    this.#failures = 0;
    this.#opensAtMs = -Infinity;
  }

  /** @param startedAtMs - Of the attempt: those that were under way together are one failure. */
  failed(error: DatabaseError, startedAtMs: number): void {
    this.#error = error;
    if (startedAtMs < this.#failedAtMs) return;
    this.#failedAtMs = this.#clock.monotonicMs();
    const ceilingMs = Math.min(maxDelayMs, firstDelayMs * 2 ** this.#failures++);
    this.#opensAtMs = this.#failedAtMs + (ceilingMs * (1 + this.#random())) / 2;
  }

  /** What is told to those who come while no attempt may be made: why the last one failed. */
  refusal(): DatabaseError {
    const { code = "ERR_DATABASE_UNAVAILABLE", status = "unavailable", message = "", sqlState } = this.#error ?? {};
    const agoMs = Math.round(this.#clock.monotonicMs() - this.#failedAtMs);
    return new DatabaseError(
      code,
      status,
      `${message}; this was ${agoMs} ms ago, and the next try is in ${Math.ceil(this.waitMs)} ms`,
      { cause: this.#error, sqlState },
    );
  }
}
