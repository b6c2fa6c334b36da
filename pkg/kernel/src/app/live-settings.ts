import type { SettingsToken } from "../config/settings.ts";
import type { ConfigStore } from "../config/store.ts";
import type { LiveSettings } from "./needs.ts";

/** What `live(settings)` stands for. */
export function liveSettings<T>(
  store: Pick<ConfigStore, "get" | "subscribe">,
  settings: SettingsToken<T>,
): LiveSettings<T> {
  return {
    get current() {
      return store.get(settings);
    },
    subscribe: (listener) => store.subscribe(settings, listener),
  };
}
