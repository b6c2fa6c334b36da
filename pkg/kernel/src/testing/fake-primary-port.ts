import type { PrimaryMessage, WorkerMessage } from "../workers/messages.ts";
import type { PrimaryListener, PrimaryPort } from "../workers/primary-port.ts";

/** A primary that does what a test says. */
export class FakePrimaryPort implements PrimaryPort {
  isOpen = true;
  readonly sent: WorkerMessage[] = [];
  readonly #listeners = new Set<PrimaryListener>();

  async send(message: WorkerMessage): Promise<void> {
    this.sent.push(message);
  }

  listen(listener: PrimaryListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  tell(message: PrimaryMessage): void {
    for (const { onMessage } of this.#listeners) onMessage(message);
  }

  /** As when the primary has died. */
  close(): void {
    this.isOpen = false;
    for (const { onGone } of this.#listeners) onGone();
  }

  ofType<T extends WorkerMessage["type"]>(type: T): Extract<WorkerMessage, { type: T }>[] {
    const isOfType = (message: WorkerMessage): message is Extract<WorkerMessage, { type: T }> => message.type === type;
    return this.sent.filter(isOfType);
  }

  get listeners(): number {
    return this.#listeners.size;
  }
}
