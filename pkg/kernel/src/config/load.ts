import { declare } from "./declared.ts";
import type { SettingsToken } from "./settings.ts";
import { type ConfigSources, readSnapshot } from "./snapshot.ts";

export type { ConfigData } from "./data.ts";
export type { Environment } from "./environment.ts";
export type { ConfigSources } from "./snapshot.ts";

/** Validated settings by section. */
export type Config = ReadonlyMap<string, unknown>;

/**
 * Merges all sources, validates every section, and freezes the result; once, see {@link createConfigStore} for what can change.
 * An empty variable counts as not set.
 *
 * @throws {@link ConfigError} `ERR_CONFIG_FILE`, `ERR_CONFIG_SOURCE` or `ERR_CONFIG_INVALID`, with every fault, its key, its source,
 * what was expected and given.
 */
export async function loadConfig(sections: Iterable<SettingsToken>, sources: ConfigSources): Promise<Config> {
  const { signal } = new AbortController();
  const { values } = await readSnapshot({ declared: declare(sections), sources, files: new Map(), signal });
  return values;
}
