import { hash } from "node:crypto";
import {
  backoffDelayMs,
  type BackoffOptions,
  type Clock,
  ConfigError,
  type ConfigDocument,
  type ConfigSource,
  sleep,
  withDefaults,
} from "@plinth/kernel";
import { RegistryError } from "../errors.ts";
import { followIndex } from "./blocking.ts";
import { type ConsulConfigListener, guardListener } from "./config-events.ts";
import {
  configDefaults,
  type ConsulConfigOptions,
  requireRanges,
  type ResolvedTuning,
  toSelector,
} from "./config-options.ts";
import { firstOf, resolveConnection } from "./connection.ts";
import { plinthOptionsFrom } from "./environment.ts";
import { createConsulKv, type ConsulKv, type ConsulKvOptions, type KvEntry, type KvSelector } from "./kv.ts";
import { isSet, toDocument, toFolderDocument, toText } from "./kv-document.ts";

/**
 * Config from Consul's key-value store, for the `sources` of an app's config. Making it makes no request.
 *
 * `load` tries again, with full jitter, while the agent cannot be reached or answers 429 or 5xx; a refusal (403) fails at once. It throws
 * {@link RegistryError} `ERR_REGISTRY_UNAVAILABLE`, `_TIMEOUT`, `_DENIED`, `_REJECTED`, `_RESPONSE` or `_RESPONSE_SIZE` when the store
 * cannot be read, {@link ConfigError} `ERR_CONFIG_FILE` when what it holds is no config, or the signal's reason. Reads go to the leader.
 *
 * `watch` tells when the content has changed since it was loaded or last told of, deletion included, and after a load that failed; it
 * survives every failure, and does not keep the process alive.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE`; {@link RegistryError} `ERR_REGISTRY_ADDRESS`.
 * @example createApp({ name: "notes", modules, config: { sources: [consulConfig({ key: "config/notes" })] } });
 */
export function consulConfig(given: ConsulConfigOptions): ConfigSource {
  const { key, prefix, environment = process.env, ...own } = given;
  const options = withDefaults(configDefaults, own);
  requireRanges(options);
  const { requestTimeoutMs, maxResponseBytes, clock } = options;
  const connection = {
    ...firstOf(own, plinthOptionsFrom(environment)),
    environment,
    requestTimeoutMs,
    maxResponseBytes,
    clock,
    tracing: own.tracing,
  };
  const { address } = resolveConnection(connection);
  return new ConsulConfigSource(toSelector(key, prefix), { ...connection, address: address.text }, options);
}

class ConsulConfigSource implements ConfigSource {
  readonly name: string;
  readonly #selector: KvSelector;
  readonly #connection: ConsulKvOptions;
  readonly #options: ResolvedTuning;
  readonly #tell: ConsulConfigListener;
  /** What the last load found. */
  #loaded: string | undefined;
  #failedLoads = 0;

  constructor(selector: KvSelector, connection: ConsulKvOptions, options: ResolvedTuning) {
    this.name = `consul:${selector.key ?? selector.prefix}`;
    this.#selector = selector;
    this.#connection = connection;
    this.#options = options;
    this.#tell = guardListener(options.onEvent);
  }

  async load({ signal }: { readonly signal: AbortSignal }): Promise<ConfigDocument> {
    const entries = await this.#load(signal);
    const { key, prefix } = this.#selector;
    if (key === undefined && entries.some(isSet)) return toFolderDocument(prefix, entries);
    const first = this.#firstOf(entries);
    return first ? toDocument(first) : { data: {}, places: new Map() };
  }

  async readText({ signal }: { readonly signal: AbortSignal }): Promise<string | undefined> {
    if (this.#selector.key === undefined) return undefined;
    const first = this.#firstOf(await this.#load(signal));
    return first ? toText(first) : "";
  }

  async #load(signal: AbortSignal): Promise<readonly KvEntry[]> {
    const kv = this.#open();
    let entries: readonly KvEntry[];
    try {
      entries = await this.#read(kv, signal);
    } catch (error) {
      this.#failedLoads++;
      throw error;
    } finally {
      await kv.close();
    }
    this.#loaded = this.#digest(entries);
    return entries;
  }

  watch(onChange: () => void, { signal }: { readonly signal: AbortSignal }): void {
    void this.#follow(onChange, signal);
  }

  async #follow(onChange: () => void, signal: AbortSignal): Promise<void> {
    const { waitMs, maxRequestsPerSecond, maxBackoffMs, random } = this.#options;
    const clock = idleClock(this.#options.clock);
    const kv = this.#open({ clock, keepAlive: false });
    const source = this.name;
    let told = this.#loaded;
    let failedLoads = this.#failedLoads;
    await followIndex({
      clock,
      maxRequestsPerSecond,
      backoff: { baseDelayMs: Math.min(firstBackoffMs, maxBackoffMs), maxDelayMs: maxBackoffMs, random },
      signal,
      ask: (index) => kv.read(this.#selector, { index, waitMs, signal }),
      onAnswer: ({ entries }) => {
        const found = this.#digest(entries);
        // a load that failed has missed what it was called for
        const isNews = told !== undefined && (found !== told || failedLoads !== this.#failedLoads);
        told = found;
        failedLoads = this.#failedLoads;
        if (isNews) onChange();
      },
      onReset: (index, previous) => this.#tell({ type: "watch_reset", source, index, previous }),
      onFailure: (error, failures) => this.#tell({ type: "watch_failed", source, error, failures }),
      onRecovery: (failedForMs) => this.#tell({ type: "watch_recovered", source, failedForMs }),
    });
    await kv.close();
  }

  #open(more: ConsulKvOptions = {}): ConsulKv {
    return createConsulKv({ ...this.#connection, ...more });
  }

  async #read(kv: ConsulKv, signal: AbortSignal): Promise<readonly KvEntry[]> {
    const { clock, random, maxTries, loadTimeoutMs, requestTimeoutMs } = this.#options;
    const beganAtMs = clock.monotonicMs();
    for (let tries = 1; ; tries++) {
      try {
        const { entries } = await kv.read(this.#selector, { index: 0, waitMs: 0, signal });
        return entries;
      } catch (error) {
        if (signal.aborted || !(error instanceof RegistryError) || !error.retryable) throw error;
        const delayMs = backoffDelayMs(tries, { ...loadBackoff, random });
        const passedMs = clock.monotonicMs() - beganAtMs;
        if (tries === maxTries || passedMs + delayMs + requestTimeoutMs > loadTimeoutMs) {
          throw triedError(error, tries, passedMs);
        }
        await sleep(clock, delayMs, { signal });
      }
    }
  }

  /** Undefined where nothing is set, and nothing has to be. */
  #firstOf(entries: readonly KvEntry[]): KvEntry | undefined {
    const { key, prefix } = this.#selector;
    const [first] = key === undefined ? entries.filter(isSet) : entries;
    if (!first && this.#options.required) {
      const { address } = this.#connection;
      const problem = `there is no such key in the Consul at ${address}, and it is required; was it put, in this datacenter?`;
      throw new ConfigError("ERR_CONFIG_FILE", [{ key: key ?? prefix, problem, source: this.name }]);
    }
    return first;
  }

  /** Equal for equal content; what else changes in Consul, locks and flags, is no change here. */
  #digest(entries: readonly KvEntry[]): string {
    const content = this.#selector.key === undefined ? entries.filter(isSet) : entries;
    return hash(
      "sha256",
      JSON.stringify(content.map(({ key, value }) => [key, Buffer.from(value).toString("base64")])),
    );
  }
}

const firstBackoffMs = 250;
const maxLoadBackoffMs = 2_000;
const loadBackoff: BackoffOptions = { baseDelayMs: firstBackoffMs, maxDelayMs: maxLoadBackoffMs };

function triedError(error: RegistryError, tries: number, passedMs: number): RegistryError {
  if (tries === 1) return error;
  const message = `${error.message}; tried ${tries} times in ${Math.round(passedMs)} ms`;
  return new RegistryError(error.code, error.status, message, { cause: error, retryable: error.retryable });
}

/** A clock whose timers do not keep the process alive. */
function idleClock(clock: Clock): Clock {
  return {
    now: () => clock.now(),
    monotonicMs: () => clock.monotonicMs(),
    schedule: (delayMs, task) => clock.schedule(delayMs, task, { keepAlive: false }),
  };
}
