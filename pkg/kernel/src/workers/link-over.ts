import type { PrimaryPort } from "./primary-port.ts";

/** What a part of an app in a worker has with its counterpart in the primary. */
export interface PrimaryLink {
  /** Number of this worker, from 1 on. */
  readonly worker: number;
  /** Whether the primary is still there. */
  readonly isOpen: boolean;
  /** Never throws; what is sent when the primary has gone is lost. `data` goes as JSON. */
  send(channel: string, data: unknown): void;
  /** Hears what comes on a channel of the name. Returns how to end it. */
  listen(channel: string, listener: PrimaryLinkListener): () => void;
}

export interface PrimaryLinkListener {
  readonly onMessage: (data: unknown) => void;
  /** The primary has ended; this worker is about to. */
  readonly onGone?: (() => void) | undefined;
}

/** The way to the primary over `port`. */
export function linkOver(port: PrimaryPort, worker: number): PrimaryLink {
  return {
    worker,
    get isOpen() {
      return port.isOpen;
    },
    send: (channel, data) => void port.send({ type: "talk", channel, data }),
    listen: (channel, { onMessage, onGone }) =>
      port.listen({
        onMessage: (message) => {
          if (message.type === "talk" && message.channel === channel) onMessage(message.data);
        },
        onGone: () => onGone?.(),
      }),
  };
}
