import { defineModule, provider, token } from "@plinth/kernel";
import { type OpsRoute, opsRoutes, TransportError } from "@plinth/transport";
import type { Gateway, GatewayState } from "../contract.ts";
import { gateway } from "../module.ts";
import { explainRequest } from "./explain.ts";

/**
 * Tells operators on the ops listener what the gateway goes by now, and changes nothing: `/routes`, `/instances`, and
 * `/explain?method=GET&url=/notes/1&header=x-canary:1&from=192.0.2.1`. With `opsModule`; who may ask is decided there.
 */
export const gatewayOpsModule = defineModule("gateway-ops", [
  provider({
    provides: token("gateway.ops").of<{ readonly add: () => void; readonly remove: () => void }>(),
    needs: { own: gateway, opsRoutes },
    create: ({ own, opsRoutes: routes }) => {
      const added: (() => void)[] = [];
      return {
        add: () => added.push(...opsRoutesOf(own).map((route) => routes.add(route))),
        remove: () => added.splice(0).forEach((remove) => remove()),
      };
    },
    start: ({ add }) => add(),
    stop: ({ remove }) => remove(),
  }),
]);

export function opsRoutesOf(own: Pick<Gateway, "describe">): OpsRoute[] {
  return [
    { path: "/routes", answer: () => ({ routes: routesOf(own.describe()) }) },
    { path: "/instances", answer: () => ({ services: own.describe().services }) },
    {
      path: "/explain",
      answer: (query) => {
        const { document } = own.describe();
        const url = query.get("url");
        if (url === null || url === "") throw refused("url is missing: ask /explain?method=GET&url=/notes/1");
        const headers = query.getAll("header").map(toHeader);
        const from = query.get("from") ?? undefined;
        return explainRequest(document, {
          method: query.get("method") ?? "GET",
          url,
          headers,
          from,
          nowMs: Date.now(),
        });
      },
    },
  ];
}

/** What stands in headers that the gateway sets may be secret. */
function routesOf({ document }: GatewayState): readonly object[] {
  return document.routes.map(({ headers, ...route }) => ({
    ...route,
    setsHeaders: [headers?.request, headers?.reply].flatMap((way) => Object.keys({ ...way?.set, ...way?.add })),
  }));
}

function toHeader(text: string): readonly [string, string] {
  const [, name = "", value = ""] = /^([!#$%&'*+.^`|~\w-]+):[ \t]*([^\0\r\n]*)$/.exec(text) ?? [];
  if (name === "") throw refused("header takes name:value");
  if (/^(?:authorization|cookie)$/i.test(name))
    throw refused(
      `${name} does not belong in a URL, which others keep; ask plinth gateway explain on your own machine`,
    );
  return [name, value];
}

function refused(message: string): TransportError {
  return new TransportError("ERR_REQUEST_REFUSED", "invalid_argument", message);
}
