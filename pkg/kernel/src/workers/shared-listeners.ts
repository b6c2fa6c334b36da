import { channel } from "node:diagnostics_channel";
import { Server } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { fieldOf } from "../errors/thrown.ts";
import { placeOf } from "./place.ts";

/** What is done with a connection between its acceptance in the primary and a worker's word that it has it. */
export interface Handover {
  onGiven(connection: object): void;
  onTaken(connection: object): void;
  /** By a worker that closes, or has ended. To be told before `node:cluster` looks for another. */
  onRefused(connection: object): void;
}

/** As long as connections come, so many turns of the event loop are waited for one in which none does. */
const maxTurns = 100;

/**
 * The ports on which this process accepts connections for its workers, and those that no worker has taken yet.
 *
 * `node:cluster` stops listening when the last worker closes its server, and closes at that moment all connections which it has
 * accepted and nobody has taken. {@link end} is to come before that. What it needs is had from Node's private objects, the handle
 * that listens and its `onconnection`, which are the same in Node 24 and 26; were they others, nothing would be known of a port,
 * and the end of it would be that of `node:cluster`.
 */
export class SharedListeners implements Handover {
  readonly #known = new Set<SharedListener>();
  readonly #listens = channel("tracing:net.server.listen:asyncEnd");
  readonly #onListen = (message: unknown): void => {
    const server = fieldOf(message, "server");
    if (server instanceof Server) this.#watch(server);
  };

  /** Knows those that begin to listen from now on. */
  constructor() {
    this.#listens.subscribe(this.#onListen);
  }

  /**
   * Accepts no more connections at that place. Resolves when a worker has taken each that was accepted; at once when there is no
   * such place.
   */
  async end(place: string): Promise<void> {
    await this.#at(place)?.end();
  }

  /** Whether connections are accepted there for workers, and counted. */
  has(place: string): boolean {
    return this.#at(place) !== undefined;
  }

  onGiven(connection: object): void {
    for (const listener of this.#known) listener.onGiven(connection);
  }

  onTaken(connection: object): void {
    for (const listener of this.#known) listener.onTaken(connection);
    this.#forget();
  }

  onRefused(connection: object): void {
    for (const listener of this.#known) listener.onRefused(connection);
    this.#forget();
  }

  /** Knows none any more. */
  close(): void {
    this.#listens.unsubscribe(this.#onListen);
    this.#known.clear();
  }

  #at(place: string): SharedListener | undefined {
    return [...this.#known].findLast((listener) => listener.place === place);
  }

  #watch(server: Server): void {
    const handle = fieldOf(server, "_handle");
    const place = placeOf(server);
    if (typeof handle !== "object" || handle === null || place === undefined) return;
    // node:cluster takes the handle out of the server once that listens, and puts its own function there
    const adopt = (): void => {
      if (fieldOf(server, "_handle") !== null) return; // a server of the main's own
      const listener = toListener(handle, place, () => this.#forget());
      if (listener) this.#known.add(listener);
    };
    server.once("listening", () => queueMicrotask(adopt));
  }

  #forget(): void {
    for (const listener of this.#known) if (listener.isForgettable) this.#known.delete(listener);
  }
}

type Method = (this: unknown, ...given: unknown[]) => unknown;

const isMethod = (value: unknown): value is Method => typeof value === "function";

function toListener(handle: object, place: string, onOver: () => void): SharedListener | undefined {
  const accept = fieldOf(handle, "onconnection");
  const close = fieldOf(handle, "close");
  if (!isMethod(accept) || !isMethod(close)) return undefined;
  const listener = new SharedListener(place, () => void Reflect.apply(close, handle, []));
  Reflect.set(handle, "onconnection", (error: unknown, connection: unknown) => {
    if (typeof connection === "object" && connection !== null) listener.onAccepted(connection);
    return Reflect.apply(accept, handle, [error, connection]);
  });
  Reflect.set(handle, "close", (...given: unknown[]) => {
    listener.onOver();
    onOver();
    return Reflect.apply(close, handle, given);
  });
  return listener;
}

class SharedListener {
  readonly place: string;
  readonly #unlisten: () => void;
  readonly #queued = new Set<object>();
  readonly #given = new Set<object>();
  readonly #isEmpty = Promise.withResolvers<void>();
  #accepted = 0;
  #isOver = false;
  #ended: Promise<void> | undefined;
  #isUnlistened = false;

  constructor(place: string, unlisten: () => void) {
    this.place = place;
    this.#unlisten = unlisten;
  }

  get isForgettable(): boolean {
    return this.#isOver && this.#given.size === 0;
  }

  onAccepted(connection: object): void {
    this.#accepted++;
    this.#queued.add(connection);
  }

  onGiven(connection: object): void {
    if (this.#queued.delete(connection)) this.#given.add(connection);
  }

  onTaken(connection: object): void {
    if (this.#given.delete(connection)) this.#settle();
  }

  onRefused(connection: object): void {
    if (!this.#given.delete(connection)) return;
    if (this.#isOver) closeConnection(connection); // else it would wait in a queue that nobody looks at any more
    else this.#queued.add(connection);
  }

  /** No worker listens any more; `node:cluster` has closed what it had to give. */
  onOver(): void {
    this.#isOver = true;
    this.#queued.clear();
    this.#isEmpty.resolve();
  }

  end(): Promise<void> {
    return (this.#ended ??= this.#end());
  }

  async #end(): Promise<void> {
    // Of connections that the system has made one is accepted each turn; those that it still has at the end are reset.
    await nextTurn(); // the rest of this one
    for (let turn = 0, last = -1; turn < maxTurns && last !== this.#accepted; turn++) {
      last = this.#accepted;
      await nextTurn();
    }
    this.#unlisten();
    this.#isUnlistened = true;
    this.#settle();
    await this.#isEmpty.promise;
  }

  #settle(): void {
    if (this.#isUnlistened && this.#queued.size + this.#given.size === 0) this.#isEmpty.resolve();
  }
}

/** Closes one that no worker takes, so that its client hears of it. */
export function closeConnection(connection: object): void {
  const close = fieldOf(connection, "close");
  if (typeof close === "function") Reflect.apply(close, connection, []);
}
