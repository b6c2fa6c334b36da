import type { Clock, Logger, Metrics, StandardSchemaV1 } from "@plinth/kernel";
import { z } from "zod";
import { schemaFaults } from "../config/faults.ts";
import { GatewayError } from "../errors.ts";
import type { PluginAnswer } from "./answer.ts";
import type { PluginReply } from "./reply-view.ts";
import type { PluginRequest } from "./request-view.ts";

/** Where in a request's way a plugin's `onRequest` stands, in this order. */
export type PluginStage =
  /** Before a route is looked for. It is for all routes. */
  | "edge"
  /** Behind the route's token, before its limits. */
  | "auth"
  /** Behind the limits, just before the service is asked. */
  | "forward";

/** Why a plugin refuses requests. In body, log, metric and span it is `PLUGIN.REASON`. */
export interface PluginReason {
  /** 400 to 599. */
  readonly status: number;
  /** Fixed text for the client. Nothing internal. */
  readonly detail: string;
  /** Whether the same may succeed later. Default false. */
  readonly retryable?: true;
}

/** What a plugin works with. */
export interface PluginTools {
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** Under the plugin's name; undefined where the gateway has none. */
  readonly log: Logger | undefined;
  /** The route whose document configures it; undefined where the configuration is for all routes. */
  readonly route: string | undefined;
}

export type PluginVerdict = PluginAnswer | undefined;

/** What a plugin does, for one configuration of it. */
export interface PluginHooks<Reason extends string = string> {
  /**
   * Asked at the plugin's stage. Undefined lets the request go on, an answer of `request.reply` or `request.reject` ends it. A promise is
   * waited for within the route's time and the plugin's; what is thrown is a 500 for the client and is reported.
   */
  onRequest?(request: PluginRequest<Reason>): PluginVerdict | Promise<PluginVerdict>;
  /** Told the head of a service's reply before the client has it. Not of the gateway's own replies, nor of a WebSocket. It may not wait. */
  onReply?(reply: PluginReply): undefined;
  /** No request goes by this configuration any more. Called once. */
  close?(): void;
}

export interface PluginDefinition<Schema extends StandardSchemaV1, Reason extends string> {
  /** In the document, in reasons and metrics: lower-case letters, digits and hyphens, beginning with a letter, at most 63. */
  readonly name: string;
  readonly stage: PluginStage;
  /** Within the stage the lower number comes first; of replies it comes last. A whole number from -1 000 to 1 000, no two of a stage alike. */
  readonly order: number;
  /** Longest wait for a promise of `onRequest`, in milliseconds, 1 to 600 000. Default 5 000. */
  readonly timeoutMs?: number;
  /** What may stand in the document, zod's or another Standard Schema that does not wait. Default: nothing but `{}` or `true`. */
  readonly config?: Schema;
  /** Names in lower-case letters, digits and `_`. Default: none. */
  readonly reasons?: Readonly<Record<Reason, PluginReason>>;
  /** Called for each place where the document configures it, again when that has changed. May not wait. */
  create(config: StandardSchemaV1.InferOutput<Schema>, tools: PluginTools): PluginHooks<NoInfer<Reason>>;
}

/** Something wrong in a configuration, by its place in it. */
export interface PluginFault {
  readonly path: readonly PropertyKey[];
  readonly problem: string;
}

/** A plugin as a gateway takes it. Made by {@link definePlugin}. */
export interface GatewayPlugin {
  readonly name: string;
  readonly stage: PluginStage;
  readonly order: number;
  readonly timeoutMs: number;
  readonly reasons: ReadonlyMap<string, PluginReason>;
  faultsOf(config: unknown): readonly PluginFault[];
  /** @param config - One without faults. */
  open(config: unknown, tools: PluginTools): PluginHooks;
}

const defaultTimeoutMs = 5_000;

/**
 * Describes a layer of the gateway's own: what it asks of requests and changes in them, and what its configuration in the document holds.
 *
 * @throws {@link GatewayError} `ERR_GATEWAY_PLUGIN` for a name, an order, a time or a reason that cannot be.
 * @example
 * const teapot = definePlugin({
 *   name: "teapot", stage: "forward", order: 0,
 *   create: () => ({ onRequest: (request) => request.reply({ status: 418 }) }),
 * });
 */
export function definePlugin<
  Schema extends StandardSchemaV1 = StandardSchemaV1<unknown, Readonly<Record<string, never>>>,
  const Reason extends string = never,
>(definition: PluginDefinition<Schema, Reason>): GatewayPlugin {
  const { name, stage, order, timeoutMs = defaultTimeoutMs, config: schema } = definition;
  const reasons = new Map(Object.entries<PluginReason>(definition.reasons ?? {}));
  checkDefinition({ name, order, timeoutMs, reasons });
  return Object.freeze({
    name,
    stage,
    order,
    timeoutMs,
    reasons,
    faultsOf: (config: unknown) => faultsOf(config, schema ?? nothing),
    open: (config: unknown, tools: PluginTools) => {
      const given = config === true ? {} : config;
      const result = (schema ?? nothing)["~standard"].validate(given);
      if (result instanceof Promise || result.issues) throw pluginError(`the config of plugin ${name} is not valid`);
      return definition.create(result.value, tools);
    },
  });
}

/** @throws {@link GatewayError} `ERR_GATEWAY_PLUGIN` where two cannot be told apart. */
export function checkPlugins(plugins: readonly GatewayPlugin[]): void {
  const names = new Set<string>();
  const places = new Map<string, string>();
  for (const { name, stage, order } of plugins) {
    if (names.has(name)) throw pluginError(`there are two plugins of the name ${name}`);
    names.add(name);
    const place = `${stage} ${order}`;
    const twin = places.get(place);
    if (twin !== undefined)
      throw pluginError(`plugins ${twin} and ${name} have both order ${order} of stage ${stage}; give one another`);
    places.set(place, name);
  }
}

export function pluginError(message: string, cause?: unknown): GatewayError {
  return new GatewayError("ERR_GATEWAY_PLUGIN", "internal", message, { cause });
}

const nothing = z.strictObject({});

function faultsOf(config: unknown, schema: StandardSchemaV1): readonly PluginFault[] {
  const given = config === true ? {} : config;
  if (schema instanceof z.ZodType) {
    const { error } = schema.safeParse(given);
    if (!error) return [];
    const faults = schemaFaults(error, given, schema, { name: "", places: new Map() });
    return faults.map(({ key, problem }) => ({ path: key === "" ? [] : key.split("."), problem }));
  }
  const result = schema["~standard"].validate(given);
  if (result instanceof Promise) return [{ path: [], problem: "its schema waits for something, which it may not" }];
  return (result.issues ?? []).map(({ message, path = [] }) => ({
    path: path.map((part) => (typeof part === "object" ? part.key : part)),
    problem: message,
  }));
}

function checkDefinition({
  name,
  order,
  timeoutMs,
  reasons,
}: Pick<GatewayPlugin, "name" | "order" | "timeoutMs" | "reasons">): void {
  if (!/^[a-z][a-z0-9-]{0,62}$/.test(name))
    throw pluginError(
      `plugin ${JSON.stringify(name)}: expected a name of lower-case letters, digits and hyphens, beginning with a letter`,
    );
  if (!Number.isInteger(order) || Math.abs(order) > 1_000)
    throw pluginError(`plugin ${name}: order is ${order}; expected a whole number from -1000 to 1000`);
  if (!Number.isInteger(timeoutMs) || timeoutMs < 1 || timeoutMs > 600_000)
    throw pluginError(`plugin ${name}: timeoutMs is ${timeoutMs}; expected whole milliseconds from 1 to 600000`);
  for (const [reason, { status }] of reasons) {
    if (!/^[a-z][a-z0-9_]{0,62}$/.test(reason))
      throw pluginError(`plugin ${name}: reason ${JSON.stringify(reason)} is not of lower-case letters, digits and _`);
    if (!Number.isInteger(status) || status < 400 || status > 599)
      throw pluginError(`plugin ${name}: reason ${reason} has status ${status}; expected 400 to 599`);
  }
}
