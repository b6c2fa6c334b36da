import { posix } from "node:path";
import type { Found } from "../router/entry.ts";
import { anonymousWaysTo } from "./reach.ts";
import { escapeSegment, spellingsOf, waysFrom } from "./spellings.ts";
import { type Finding, type ProofRoute, readPath, routeIn, sharedService, type Stages, targetOf } from "./stages.ts";
import { pathOf, type Straight, straightRequests } from "./straight.ts";

export interface ProofOptions {
  /** Targets that are put through the stages, at most, or few more. Default: all. */
  readonly maxInputs?: number;
  /** In place of the gateway's own. */
  readonly stages?: Partial<Stages> | undefined;
}

export interface Proof {
  readonly findings: readonly Finding[];
  /** Targets that were put through the stages. */
  readonly inputs: number;
  /** Routes whose spellings were all tried. */
  readonly routes: number;
}

/** Routes for everybody from below which a guarded path is tried to be reached. */
const maxNeighbours = 3;
/** Of the spellings that a loose reader would take for a guarded path, so many are told. */
const maxShown = 4;

/**
 * Puts every route through the stages with every spelling of its paths: read, match, authorise, rewrite, forward.
 *
 * Shown is that the path which was matched and authorised is the one that is forwarded, that no later reading of it, decoded once
 * and resolved, is another route's, and that no request gets by a route for everybody to what a route with `auth` guards.
 *
 * @param find - Of the table of these routes.
 */
export function prove(
  routes: readonly ProofRoute[],
  find: Stages["find"],
  { maxInputs = Infinity, stages: given }: ProofOptions = {},
): Proof {
  const stages: Stages = { read: readPath, find, forward: targetOf, ...given };
  const findings = [...shadowed(routes, stages), ...anonymousWaysTo(routes, stages)];
  const neighbours = routes
    .filter(({ isAnonymous }) => isAnonymous)
    .flatMap(({ matchers }) => matchers)
    .filter(({ pattern }) => pattern.isPrefix && pattern.segments.length > 0)
    .slice(0, maxNeighbours)
    .map(({ pattern }) => pathOf(pattern));
  let inputs = 0;
  let count = 0;
  for (const route of routes) {
    if (inputs >= maxInputs) break;
    count++;
    let isWarned = false;
    for (const straight of straightRequests(route)) {
      const targets = spellingsOf(straight.path, straight.host);
      if (!route.isAnonymous) for (const below of neighbours) targets.push(...waysFrom(below, straight.path));
      inputs += targets.length;
      for (const finding of findingsOf(route, straight, targets, stages)) {
        if (finding.severity === "fault" || !isWarned) findings.push(finding);
        isWarned ||= finding.severity === "warning";
      }
    }
  }
  return { findings, inputs, routes: count };
}

/** Routes that no request gets to, since others take every one that they are meant for. */
function shadowed(routes: readonly ProofRoute[], { find }: Stages): Finding[] {
  return routes.flatMap((route): Finding[] => {
    const takers = straightRequests(route).map(
      ({ host, method, path, facts }) => [path, routeIn(find(host, method, path, facts))?.route] as const,
    );
    if (takers.some(([, taker]) => taker === undefined || taker === route)) return [];
    const open = route.isAnonymous ? undefined : takers.find(([, taker]) => taker?.isAnonymous === true);
    const [input, by] = open ?? takers[0] ?? [];
    if (input === undefined || by === undefined) return [];
    const problem = `no request gets to it: ${input} goes by route ${by.name}${open ? ", which is for everybody" : ""}`;
    return [{ route, input, problem, severity: open ? "fault" : "warning" }];
  });
}

function* findingsOf(
  route: ProofRoute,
  { host, method, path: guarded, facts }: Straight,
  targets: readonly string[],
  { read, find, forward }: Stages,
): Generator<Finding> {
  const own = routeIn(find(host, method, guarded, facts));
  const resource = !route.isAnonymous && own?.route === route ? forward(own, guarded) : undefined;
  /** What the service gets, and by which input. */
  const loosely = new Map<string, string>();
  let open: ProofRoute | undefined;
  for (const input of targets) {
    const say = (problem: string): Finding => ({ route, input, problem, severity: "fault" });
    const path = read(input);
    if (path === undefined) continue;
    const again = read(path);
    if (again !== path)
      yield say(`it is matched as ${path}, which reads as ${again ?? "nothing"} when it is read again`);
    const found = routeIn(find(host, method, path, facts));
    const target = forward(found, path);
    if (found === undefined || target === undefined) continue;
    const routeOf = (reading: string): ProofRoute | undefined => routeIn(find(host, method, reading, facts))?.route;
    const fault = forwardFault(found, path, target, routeOf);
    if (fault !== undefined) yield say(fault);
    else if (read(target) !== target) yield say(`it is forwarded as ${target}, which is not canonical`);
    const service = sharedService(route, found.route);
    if (resource === undefined || !found.route.isAnonymous || service === undefined) continue;
    if (readingsOf(target).includes(resource))
      yield say(`it goes by route ${found.route.name}, which is for everybody, to ${resource} of service ${service}`);
    else if (looseForm(target) === looseForm(resource)) {
      open = found.route;
      if (!loosely.has(target)) loosely.set(target, input);
    }
  }
  const [input] = loosely.values();
  const gets = [...loosely.keys()];
  if (open === undefined || input === undefined) return;
  const shown = gets.length > maxShown ? [...gets.slice(0, maxShown), `and ${gets.length - maxShown} more`] : gets;
  const problem = `by route ${open.name}, which is for everybody, service ${route.services.join(", ")} gets ${shown.join(" ")}, and must not take them for ${resource}`;
  yield { route, input, problem, severity: "warning" };
}

/** Whether what is forwarded is what was authorised, for any server behind that decodes once and resolves dots. */
function forwardFault(
  { route, prefixSegments, rewrite }: Found<ProofRoute>,
  path: string,
  target: string,
  routeOf: (path: string) => ProofRoute | undefined,
): string | undefined {
  const after = route.rewritePrefix;
  const isKept = after === undefined && rewrite === undefined;
  if (isKept && target !== path) return `it is authorised as ${path} and forwarded as ${target}`;
  if (after !== undefined) {
    const tail = path.split("/").slice(prefixSegments + 1);
    const expected = [after, ...tail].join("/") || "/";
    if (target !== expected) return `it is authorised as ${path} and forwarded as ${target}, not as ${expected}`;
  }
  for (const reading of readingsOf(target)) {
    if (reading === target) continue;
    if (after !== undefined && reading !== (after || "/") && !reading.startsWith(`${after}/`))
      return `it is forwarded as ${target}, which a server may read as ${reading}, not below ${after}/`;
    const other = isKept ? routeOf(reading) : undefined;
    if (other !== undefined && other !== route && !other.isAnonymous && sharedService(route, other) !== undefined)
      return `it goes by route ${route.name} as ${target}, which a server may read as ${reading}, of route ${other.name}`;
  }
  return undefined;
}

/** What a strict server makes of a path: as it stands, and decoded once with dot segments resolved after that; escaped again. */
function readingsOf(path: string): string[] {
  if (!/%|\/\.|\/\//.test(path)) return [path];
  const decoded = decoding(path);
  return decoded === undefined ? [path] : [path, posix.normalize(decoded).split("/").map(escapeSegment).join("/")];
}

/** What servers make of a path that ignore case, parameters, an extension, and what stands at the end of a segment. */
function looseForm(path: string): string {
  const [head = ""] = (decoding(path) ?? path).split(/[?#\0]/);
  const segments = head
    .toLowerCase()
    .split("/")
    .map((segment) =>
      segment
        .replace(/;.*$/, "")
        .replace(/\.json$/, "")
        .replace(/[. \t\n*~%\u007f]+$/, ""),
    );
  return segments.filter((segment) => segment !== "").join("/");
}

/** Undefined for a path that has no such escapes, which is not canonical: a finding of its own. */
function decoding(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}
