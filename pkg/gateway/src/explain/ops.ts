import { defineModule, provider, token } from "@plinth/kernel";
import { type OpsRoute, opsRoutes, TransportError } from "@plinth/transport";
import type { RevocableToken } from "@plinth/transport/jwt";
import type { Gateway, GatewayState } from "../contract.ts";
import { gateway } from "../module.ts";
import { addUp } from "../workers/instances.ts";
import { gatewayTeam } from "../workers/module.ts";
import type { WorkerTeam } from "../workers/worker-team.ts";
import { explainRequest } from "./explain.ts";
import { pluginsOf } from "./plugins.ts";

/**
 * Tells operators on the ops listener what the gateway goes by now, and changes nothing: `/routes`, `/instances`,
 * `/revoked?iss=https://login.example&sub=ada&jti=6f1c2a`, which says whether such a token is refused though it is valid, and
 * `/explain?method=GET&url=/notes/1&header=x-canary:1&from=192.0.2.1`. With `opsModule`; who may ask is decided there.
 */
export const gatewayOpsModule = defineModule("gateway-ops", [
  provider({
    provides: token("gateway.ops").of<{ readonly add: () => void; readonly remove: () => void }>(),
    needs: { own: gateway, team: gatewayTeam, opsRoutes },
    create: ({ own, team, opsRoutes: routes }) => {
      const added: (() => void)[] = [];
      return {
        add: () => added.push(...opsRoutesOf(own, team).map((route) => routes.add(route))),
        remove: () => added.splice(0).forEach((remove) => remove()),
      };
    },
    start: ({ add }) => add(),
    stop: ({ remove }) => remove(),
  }),
]);

/** @param team - The other workers of the gateway; undefined: there are none. */
export function opsRoutesOf(
  own: Pick<Gateway, "describe" | "revocations">,
  team?: Pick<WorkerTeam, "instances">,
): OpsRoute[] {
  return [
    {
      path: "/routes",
      answer: () => {
        const state = own.describe();
        const { generation, workers } = state.workers ?? {};
        return { generation, workers, routes: routesOf(state) };
      },
    },
    { path: "/revoked", answer: (query) => ({ revoked: own.revocations.revokes(toToken(query)) }) },
    { path: "/instances", answer: () => (team ? instancesOf(team) : { services: own.describe().services }) },
    {
      path: "/explain",
      answer: (query) => {
        const { document, plugins } = own.describe();
        const url = query.get("url");
        if (url === null || url === "") throw refused("url is missing: ask /explain?method=GET&url=/notes/1");
        const headers = query.getAll("header").map(toHeader);
        const from = query.get("from") ?? undefined;
        return explainRequest(document, {
          method: query.get("method") ?? "GET",
          url,
          headers,
          from,
          plugins,
          revocations: own.revocations,
          nowMs: Date.now(),
        });
      },
    },
  ];
}

/** As all workers that answer see them. */
async function instancesOf(team: Pick<WorkerTeam, "instances">): Promise<object> {
  const { told, missing } = await team.instances();
  return { workers: [...told.keys()].toSorted((one, other) => one - other), missing, services: addUp(told) };
}

/** A token by what revocations look at, none of which opens a door. */
function toToken(query: URLSearchParams): RevocableToken {
  const [issuer, subject, jti, iat] = ["iss", "sub", "jti", "iat"].map((name) => query.get(name) ?? undefined);
  if (issuer === undefined || subject === undefined)
    throw refused("iss or sub is missing: ask /revoked?iss=https://login.example&sub=ada&jti=6f1c2a&iat=1767225600");
  if (iat !== undefined && !/^\d{1,12}$/.test(iat)) throw refused("iat takes seconds since the Unix epoch");
  return { issuer, subject, jti, issuedAtMs: iat === undefined ? undefined : Number(iat) * 1e3 };
}

/** What stands in headers that the gateway sets, and in the configuration of plugins, may be secret. */
function routesOf({ document, plugins: known }: GatewayState): readonly object[] {
  return document.routes.map(({ headers, plugins: configs, ...route }) => ({
    ...route,
    plugins: pluginsOf({ ...route, plugins: configs }, document, known),
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
