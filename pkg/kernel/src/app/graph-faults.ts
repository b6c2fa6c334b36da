import { didYouMean } from "../config/nearest.ts";
import { type Catalog, type Draft, describe, tokenOf } from "./catalog.ts";
import type { AnyNeed } from "./needs.ts";
import type { AnyToken } from "./token.ts";

/** Faults of the catalog that stand before any order is sought: things without a type, overrides of nothing, duplicates, missing providers, scope leaks. */
export function faultsOf(catalog: Catalog): string[] {
  return [
    ...catalog.faults,
    ...overrideFaults(catalog),
    ...duplicateFaults(catalog),
    ...catalog.drafts.flatMap((draft) => [
      ...missingFaults(catalog, Object.values(draft.definition.needs), () => describe(draft), draft.home),
      ...scopeFaults(draft),
    ]),
    ...missingFaults(catalog, catalog.exposed, () => "the app's `expose` list", undefined),
  ];
}

/** The token that a need asks for; none where the config gives it. */
export function wantedToken(need: AnyNeed): AnyToken | undefined {
  if (need.kind === "settings" || need.kind === "live") return undefined;
  return need.kind === "optional" || need.kind === "current" ? need.token : need;
}

function overrideFaults({ byToken, overrides }: Catalog): string[] {
  const faults: string[] = [];
  const replacing = overrides.map(({ definition }) => ({ definition, module: "overrides", home: undefined }));
  for (const [token, twins] of Map.groupBy(replacing, tokenOf)) {
    if (twins.length > 1 && token.kind !== "list") {
      faults.push(`"${token.name}" is overridden twice: ${twins.map(describe).join(" and ")}; keep one`);
    }
    const isLeft = byToken.get(token)?.some(({ home }) => home !== undefined);
    if (isLeft) continue;
    const others = new Map([...byToken].filter(([other]) => other !== token));
    const hint = twinOf(token, others) ?? `${nearName(token, others)}; leave it out or add the module it belongs to`;
    faults.push(`the override of "${token.name}" replaces nothing${hint}`);
  }
  return faults;
}

function duplicateFaults({ byToken }: Catalog): string[] {
  const faults: string[] = [];
  for (const [token, found] of byToken) {
    if (token.kind === "list") continue;
    // a private one beside a public one is no duplicate: its own module sees it alone
    const rivals = Map.groupBy(found, ({ definition, home }) => (definition.private ? home : undefined));
    for (const twins of rivals.values()) {
      if (twins.length === 1 || twins.every(({ module }) => module === "overrides")) continue;
      faults.push(`"${token.name}" is provided ${twins.length} times: ${twins.map(describe).join(" and ")}; keep one`);
    }
  }
  for (const [name, tokens] of Map.groupBy(byToken.keys(), (token) => token.name)) {
    if (tokens.length === 1) continue;
    const providers = tokens.flatMap((token) => byToken.get(token)?.slice(0, 1) ?? []);
    faults.push(
      `${tokens.length} different tokens are named "${name}": of ${providers.map(describe).join(" and ")}; rename one`,
    );
  }
  return faults;
}

function missingFaults(catalog: Catalog, needs: readonly AnyNeed[], who: () => string, home: Draft["home"]): string[] {
  const faults: string[] = [];
  for (const need of needs) {
    const token = wantedToken(need);
    if (!token || catalog.find(token, home).length > 0) continue;
    const twin = twinOf(token, catalog.byToken);
    // nobody has to add to a list, nor to provide what is optional
    if (twin === undefined && (token.kind === "list" || need.kind === "optional")) continue;
    const hint =
      hiddenOf(token, catalog) ?? twin ?? `${nearName(token, catalog.byToken)}; add the module that provides it`;
    faults.push(`nothing provides "${token.name}", needed by ${who()}${hint}`);
  }
  return faults;
}

/** The compiler has refused these; untyped code, and casts, come here. */
function scopeFaults(draft: Draft): string[] {
  const { hooks, ground } = draft.definition;
  if (tokenOf(draft).kind === "request") {
    const hasMore = ground || (hooks.start ?? hooks.join ?? hooks.leave ?? hooks.drain) !== undefined;
    return hasMore ? [`${describe(draft)} lives for one request, and has no other hooks than create and stop`] : [];
  }
  return Object.values(draft.definition.needs)
    .filter((need) => need.kind === "request")
    .map(
      ({ name }) =>
        `${describe(draft)} lives as long as the app and needs "${name}", which lives for one request; need current(token) instead`,
    );
}

function hiddenOf(token: AnyToken, { byToken }: Catalog): string | undefined {
  const [hidden] = byToken.get(token) ?? [];
  return (
    hidden && `; ${describe(hidden)} is private to its module: make it public, or need something public of that module`
  );
}

/** The usual reason why a token is unknown although its name is not: it was made a second time. */
function twinOf(token: AnyToken, byToken: Catalog["byToken"]): string | undefined {
  for (const [other, [provider]] of byToken) {
    if (other !== token && other.name === token.name && provider)
      return `; ${describe(provider)} provides another token of that name: import that one`;
  }
  return undefined;
}

function nearName(token: AnyToken, byToken: Catalog["byToken"]): string {
  return didYouMean(
    token.name,
    [...byToken.keys()].map(({ name }) => name),
  );
}
