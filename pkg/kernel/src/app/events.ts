import type { ErrorOrigin } from "../errors/error-bus.ts";
import { Listeners } from "../listeners.ts";
import type { HookName } from "./provider.ts";

export type AppState = "created" | "starting" | "ready" | "draining" | "stopping" | "stopped" | "failed";

/** What happens to an app, as plain values: logger, metrics and tests read the same. */
export type AppEvent =
  | { readonly type: "state"; readonly state: AppState }
  | HookEvent
  | ConfigEvent
  | { readonly type: "fatal"; readonly error: unknown; readonly origin: ErrorOrigin };

/** A reload of the config: what it has changed, or why everything stays as it was. */
export type ConfigEvent = { readonly type: "config" } & (
  | { readonly outcome: "changed" | "unchanged"; readonly changed: readonly string[] }
  | { readonly outcome: "refused"; readonly error: unknown }
);

/** One hook of one provider: it begins, and then it is done or has failed. */
export type HookEvent = HookFacts &
  (
    | { readonly step: "begun" }
    | { readonly step: "done"; readonly tookMs: number }
    | { readonly step: "failed"; readonly tookMs: number; readonly error: unknown }
  );

interface HookFacts {
  readonly type: "hook";
  readonly hook: HookName | "create";
  /** Name of the token. */
  readonly provider: string;
  /** Which provider of that token: as in the app's description. */
  readonly id: string;
  readonly module: string;
}

export interface AppEvents {
  readonly state: AppState;
  /**
   * Calls `listener` with all events so far, but for reloads, then with each new one. Returns how to end that.
   * A listener that throws is an uncaught exception of the process; the app and the other listeners go on.
   */
  subscribe(listener: (event: AppEvent) => void): () => void;
}

const maxFatalKept = 100;

/** Events with a memory: whoever comes late hears all of it. */
export class EventLog implements AppEvents {
  readonly #events: AppEvent[] = [];
  readonly #listeners = new Listeners<AppEvent>();
  #state: AppState = "created";
  #fatalCount = 0;

  get state(): AppState {
    return this.#state;
  }

  /** All events so far. */
  get history(): readonly AppEvent[] {
    return this.#events;
  }

  emit(event: AppEvent): void {
    if (event.type === "state") this.#state = event.state;
    if (event.type === "fatal") this.#fatalCount++;
    // there is no end to reloads, nor where each error causes the next one: they are told, not kept
    const isKept = event.type !== "config" && (event.type !== "fatal" || this.#fatalCount <= maxFatalKept);
    if (isKept) this.#events.push(event);
    this.#listeners.tell(event);
  }

  subscribe(listener: (event: AppEvent) => void): () => void {
    const own = new Listeners<AppEvent>();
    own.add(listener);
    for (const event of this.#events) own.tell(event);
    return this.#listeners.add(listener);
  }
}
