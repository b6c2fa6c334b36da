import type { FastifyInstance, onRouteHookHandler } from "fastify";

/** A route as it was registered, before its schemas were made ready for fastify. */
export interface RouteRecord {
  readonly methods: readonly string[];
  /** With the prefixes of its plugins. */
  readonly url: string;
  readonly schema: object;
  readonly config: object;
  /** Host, version and the like. */
  readonly constraints: object;
  readonly bodyLimit: number | undefined;
  /** What its scope shares by `$id`. */
  readonly shared: () => Record<string, unknown>;
}

/** Keeps all routes that are added to an app from now on, in their order. Reads nothing of them. */
export function recordRoutes(app: Pick<FastifyInstance, "addHook">): readonly RouteRecord[] {
  const records: RouteRecord[] = [];
  const onRoute: onRouteHookHandler = function keep(this: FastifyInstance, route) {
    const { method, url, schema = {}, config = {}, constraints = {}, bodyLimit } = route;
    const methods = Array.isArray(method) ? [...method] : [method];
    const shared = (): Record<string, unknown> => this.getSchemas();
    records.push({ methods, url, schema: { ...schema }, config, constraints, bodyLimit, shared });
  };
  app.addHook("onRoute", onRoute);
  return records;
}
