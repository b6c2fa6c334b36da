import { enveloped, type PrimaryMessage, toPrimaryMessage, type WorkerMessage } from "./messages.ts";

/** The primary, as its worker sees it. */
export interface PrimaryPort {
  /** Whether it is still there. */
  readonly isOpen: boolean;
  /** Never throws; what is sent when it has gone is lost. Resolves when it has been handed over. */
  send(message: WorkerMessage): Promise<void>;
  /** Returns how to end it. */
  listen(listener: PrimaryListener): () => void;
}

export interface PrimaryListener {
  readonly onMessage: (message: PrimaryMessage) => void;
  /** It has ended, whatever way. */
  readonly onGone: () => void;
}

type Channel = Pick<NodeJS.Process, "connected" | "send" | "on" | "off">;

/** The primary over the channel that `channel`, this process, has with it. */
export function portOver(channel: Channel): PrimaryPort {
  return {
    get isOpen() {
      return channel.connected;
    },
    send(message) {
      const { promise, resolve } = Promise.withResolvers<void>();
      if (channel.connected && channel.send) channel.send(enveloped(message), undefined, undefined, () => resolve());
      else resolve();
      return promise;
    },
    listen({ onMessage, onGone }) {
      const receive = (given: unknown): void => {
        const message = toPrimaryMessage(given);
        if (message) onMessage(message);
      };
      channel.on("message", receive);
      channel.on("disconnect", onGone);
      return () => {
        channel.off("message", receive);
        channel.off("disconnect", onGone);
      };
    },
  };
}
