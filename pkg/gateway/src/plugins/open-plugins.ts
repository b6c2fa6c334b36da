import type { Clock, ErrorBus, Logger, Metrics } from "@plinth/kernel";
import type { ParsedDocument, RouteConfig } from "../config/schema.ts";
import type { PluginCounts } from "./counts.ts";
import { type GatewayPlugin, pluginError, type PluginHooks, type PluginStage } from "./define.ts";

/** A plugin with one configuration of it. */
export interface OpenPlugin {
  readonly plugin: GatewayPlugin;
  readonly config: unknown;
  readonly hooks: PluginHooks;
  readonly counts: PluginCounts;
}

/** The plugins of a route, or before any, by when they are asked; undefined where there are none. */
export interface PluginChains {
  readonly auth: readonly OpenPlugin[] | undefined;
  readonly forward: readonly OpenPlugin[] | undefined;
  readonly reply: readonly OpenPlugin[] | undefined;
}

/** What a gateway opens plugins with. */
export interface PluginSeams {
  /** In the order in which they are asked. */
  readonly plugins: readonly GatewayPlugin[];
  readonly counts: PluginCounts;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** Told of one that fails as it is closed: that holds up nothing else. */
  readonly errors: ErrorBus;
  readonly log: Logger | undefined;
}

const stages: readonly PluginStage[] = ["edge", "auth", "forward"];

/** In the order in which they are asked. */
export function inOrder<Plugin extends Pick<GatewayPlugin, "stage" | "order">>(plugins: readonly Plugin[]): Plugin[] {
  return plugins.toSorted(
    (one, other) => stages.indexOf(one.stage) - stages.indexOf(other.stage) || one.order - other.order,
  );
}

/** The plugins of one document, each opened once for each place that configures it. What was so before is taken over as it is. */
export class OpenPlugins {
  readonly #seams: PluginSeams;
  readonly #document: ParsedDocument;
  /** Until all have been opened. */
  #before: OpenPlugins | undefined;
  readonly #open = new Map<string, OpenPlugin>();
  readonly edge: readonly OpenPlugin[] | undefined;

  /** @throws {@link GatewayError} `ERR_GATEWAY_PLUGIN` for one that cannot be made; those made before it are closed. */
  constructor(document: ParsedDocument, seams: PluginSeams, before: OpenPlugins | undefined) {
    this.#document = document;
    this.#seams = seams;
    this.#before = before;
    this.edge = orNone(this.#take(undefined, (plugin) => plugin.stage === "edge"));
  }

  /** Throws as the constructor does. */
  chainsOf(route: RouteConfig): PluginChains | undefined {
    const all = this.#take(route, () => true);
    if (all.length === 0) return undefined;
    const at = (stage: PluginStage): readonly OpenPlugin[] | undefined =>
      orNone(all.filter(({ plugin, hooks }) => plugin.stage === stage && "onRequest" in hooks));
    return {
      auth: at("auth"),
      forward: at("forward"),
      reply: orNone(all.filter(({ hooks }) => "onReply" in hooks).toReversed()),
    };
  }

  /** All have been opened: those before, with theirs before them, are held no longer. */
  settle(): void {
    this.#before = undefined;
  }

  /** Ends those that nobody else has. Safe to call twice. */
  close(others: readonly (OpenPlugins | undefined)[]): void {
    for (const [key, open] of this.#open) {
      if (others.some((other) => other?.has(key, open))) continue;
      this.#open.delete(key);
      void this.#end(open);
    }
  }

  async #end({ plugin, hooks }: OpenPlugin): Promise<void> {
    try {
      const closed: unknown = hooks.close?.();
      await closed; // it is not to wait; one that does all the same fails no less openly
    } catch (error) {
      this.#seams.errors.report(pluginError(`plugin ${plugin.name} failed as it was closed`, error), {
        origin: "lifecycle",
      });
    }
  }

  has(key: string, open: OpenPlugin): boolean {
    return this.#open.get(key)?.hooks === open.hooks;
  }

  #take(route: RouteConfig | undefined, isMeant: (plugin: GatewayPlugin) => boolean): OpenPlugin[] {
    return this.#seams.plugins.flatMap((plugin) => {
      const own = route?.plugins?.[plugin.name];
      const config = own ?? this.#document.plugins?.[plugin.name];
      if (config === undefined || config === false || !isMeant(plugin)) return [];
      return [this.#opened(plugin, config, own === undefined ? undefined : route?.name)];
    });
  }

  #opened(plugin: GatewayPlugin, config: unknown, route: string | undefined): OpenPlugin {
    const key = `${plugin.name} ${route ?? ""}`;
    const known = this.#open.get(key);
    if (known) return known;
    const before = this.#before?.find(key);
    const open = before && isSame(before.config, config) ? before : this.#create(plugin, config, route);
    this.#open.set(key, open);
    return open;
  }

  find(key: string): OpenPlugin | undefined {
    return this.#open.get(key);
  }

  #create(plugin: GatewayPlugin, config: unknown, route: string | undefined): OpenPlugin {
    const { counts, clock, metrics, log } = this.#seams;
    try {
      const hooks: unknown = plugin.open(config, { clock, metrics, log: log?.named(plugin.name), route });
      if (!isHooks(hooks)) throw new Error("create gave no hooks; it may not wait");
      return { plugin, config, counts, hooks };
    } catch (error) {
      this.close([this.#before]);
      throw pluginError(
        `plugin ${plugin.name} could not be made${route === undefined ? "" : ` for route ${route}`}`,
        error,
      );
    }
  }
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function isHooks(value: unknown): value is PluginHooks {
  return typeof value === "object" && value !== null && !("then" in value);
}

function orNone(list: readonly OpenPlugin[]): readonly OpenPlugin[] | undefined {
  return list.length > 0 ? list : undefined;
}
