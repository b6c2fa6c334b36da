import { parseTarget } from "../path.ts";
import type { Found, Matcher } from "../router/entry.ts";
import type { MethodMiss, RouteTable } from "../router/route-table.ts";
import { forwardedPath } from "../server/forwarded-path.ts";

/** What the proof needs to know of a route. */
export interface ProofRoute {
  /** Place in the document, from 0. */
  readonly index: number;
  readonly name: string;
  /** All that its requests may go to. */
  readonly services: readonly string[];
  readonly isAnonymous: boolean;
  /** What stands in place of the prefix, without a slash at its end. */
  readonly rewritePrefix: string | undefined;
  /** Host for the service; undefined: the client's. */
  readonly hostHeader: string | undefined;
  readonly matchers: readonly Matcher[];
}

export type Looked = Found<ProofRoute> | MethodMiss | undefined;

/** The stages that a path goes through, in this order. Those of the gateway itself unless a test puts in others. */
export interface Stages {
  /** The canonical path of a request target; undefined when it is refused. */
  readonly read: (target: string) => string | undefined;
  readonly find: RouteTable<ProofRoute>["find"];
  /** The path for the service; undefined when it is refused, or there is no route to go by. */
  readonly forward: (found: Looked, path: string) => string | undefined;
}

/** Where stages disagree, or a guarded path can be had without a token. */
export interface Finding {
  readonly route: ProofRoute;
  /** The request target that shows it. */
  readonly input: string;
  readonly problem: string;
  /** Fault: it holds whatever the service does. Warning: it is right only as long as the service reads paths as strictly as the gateway. */
  readonly severity: "fault" | "warning";
}

/** A service that both routes send requests to. */
export function sharedService({ services }: ProofRoute, other: ProofRoute): string | undefined {
  return services.find((service) => other.services.includes(service));
}

/** The route that a request goes by, if it goes by one. */
export function routeIn(found: Looked): Found<ProofRoute> | undefined {
  return found !== undefined && "route" in found && found.redirect === undefined ? found : undefined;
}

export function readPath(target: string): string | undefined {
  const read = parseTarget(target);
  return "fault" in read ? undefined : read.path;
}

export function targetOf(looked: Looked, path: string): string | undefined {
  const found = routeIn(looked);
  return found && forwardedPath(found, path);
}
