import { type Clock, currentContext, type Scheduled } from "@plinth/kernel";
import { DatabaseError } from "../errors.ts";
import type { Connection } from "./connection.ts";

export interface HoldersOptions {
  readonly clock: Clock;
  /** A connection that is held for longer is told of, once, in milliseconds; 0 for none. */
  readonly maxHeldMs: number;
  /** Whether to keep the stack of each who takes a connection, which costs microseconds. */
  readonly withStacks: boolean;
  readonly onHeld: (error: DatabaseError, held: LongestHeld) => void;
}

/** Who wants a connection: told where it has to be. */
export interface Claim {
  readonly label: string;
  /** Where in the code; only in development. */
  readonly takenAt: Error | undefined;
}

export interface LongestHeld {
  readonly heldMs: number;
  /** The label given with the call, else the route or method that is being served, else `unknown`. */
  readonly label: string;
}

interface Held extends Claim {
  readonly sinceMs: number;
  isTold: boolean;
}

const stackFrames = 30;

/** Who has which connection, the longest first. */
export class Holders {
  readonly #options: HoldersOptions;
  readonly #held = new Map<Connection, Held>();
  #watch: Scheduled | undefined;

  constructor(options: HoldersOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#held.size;
  }

  /** To be made in the turn in which a connection is asked for: later the context and the stack are another's. */
  claim(label: string | undefined): Claim {
    const isWatched = this.#options.withStacks && this.#options.maxHeldMs > 0;
    return { label: label ?? contextLabel(), takenAt: isWatched ? placeOfCaller() : undefined };
  }

  add(connection: Connection, { label, takenAt }: Claim): void {
    const { clock, maxHeldMs } = this.#options;
    this.#held.set(connection, { label, takenAt, sinceMs: clock.monotonicMs(), isTold: false });
    if (maxHeldMs > 0 && !this.#watch) this.#lookAfter(maxHeldMs);
  }

  /** @returns false when nobody had it. */
  remove(connection: Connection): boolean {
    return this.#held.delete(connection);
  }

  longest(): LongestHeld | undefined {
    const [first] = this.#held.values();
    return first && { heldMs: Math.round(this.#options.clock.monotonicMs() - first.sinceMs), label: first.label };
  }

  connections(): readonly Connection[] {
    return [...this.#held.keys()];
  }

  close(): void {
    this.#watch?.cancel();
  }

  /** One timer for all: who took a connection first is first in the map. */
  #lookAfter(delayMs: number): void {
    const { clock, maxHeldMs } = this.#options;
    const look = (): void => {
      this.#watch = undefined;
      const nowMs = clock.monotonicMs();
      for (const held of this.#held.values()) {
        if (held.isTold) continue;
        const leftMs = held.sinceMs + maxHeldMs - nowMs;
        if (leftMs > 0) {
          this.#lookAfter(leftMs);
          return;
        }
        held.isTold = true;
        this.#tell(held, nowMs);
      }
    };
    this.#watch = clock.schedule(delayMs, look, { keepAlive: false });
  }

  #tell({ label, sinceMs, takenAt }: Held, nowMs: number): void {
    const heldMs = Math.round(nowMs - sinceMs);
    const message = `a connection has been held for ${heldMs} ms by ${label}; release it sooner, or raise maxHeldMs where it must be so`;
    this.#options.onHeld(new DatabaseError("ERR_DATABASE_HELD", "internal", message, { cause: takenAt }), {
      heldMs,
      label,
    });
  }
}

/** What is being done, as far as it is known: never a raw path. */
function contextLabel(): string {
  const context = currentContext();
  return context?.root?.route ?? context?.route ?? "unknown";
}

function placeOfCaller(): Error {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = stackFrames;
  const place = new Error("the connection was taken here");
  Error.stackTraceLimit = limit;
  return place;
}
