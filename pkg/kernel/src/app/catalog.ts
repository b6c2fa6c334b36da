import type { Module } from "./module.ts";
import { placeOf } from "./place.ts";
import type { ErasedDefinition, Provider } from "./provider.ts";
import type { AnyToken } from "./token.ts";
import { UntypedFaults } from "./untyped.ts";

/** One provider as a module has made it known. */
export interface Draft {
  readonly definition: ErasedDefinition;
  /** Name of the module that holds it, or `overrides`. */
  readonly module: string;
  /** The module whose private providers it sees, beside those of the modules around that one. */
  readonly home: Module | undefined;
}

type CatalogParts = Pick<Catalog, "drafts" | "exposed" | "overrides" | "faults"> & {
  readonly parents: ReadonlyMap<Module, ReadonlySet<Module>>;
};

/** All providers of an app, and who sees which. */
export class Catalog {
  readonly drafts: readonly Draft[];
  readonly byToken: ReadonlyMap<AnyToken, readonly Draft[]>;
  /** Tokens to build although nothing needs them. */
  readonly exposed: readonly AnyToken[];
  readonly overrides: readonly Provider[];
  /** Of what is no module, provider or token, and was left out. */
  readonly faults: readonly string[];
  readonly #parents: ReadonlyMap<Module, ReadonlySet<Module>>;

  constructor({ drafts, exposed, overrides, faults, parents }: CatalogParts) {
    this.drafts = drafts;
    this.exposed = exposed;
    this.overrides = overrides;
    this.faults = faults;
    this.#parents = parents;
    this.byToken = Map.groupBy(drafts, tokenOf);
  }

  /** Who provides `token` for something in `home`: of private ones the nearest, else the public ones. */
  find(token: AnyToken, home: Module | undefined): readonly Draft[] {
    const found = this.byToken.get(token) ?? [];
    if (!found.some(({ definition }) => definition.private)) return found;
    const around = home ? this.#around(home) : [];
    const isPublic = ({ definition }: Draft): boolean => !definition.private;
    if (token.kind === "list") {
      return found.filter((draft) => isPublic(draft) || (draft.home && around.includes(draft.home)));
    }
    for (const module of around) {
      const own = found.filter((draft) => draft.definition.private && draft.home === module);
      if (own.length > 0) return own;
    }
    return found.filter(isPublic);
  }

  /** A module and those around it, the nearest first. */
  #around(home: Module): Module[] {
    const found = new Set([home]);
    for (const module of found) for (const parent of this.#parents.get(module) ?? []) found.add(parent);
    return [...found];
  }
}

/** What the modules hold, in their order, each part once; then what overrides put in the place of some of it. */
export function readModules(
  modules: readonly Module[],
  exposed: readonly AnyToken[],
  overrides: readonly Provider[],
): Catalog {
  const seen = new Set<Module | Provider>();
  const parents = new Map<Module, Set<Module>>();
  const drafts: Draft[] = [];
  const untyped = new UntypedFaults();
  const add = (part: Module | Provider, around: Module | undefined): void => {
    if (!untyped.isPart(part, around ? `module ${around.name}` : "the app's `modules` list")) return;
    if (part.kind === "module" && around) parents.set(part, (parents.get(part) ?? new Set()).add(around));
    if (seen.has(part)) return; // two modules may bring the same third one
    seen.add(part);
    if (part.kind === "module") {
      for (const inner of part.parts) add(inner, part);
    } else {
      const module = around?.name ?? "";
      drafts.push({ definition: untyped.sound(part.definition, module), module, home: around });
    }
  };
  for (const module of modules) add(module, undefined);
  const soundOverrides = overrides
    .filter((override) => untyped.isPart(override, "the app's `overrides` list"))
    .map((override) => ({ ...override, definition: untyped.sound(override.definition, "overrides") }));
  return new Catalog({
    drafts: replace(drafts, soundOverrides),
    exposed: exposed.filter((token) => untyped.isExposable(token)),
    overrides: soundOverrides,
    faults: untyped.found,
    parents,
  });
}

function replace(drafts: readonly Draft[], overrides: readonly Provider[]): Draft[] {
  const byToken = Map.groupBy(drafts, tokenOf);
  const replaced = new Set(overrides.map(({ definition }) => definition.provides));
  const replacing = overrides.flatMap(({ definition }) => {
    const found = byToken.get(definition.provides) ?? [];
    // an override is seen by whoever saw what it replaces, and sees the same
    const places = definition.provides.kind === "list" ? found.slice(0, 1) : found;
    if (places.length === 0) return [{ definition, module: "overrides", home: undefined }];
    return places.map(({ home, definition: { private: isPrivate } }) => {
      return { definition: { ...definition, private: isPrivate }, module: "overrides", home };
    });
  });
  return [...drafts.filter((draft) => !replaced.has(tokenOf(draft))), ...replacing];
}

export function tokenOf({ definition }: Pick<Draft, "definition">): AnyToken {
  return definition.provides;
}

/** `"notes" (module notes, src/notes.ts:12)` */
export function describe({ definition, module }: Pick<Draft, "definition" | "module">): string {
  return `"${definition.provides.name}" (module ${module}, ${placeOf(definition)})`;
}
