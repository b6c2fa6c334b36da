import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Reason } from "../reasons.ts";
import type { DeadlineList, Deadlines, Expiring } from "../server/deadlines.ts";
import { FrameTrack, goingAwayFrame } from "./frames.ts";

/** How long the other side has to end its half when one has ended, or when a close frame was sent at the end of the idle time. */
const lingerMs = 2_000;

export interface TunnelOptions {
  readonly client: Socket;
  readonly instance: Duplex;
  readonly deadlines: Deadlines;
  readonly idleTimeoutMs: number;
  /** Why the gateway, or a connection that broke, ends it; told at most once. */
  readonly onReason: (reason: Reason) => void;
  readonly onBytes: (from: "client" | "instance", bytes: number) => void;
  /** Both connections are over. */
  readonly onClosed: () => void;
}

/**
 * Two connections joined when the instance has answered 101: bytes go both ways as they come, no faster than they are taken. What ends one
 * side ends the other: an end after what came before it, a break at once.
 */
export class Tunnel implements Expiring {
  expiresAtMs = 0;
  before: Expiring | undefined;
  after: Expiring | undefined;
  list: DeadlineList | undefined;
  readonly #options: TunnelOptions;
  readonly #idle: DeadlineList;
  /** Of what the client gets. */
  readonly #frames = new FrameTrack();
  #reason: Reason | undefined;
  /** Which side has ended its half first. */
  #endedBy: "client" | "instance" | undefined;
  #isLeaving = false;
  /** The client was sent our close frame: it gets nothing after it. */
  #isMute = false;
  #isLingering = false;
  #isClosed = false;

  constructor(options: TunnelOptions) {
    const { client, instance, deadlines, idleTimeoutMs } = options;
    this.#options = options;
    this.#idle = deadlines.list(idleTimeoutMs);
    this.#touch();
    client
      .on("data", (chunk: Buffer) => this.#fromClient(chunk))
      .on("drain", () => instance.resume())
      .once("end", () => this.#clientEnded())
      .on("error", () => this.#broke("client_gone"))
      .once("close", () => this.#clientClosed());
    instance
      .on("data", (chunk: Buffer) => this.#fromInstance(chunk))
      .on("drain", () => client.resume())
      .once("end", () => this.#instanceEnded())
      .on("error", () => this.#broke("reply_cut_off"))
      .once("close", () => this.#instanceClosed());
  }

  /** Takes what the client sent before it could know that it may, and begins to read both. */
  begin(held: readonly Buffer[]): void {
    const { client, instance } = this.#options;
    for (const chunk of held) this.#fromClient(chunk);
    instance.resume();
    if (!instance.writableNeedDrain) client.resume();
  }

  /**
   * Sends the client a close frame 1001 as soon as no frame of the instance is under way. Its answer goes to the instance, which ends the
   * connection then.
   */
  goAway(reason: Reason): void {
    if (this.#isLeaving) return;
    this.#isLeaving = true;
    this.#because(reason);
    if (this.#frames.isBetween) this.#sayGoodbye();
  }

  /** Nothing has come for too long, or an end has taken too long. */
  expire(): void {
    if (this.#isLingering || this.#isLeaving || this.#frames.hasClosed || !this.#frames.isBetween) {
      this.#because("websocket_idle");
      this.destroy();
      return;
    }
    this.goAway("websocket_idle");
    this.#linger();
  }

  /** Breaks both sides off. */
  destroy(): void {
    breakOff(this.#options.client);
    breakOff(this.#options.instance);
  }

  #fromClient(chunk: Buffer): void {
    const { client, instance, onBytes } = this.#options;
    this.#touch();
    onBytes("client", chunk.length);
    if (instance.writable && !instance.write(chunk)) client.pause();
  }

  #fromInstance(chunk: Buffer): void {
    const { client, instance, onBytes } = this.#options;
    this.#touch();
    if (this.#isMute || !client.writable) return;
    const frames = this.#frames;
    const length = frames.pass(chunk, this.#isLeaving && !frames.hasClosed);
    onBytes("instance", length);
    if (length > 0 && !client.write(length === chunk.length ? chunk : chunk.subarray(0, length))) instance.pause();
    if (this.#isLeaving && frames.isBetween) this.#sayGoodbye();
  }

  #sayGoodbye(): void {
    const { client, instance } = this.#options;
    if (this.#isMute || this.#frames.hasClosed || !client.writable) return;
    client.write(goingAwayFrame);
    this.#isMute = true;
    instance.resume();
  }

  #clientEnded(): void {
    const { instance } = this.#options;
    this.#endedBy ??= "client";
    if (instance.writable) instance.end();
    this.#linger();
  }

  /** What the client has not taken yet has the idle time for that. */
  #instanceEnded(): void {
    const { client } = this.#options;
    this.#endedBy ??= "instance";
    if (client.writable) client.end(() => this.#linger());
    client.resume(); // to hear its end
  }

  #broke(reason: Reason): void {
    if (this.#endedBy === undefined) this.#because(reason);
    this.destroy();
  }

  #clientClosed(): void {
    if (this.#endedBy === undefined) this.#because("client_gone");
    breakOff(this.#options.instance);
    this.#settle();
  }

  #instanceClosed(): void {
    // Its end is told before, unless it was broken off; then the client must not take what it has for whole.
    if (this.#endedBy === undefined) {
      this.#because("reply_cut_off");
      breakOff(this.#options.client);
    }
    this.#settle();
  }

  #settle(): void {
    const { client, instance, onClosed } = this.#options;
    if (this.#isClosed || !client.closed || !instance.closed) return;
    this.#isClosed = true;
    this.list?.remove(this);
    onClosed();
  }

  #because(reason: Reason): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#options.onReason(reason);
  }

  #touch(): void {
    if (this.#isLingering || this.#isClosed) return;
    this.list?.remove(this);
    this.#idle.add(this, this.#options.deadlines.clock.monotonicMs());
  }

  #linger(): void {
    if (this.#isLingering || this.#isClosed) return;
    this.#isLingering = true;
    this.list?.remove(this);
    const { deadlines } = this.#options;
    deadlines.list(lingerMs).add(this, deadlines.clock.monotonicMs());
  }
}

/** With a reset where that can be said. */
function breakOff(socket: Duplex): void {
  if (socket.destroyed) return;
  if (socket instanceof Socket && !("encrypted" in socket)) socket.resetAndDestroy();
  else socket.destroy();
}
