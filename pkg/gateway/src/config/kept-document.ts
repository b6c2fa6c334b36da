import type { AppEvents } from "@plinth/kernel";
import type { DocumentKeeper } from "./document-keeper.ts";

/** Ties the keeper of a document to the reloads of the app. */
export class KeptDocument {
  readonly #keeper: DocumentKeeper | undefined;
  readonly #events: AppEvents;
  #unsubscribe: (() => void) | undefined;

  constructor(keeper: DocumentKeeper | undefined, events: AppEvents) {
    this.#keeper = keeper;
    this.#events = events;
  }

  start(): void {
    const keeper = this.#keeper;
    if (!keeper) return;
    keeper.watch();
    this.#unsubscribe = this.#events.subscribe((event) => event.type === "config" && void keeper.reload());
  }

  end(): void {
    this.#unsubscribe?.();
    this.#keeper?.close();
  }
}
