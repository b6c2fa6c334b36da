import { connect, type Socket } from "node:net";
import { ReplyReader } from "./reply-reader.ts";

export interface LoadConnectionEvents {
  /** A reply is complete, `latencyMs` after its request was written. */
  readonly onReply: (status: number, bodyBytes: number, latencyMs: number) => void;
  /** The connection is of no more use: the server closed it, or sent what is no reply. Called once at most. */
  readonly onBroken: (reason: string) => void;
}

/** One keep-alive connection in a closed loop: the next request goes out when the last is answered. */
export class LoadConnection {
  /** When the request in flight was written, on the clock of `performance.now()`. `Infinity` when there is none. */
  sentAtMs = Infinity;
  readonly #socket: Socket;
  readonly #next: () => Buffer;
  readonly #reader = new ReplyReader();
  readonly #events: LoadConnectionEvents;
  #open = true;

  /**
   * @param next - The bytes of the next request.
   * @param readBuffer - Where the kernel puts received bytes. Connections may share one, since each chunk is dealt with
   *   before the next is read; it saves an allocation of 64 KiB a read.
   */
  constructor(port: number, next: () => Buffer, readBuffer: Buffer, events: LoadConnectionEvents) {
    this.#next = next;
    this.#events = events;
    const onBytes = (count: number): boolean => {
      this.#read(readBuffer.subarray(0, count));
      return true;
    };
    this.#socket = connect({
      host: "127.0.0.1",
      port,
      noDelay: true,
      onread: { buffer: readBuffer, callback: onBytes },
    });
    this.#socket.once("connect", () => this.#send());
    this.#socket.on("error", (error) => this.#break(error.message));
    this.#socket.once("close", () => this.#break("connection closed by the server"));
  }

  close(): void {
    this.#open = false;
    this.#socket.destroy();
  }

  #send(): void {
    this.sentAtMs = performance.now();
    this.#socket.write(this.#next());
  }

  #read(chunk: Buffer): void {
    if (!this.#open) return;
    try {
      if (!this.#reader.push(chunk)) return;
    } catch (error) {
      this.#break(error instanceof Error ? error.message : String(error));
      return;
    }
    this.#events.onReply(this.#reader.status, this.#reader.bodyBytes, performance.now() - this.sentAtMs);
    if (this.#open) this.#send();
  }

  #break(reason: string): void {
    if (!this.#open) return;
    this.close();
    this.#events.onBroken(reason);
  }
}
