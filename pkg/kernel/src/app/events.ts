import type { ErrorOrigin } from "../errors/error-bus.ts";
import { Listeners } from "../listeners.ts";
import type { HookName } from "./provider.ts";

export type AppState = "created" | "starting" | "ready" | "draining" | "stopping" | "stopped" | "failed";

/** What happens to an app, as plain values: logger, metrics and tests read the same. */
export type AppEvent =
  | { readonly type: "state"; readonly state: AppState }
  | {
      readonly type: "hook";
      readonly hook: HookName | "create";
      readonly provider: string;
      readonly module: string;
      readonly tookMs: number;
      /** Present when it failed. */
      readonly error?: unknown;
    }
  | { readonly type: "fatal"; readonly error: unknown; readonly origin: ErrorOrigin };

export interface AppEvents {
  readonly state: AppState;
  /**
   * Calls `listener` with all events so far, then with each new one. Returns how to end that.
   * A listener that throws is an uncaught exception of the process; the app and the other listeners go on.
   */
  subscribe(listener: (event: AppEvent) => void): () => void;
}

/** Events with a memory: whoever comes late hears all of it. */
export class EventLog implements AppEvents {
  readonly #events: AppEvent[] = [];
  readonly #listeners = new Listeners<AppEvent>();
  #state: AppState = "created";

  get state(): AppState {
    return this.#state;
  }

  emit(event: AppEvent): void {
    if (event.type === "state") this.#state = event.state;
    this.#events.push(event);
    this.#listeners.tell(event);
  }

  subscribe(listener: (event: AppEvent) => void): () => void {
    for (const event of this.#events) listener(event);
    return this.#listeners.add(listener);
  }
}
