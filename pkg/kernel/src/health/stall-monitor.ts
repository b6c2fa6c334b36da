import type { Clock, Scheduled } from "../clock.ts";
import { requireNumber } from "../errors/option-error.ts";

export interface StallMonitorOptions {
  readonly clock: Clock;
  /** The longest stall that is none yet, in milliseconds, 1 or more. */
  readonly maxStallMs: number;
  /** How long a stall is remembered after its end, in milliseconds, 0 or more. */
  readonly memoryMs: number;
  /** Told of each stall above the limit, when it has ended. */
  readonly onStall?: ((tookMs: number) => void) | undefined;
}

/**
 * Notices when the event loop has stood still: a heartbeat comes too late. While it stands nothing can be asked, so a stall is
 * remembered for those who ask just after it.
 */
export class StallMonitor {
  readonly maxStallMs: number;
  readonly #options: StallMonitorOptions;
  readonly #beatMs: number;
  #beatAtMs: number;
  #timer: Scheduled | undefined;
  #last: { readonly tookMs: number; readonly endedAtMs: number } | undefined;
  #count = 0;

  /** @throws {@link OptionError} `ERR_OPTION_RANGE` */
  constructor(options: StallMonitorOptions) {
    const { clock, maxStallMs, memoryMs } = options;
    requireNumber("maxStallMs", maxStallMs, { min: 1 });
    requireNumber("memoryMs", memoryMs, { min: 0 });
    this.maxStallMs = maxStallMs;
    this.#options = options;
    // what is measured is too short by up to a beat
    this.#beatMs = Math.min(maxBeatMs, Math.max(minBeatMs, maxStallMs / 20));
    this.#beatAtMs = clock.monotonicMs();
    this.#schedule();
  }

  /** How many stalls there were. */
  get count(): number {
    return this.#count;
  }

  /** The stall that is under way, or the last one while it is remembered, in milliseconds; 0 when there is none. */
  stalledMs(): number {
    const lateMs = this.#lateMs(); // whoever asks may have been let in before the heartbeat
    if (lateMs > this.maxStallMs) return lateMs;
    const { clock, memoryMs } = this.#options;
    const last = this.#last;
    return last && clock.monotonicMs() - last.endedAtMs < memoryMs ? last.tookMs : 0;
  }

  /** Ends the heartbeat. Safe to call twice. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#beatAtMs = Infinity; // nothing is late any more
  }

  #lateMs(): number {
    return this.#options.clock.monotonicMs() - this.#beatAtMs - this.#beatMs;
  }

  #schedule(): void {
    this.#timer = this.#options.clock.schedule(this.#beatMs, () => this.#beat(), { keepAlive: false });
  }

  #beat(): void {
    const tookMs = this.#lateMs();
    this.#beatAtMs = this.#options.clock.monotonicMs();
    this.#schedule();
    if (tookMs <= this.maxStallMs) return;
    this.#last = { tookMs, endedAtMs: this.#beatAtMs };
    this.#count++;
    this.#options.onStall?.(tookMs);
  }
}

const maxBeatMs = 500;
const minBeatMs = 5;
