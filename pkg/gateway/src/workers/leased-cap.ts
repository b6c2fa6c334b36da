import type { Clock, PrimaryLink, Scheduled } from "@plinth/kernel";
import { type CapVerdict, type ConcurrencyCap, createConcurrencyCap } from "@plinth/resilience";
import type { PlacesMessage } from "./places.ts";
import { channels, type PlacesOptions } from "./team.ts";

/** The primary is waited for so long, in milliseconds; then this worker goes by its share. */
const deadlineMs = 30;

export interface LeasedCapOptions extends PlacesOptions {
  readonly route: string;
  /** Unlike that of any other cap of this worker. */
  readonly id: number;
  readonly link: PrimaryLink;
  readonly clock: Clock;
  /** Workers that the places and the queue are divided by. */
  readonly workers: number;
  readonly onClose?: () => void;
}

/**
 * A cap whose places the primary lends: this worker has as many as it was granted, asks for more when somebody waits, and gives back
 * what is asked back as soon as it is free. While the primary does not answer it goes by its share where that is more.
 */
export class LeasedCap implements ConcurrencyCap {
  readonly #options: LeasedCapOptions;
  readonly #inner: ConcurrencyCap;
  maxInFlight: number;
  /** Places lent to this worker. */
  #granted = 0;
  /** No more than these are to be used from now on. */
  #target: number;
  /** What was said last to be wanted. */
  #told = 0;
  #isAlone = false;
  #isClosed = false;
  #asking: Scheduled | undefined;

  constructor(options: LeasedCapOptions) {
    this.#options = options;
    const { maxInFlight, maxQueue = maxInFlight, clock, maxWaitMs } = options;
    this.maxInFlight = maxInFlight;
    this.#target = maxInFlight;
    this.#inner = createConcurrencyCap({ maxInFlight, maxQueue: this.#shareOfQueue(maxQueue), maxWaitMs, clock });
    this.#inner.resize({ maxInFlight: 0 });
    this.#tell("open", 0, maxInFlight);
  }

  get inFlight(): number {
    return this.#inner.inFlight;
  }

  get waiting(): number {
    return this.#inner.waiting;
  }

  get refused(): number {
    return this.#inner.refused;
  }

  tryAcquire(): boolean {
    return this.#inner.tryAcquire();
  }

  acquire(options?: Parameters<ConcurrencyCap["acquire"]>[0]): Promise<CapVerdict> {
    const verdict = this.#inner.acquire(options);
    const wanted = this.inFlight + this.waiting;
    if (wanted > this.#granted && (wanted > this.#told || !this.#asking)) this.#ask(wanted);
    return verdict;
  }

  release(): void {
    this.#inner.release();
    this.#giveBack();
    const wanted = this.inFlight + this.waiting;
    if (this.#told > 0 && wanted <= this.#told / 2) this.#want(wanted);
  }

  resize({ maxInFlight = this.maxInFlight, maxQueue, maxWaitMs }: Parameters<ConcurrencyCap["resize"]>[0]): void {
    this.#inner.resize({ maxQueue: maxQueue === undefined ? undefined : this.#shareOfQueue(maxQueue), maxWaitMs });
    if (maxInFlight === this.maxInFlight) return;
    this.maxInFlight = maxInFlight;
    this.#tell("open", this.#told, maxInFlight);
  }

  /** What the primary says: so many more, and how many are to be used at most. */
  lease(more: number, target: number): void {
    this.#asking?.cancel();
    this.#asking = undefined;
    this.#isAlone = false;
    this.#granted += more;
    this.#target = target;
    this.#apply();
    this.#giveBack();
  }

  /** Another cap takes its place; what is under way ends in its time, and whoever waits waits for that. */
  close(): void {
    this.#asking?.cancel();
    this.#asking = undefined;
    this.#isClosed = true;
    this.#tell("close", 0, 0);
    this.#options.onClose?.();
  }

  #ask(wanted: number): void {
    this.#want(wanted);
    if (this.#isClosed) return;
    if (this.#asking) return;
    const asking = this.#options.clock.schedule(deadlineMs, () =>
      // Timers come before what has arrived: after a standstill of this process an answer may be there, and is read first.
      setImmediate(() => {
        if (this.#asking !== asking) return;
        this.#asking = undefined;
        this.#isAlone = true;
        this.#apply();
      }),
    );
    this.#asking = asking;
  }

  #want(wanted: number): void {
    this.#told = wanted;
    this.#tell("want", wanted, 0);
  }

  #apply(): void {
    const { workers } = this.#options;
    const lent = Math.min(this.#granted, this.#target);
    const share = Math.max(1, Math.floor(this.maxInFlight / workers));
    this.#inner.resize({ maxInFlight: this.#isAlone ? Math.max(lent, share) : lent });
  }

  #giveBack(): void {
    const spare = this.#granted - Math.max(this.#target, this.inFlight);
    if (spare <= 0) return;
    this.#granted -= spare;
    this.#apply();
    this.#tell("back", this.inFlight + this.waiting, spare);
  }

  #shareOfQueue(maxQueue: number): number {
    return Math.ceil(maxQueue / this.#options.workers);
  }

  #tell(op: PlacesMessage[0], wanted: number, places: number): void {
    if (this.#isClosed && op !== "close") return;
    const { link, route, id } = this.#options;
    if (op === "back" || op === "want") this.#told = wanted;
    const message: PlacesMessage = [op, route, id, wanted, places];
    link.send(channels.places, message);
  }
}
