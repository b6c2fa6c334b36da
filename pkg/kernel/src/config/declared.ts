import { messageOf } from "../errors/app-error.ts";
import { forbiddenKeys } from "./data.ts";
import type { ConfigFault } from "./errors.ts";
import { type Leaf, leavesOf, variableName, variablePrefix } from "./leaves.ts";
import type { JsonSchema } from "./schema.ts";
import type { SettingsToken } from "./settings.ts";
import { zodLeavesOf } from "./zod-leaves.ts";

/** What the sections of an app can hold, read from their schemas once. */
export interface Declared {
  readonly sections: ReadonlyMap<string, SettingsToken>;
  /** JSON Schema of a section, made when it is asked for; a fault and `undefined` for a schema that cannot tell its own. */
  readonly schemaOf: (section: string, faults: ConfigFault[]) => JsonSchema | undefined;
  readonly leaves: readonly Leaf[];
  /** Mistakes in the code of the app, which no config can mend. */
  readonly faults: readonly ConfigFault[];
}

/** Variables that say where the config is, not what stands in it. */
export const fileVariable = `${variablePrefix}CONFIG`;
export const profileVariable = `${variablePrefix}PROFILE`;

/** Reads the schemas of all sections; never throws, faults are part of the result. */
export function declare(sections: Iterable<SettingsToken>): Declared {
  const faults: ConfigFault[] = [];
  const bySection = uniqueSections(sections, faults);
  const schemas = new Map<string, JsonSchema | undefined>();
  const schemaOf: Declared["schemaOf"] = (section, into) => {
    const settings = bySection.get(section);
    if (!settings || schemas.has(section)) return schemas.get(section);
    const schema = jsonSchemaOf(settings, into);
    // a fault of the declaration itself is told each time, by that
    if (schema || into === faults) schemas.set(section, schema);
    return schema;
  };
  const leaves = [...bySection].flatMap(
    ([section, { schema }]) => zodLeavesOf(schema, section) ?? leavesOf(schemaOf(section, faults), section),
  );
  const owners = new Map([fileVariable, profileVariable].map((variable) => [variable, "the place of the config"]));
  for (const { key, variable } of leaves) {
    const owner = owners.get(variable);
    if (owner !== undefined) {
      faults.push({ key, problem: `its variable ${variable} is that of ${owner} as well; rename it`, source: "code" });
    }
    owners.set(variable, key);
  }
  return { sections: bySection, schemaOf, leaves, faults };
}

/** The prefix of a section's variables: `PLINTH_HTTP_`. */
export function sectionPrefix(section: string): string {
  return `${variableName([section])}_`;
}

function uniqueSections(sections: Iterable<SettingsToken>, faults: ConfigFault[]): Map<string, SettingsToken> {
  const result = new Map<string, SettingsToken>();
  for (const settings of sections) {
    const { section } = settings;
    const twin = result.get(section);
    if (twin && twin !== settings) {
      faults.push({ key: section, problem: "two modules declare this section", source: "code" });
    }
    if (forbiddenKeys.has(section)) {
      faults.push({ key: section, problem: "this name is never allowed", source: "code" });
    }
    result.set(section, settings);
  }
  return result;
}

function jsonSchemaOf({ section, schema }: SettingsToken, faults: ConfigFault[]): JsonSchema | undefined {
  try {
    // zod's words for: a type that JSON does not know, a date or a class, is no reason to fail
    const libraryOptions = { unrepresentable: "any" };
    return schema["~standard"].jsonSchema?.input({ target: "draft-2020-12", libraryOptions });
  } catch (error) {
    faults.push({ key: section, problem: `its schema has no JSON Schema: ${messageOf(error)}`, source: "code" });
    return undefined;
  }
}
