import type { LookupAddress } from "node:dns";
import { lookup as systemLookup } from "node:dns/promises";
import { isIP } from "node:net";
import { type Clock, messageOf } from "@plinth/kernel";
import { DatabaseError } from "../errors.ts";

/** How a host's name becomes addresses, in the order in which they are to be tried. */
export type Lookup = (host: string) => Promise<readonly LookupAddress[]>;

export interface NamesOptions {
  readonly clock: Clock;
  readonly lookup?: Lookup | undefined;
  /** Told when a name no longer resolves and its last addresses are used; once, until it resolves again. */
  readonly onStale: (error: DatabaseError) => void;
}

/** A name that resolved before is waited for so long, then its last addresses do. */
const patienceMs = 1_000;

/**
 * Looks names up anew for each connection, so that one that moves is followed; those who connect at the same time share one look-up.
 * A resolver that fails or hangs holds nobody up who has reached the server before.
 */
export class Names {
  readonly #options: NamesOptions;
  readonly #lookup: Lookup;
  readonly #running = new Map<string, Promise<readonly LookupAddress[]>>();
  readonly #last = new Map<string, readonly LookupAddress[]>();
  readonly #stale = new Set<string>();

  constructor(options: NamesOptions) {
    this.#options = options;
    this.#lookup = options.lookup ?? ((host) => systemLookup(host, { all: true }));
  }

  /**
   * @returns undefined for what needs no look-up: an address, a folder of Unix sockets.
   * @throws {@link DatabaseError} `ERR_DATABASE_UNAVAILABLE` for a name that does not resolve and never did.
   */
  async addressesOf(host: string): Promise<readonly LookupAddress[] | undefined> {
    if (host.startsWith("/") || isIP(host) !== 0) return undefined;
    const asked = this.#ask(host);
    const last = this.#last.get(host);
    if (!last) return asked;
    const { promise: patience, resolve } = Promise.withResolvers<undefined>();
    const limit = this.#options.clock.schedule(patienceMs, () => resolve(undefined));
    try {
      const addresses = await Promise.race([asked, patience]);
      if (addresses) return addresses;
      this.#tell(host, `the name ${host} has not resolved within ${patienceMs} ms`, undefined);
    } catch (error) {
      this.#tell(host, `the name ${host} does not resolve`, error);
    } finally {
      limit.cancel();
    }
    return last;
  }

  #ask(host: string): Promise<readonly LookupAddress[]> {
    const running = this.#running.get(host);
    if (running) return running;
    const asked = this.#resolve(host).finally(() => this.#running.delete(host));
    asked.catch(() => {}); // who gave up waiting does not hear of it, and need not
    this.#running.set(host, asked);
    return asked;
  }

  async #resolve(host: string): Promise<readonly LookupAddress[]> {
    try {
      const addresses = await this.#lookup(host);
      if (addresses.length === 0) throw new Error("it has no address");
      this.#last.set(host, addresses);
      this.#stale.delete(host);
      return addresses;
    } catch (cause) {
      // the name stands in the cause: a message of this status goes to callers
      throw new DatabaseError("ERR_DATABASE_UNAVAILABLE", "unavailable", "the database's name does not resolve", {
        cause: new Error(`${host}: ${messageOf(cause)}`, { cause }),
      });
    }
  }

  #tell(host: string, problem: string, cause: unknown): void {
    if (this.#stale.has(host)) return;
    this.#stale.add(host);
    const message = `${problem}; the address it had before is used`;
    this.#options.onStale(new DatabaseError("ERR_DATABASE_UNAVAILABLE", "unavailable", message, { cause }));
  }
}
