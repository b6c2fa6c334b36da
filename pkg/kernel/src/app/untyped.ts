import { fieldOf } from "../errors/thrown.ts";
import type { AnyNeed } from "./needs.ts";
import { placeOf } from "./place.ts";
import type { ErasedDefinition } from "./provider.ts";
import type { AnyToken } from "./token.ts";
import { importHint, phraseOf } from "./untyped-options.ts";

const tokenKinds: ReadonlySet<unknown> = new Set<AnyToken["kind"]>(["one", "list", "request"]);

/**
 * What the compiler refuses, and code without types, or imported in a circle, still brings: parts that are none, needs that
 * are no tokens. Each is a fault; what is left of a definition can be looked at.
 */
export class UntypedFaults {
  readonly found: string[] = [];

  /** Whether it is a module or a provider of something; `where` names what holds it. */
  isPart(part: unknown, where: string): boolean {
    const kind = fieldOf(part, "kind");
    if (kind === "module" && Array.isArray(fieldOf(part, "parts"))) return true;
    const given = fieldOf(part, "definition");
    if (kind !== "provider" || typeof fieldOf(given, "origin") !== "object") {
      this.found.push(`${where} holds ${phraseOf(part)}, which is neither a module nor a provider; ${importHint}`);
      return false;
    }
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- made by `provider`, whatever it was given
    const definition = given as ErasedDefinition;
    if (isToken(definition.provides)) return true;
    const what = `a provider of ${where} (${placeOf(definition)}) provides ${phraseOf(definition.provides)}`;
    this.found.push(`${what}, which is no token; ${importHint}`);
    return false;
  }

  isExposable(token: unknown): boolean {
    if (isToken(token)) return true;
    this.found.push(`the app's \`expose\` list holds ${phraseOf(token)}, which is no token; ${importHint}`);
    return false;
  }

  /** The definition without those needs that are none. */
  sound(definition: ErasedDefinition, module: string): ErasedDefinition {
    const faulty = Object.entries(definition.needs).flatMap(([name, need]) => {
      const fault = name === "__proto__" ? "no name for a need; take another" : faultOf(need);
      return fault === undefined ? [] : [{ name, fault }];
    });
    if (faulty.length === 0) return definition;
    const who = `"${definition.provides.name}" (module ${module}, ${placeOf(definition)})`;
    for (const { name, fault } of faulty) this.found.push(`${who} needs ${JSON.stringify(name)}, which is ${fault}`);
    const names = new Set(faulty.map(({ name }) => name));
    const needs = Object.fromEntries(Object.entries(definition.needs).filter(([name]) => !names.has(name)));
    return { ...definition, needs };
  }
}

function faultOf(need: unknown): string | undefined {
  const kind = fieldOf(need, "kind");
  if (kind === "optional" || kind === "current") {
    const wanted = fieldOf(need, "token");
    const [expected, made] = kind === "optional" ? ["one", "of"] : ["request", "perRequest"];
    if (fieldOf(wanted, "kind") === expected) return undefined;
    const given = isToken(wanted) ? `a token of another kind, "${wanted.name}"` : phraseOf(wanted);
    return `${kind}(…) of ${given}; it takes a token made with ${made}()`;
  }
  const isNeed = isToken(need) || isSettings(kind === "live" ? fieldOf(need, "settings") : need);
  return isNeed ? undefined : `${phraseOf(need)} and no token; ${importHint}`;
}

function isToken(value: unknown): value is AnyToken {
  return tokenKinds.has(fieldOf(value, "kind")) && typeof fieldOf(value, "name") === "string";
}

function isSettings(value: unknown): boolean {
  return fieldOf(value, "kind") === ("settings" satisfies AnyNeed["kind"]);
}
