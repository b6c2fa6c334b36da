import type { ConfigFault } from "@plinth/kernel";
import { faultAt, type Places } from "../config/faults.ts";
import { matchersOf } from "../config/schema-routing.ts";
import type { ParsedDocument } from "../config/schema.ts";
import { createRouteTable } from "../router/route-table.ts";
import { type Proof, type ProofOptions, prove } from "./prove.ts";
import type { Finding, ProofRoute } from "./stages.ts";

/** Puts the routes of a document that has no other fault through the stages of the gateway: see {@link prove}. */
export function proveDocument(document: ParsedDocument, options: ProofOptions = {}): Proof {
  const routes = document.routes.map((config, index): ProofRoute => {
    const { name, service, backends = [], anonymous, rewrite } = config;
    const services = backends.length === 0 ? [service] : backends.map((backend) => backend.service ?? service);
    const rewritePrefix = rewrite?.prefix?.replace(/\/$/, "");
    const matchers = matchersOf(config, () => undefined);
    return {
      index,
      name,
      services,
      isAnonymous: anonymous === true,
      rewritePrefix,
      hostHeader: rewrite?.host,
      matchers,
    };
  });
  const entries = routes.flatMap((route) => route.matchers.map((matcher) => ({ ...matcher, route })));
  const { table } = createRouteTable(entries, document);
  return prove(routes, (...request) => table.find(...request), options);
}

/** So many of one route are told; the rest is likely to be of the same cause. */
const maxOfRoute = 3;

/** Findings with the lines of their routes. */
export function toFaults(findings: readonly Finding[], places: Places): ConfigFault[] {
  const told = new Map<number, number>();
  return findings.flatMap(({ route: { index }, input, problem }) => {
    const count = (told.get(index) ?? 0) + 1;
    told.set(index, count);
    if (count > maxOfRoute) return [];
    return [
      faultAt(["routes", index, "match", "path"], problem.includes(input) ? problem : `${input}: ${problem}`, places),
    ];
  });
}

/** So many inputs are tried before a document is taken: all of some 150 routes, in some 50 ms. `plinth gateway check` tries them all. */
const maxInputsAtStart = 20_000;

/** What speaks against taking a document that has no other fault. */
export function proofFaults(document: ParsedDocument, places: Places): ConfigFault[] {
  const { findings } = proveDocument(document, { maxInputs: maxInputsAtStart });
  return toFaults(
    findings.filter(({ severity }) => severity === "fault"),
    places,
  );
}
