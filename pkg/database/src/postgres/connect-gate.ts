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
 * The circuit breaker. Holds back attempts to connect while they fail, so that a server that comes back is not met by a storm: then
 * one at a time, each between half a delay and a whole one after the last, which doubles from 100 ms up to 2 s. Meanwhile it has
 * the words for those who are refused.
 */
export class ConnectGate {
  readonly #clock: Clock;
  readonly #random: () => number;
  #failures = 0;
  #failedAtMs = -Infinity;
  #opensAtMs = -Infinity;
  #error: DatabaseError | undefined;
  #isSilent = false;

  constructor({ clock, random = Math.random }: ConnectGateOptions) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Milliseconds until the next attempt may be made; 0 when it may be now. */
  get waitMs(): number {
    return Math.max(0, this.#opensAtMs - this.#clock.monotonicMs());
  }

  /** Whether the server last gave no answer at all, neither a refusal nor a reset: what it has in hand may never end. */
  get isSilent(): boolean {
    return this.#isSilent && this.#failures > 0;
  }

  get state(): "closed" | "open" | "half_open" {
    if (this.#failures === 0) return "closed";
    return this.waitMs > 0 ? "open" : "half_open";
  }

  /** How many attempts may begin now, of those wanted, while others are under way. */
  admit(wanted: number, underWay: number): number {
    if (this.#failures === 0) return wanted;
    return this.waitMs > 0 || underWay > 0 ? 0 : Math.min(wanted, 1);
  }

  /** The server has answered somebody: who waits may wait on, though no connection can be opened yet. */
  heard(): void {
    this.#isSilent = false;
  }

  succeeded(): void {
    this.#failures = 0;
    this.#opensAtMs = -Infinity;
  }

  /**
   * @param startedAtMs - Of the attempt: those that were under way together are one failure.
   * @param isSilent - Whether it ran into its limit without any answer.
   */
  failed(error: DatabaseError, startedAtMs: number, isSilent = false): void {
    this.#error = error;
    this.#isSilent = isSilent;
    if (startedAtMs < this.#failedAtMs) return;
    this.#failedAtMs = this.#clock.monotonicMs();
    const ceilingMs = Math.min(maxDelayMs, firstDelayMs * 2 ** this.#failures++);
    this.#opensAtMs = this.#failedAtMs + (ceilingMs * (1 + this.#random())) / 2;
  }

  /** What is told to those who come while no attempt may be made: why the last one failed. */
  refusal(): DatabaseError {
    const { code = "ERR_DATABASE_UNAVAILABLE", status = "unavailable", message = "", sqlState } = this.#error ?? {};
    const agoMs = Math.round(this.#clock.monotonicMs() - this.#failedAtMs);
    const next = this.waitMs > 0 ? `the next try is in ${Math.ceil(this.waitMs)} ms` : "a try is under way";
    return new DatabaseError(code, status, `${message}; this was ${agoMs} ms ago, and ${next}`, {
      cause: this.#error,
      sqlState,
    });
  }
}
