// docs/config.md, from the JSON Schema of every section of the config that a package declares.
import { globSync } from "node:fs";
import { join, posix } from "node:path";
import { pathToFileURL } from "node:url";
import type { SettingsToken } from "@plinth/kernel";
import { leavesOf } from "../../pkg/kernel/src/config/leaves.ts";
import { type Source, standsAt } from "./sources.ts";
import { code, toTable } from "./tables.ts";

/** What a schema cannot tell about its section. */
const notes: Readonly<Record<string, string>> = {
  http: " A further HTTP server (`httpModuleIn`) has the same keys in a section of its own, and its own default port.",
};

interface Section {
  readonly name: string;
  /** `@plinth/http`. */
  readonly owner: string;
  readonly settings: SettingsToken;
}

export async function configPage(root: string, sources: readonly Source[]): Promise<string> {
  const sections = await readSections(root);
  const unknown = declaredIn(sources).filter(({ name }) => !sections.some((section) => section.name === name));
  if (unknown.length > 0) {
    const what = unknown.map(({ name, place }) => `"${name}" (${place})`).join(", ");
    throw new Error(`settings that no package's index.ts exports, so that docs/config.md cannot have them: ${what}`);
  }
  return `# Config

What can be set, by section. Schema default < code (\`createApp\`'s \`config.defaults\`) < YAML or JSON file (named by \`PLINTH_CONFIG\`) < variable <
\`config.overrides\`. In a file a section is a mapping under its name. A variable that is empty counts as not set; lists are JSON or
comma-separated, maps are JSON. An app has the sections of its modules alone: unknown ones, unknown keys and bad values stop the start, all told at once.

Made from the settings of \`pkg/*\` by \`npm run docs\`; change descriptions there.

${sections.map(toText).join("\n\n")}
`;
}

function toText({ name, owner, settings }: Section): string {
  const heads = ["key", "variable", "type", "range", "default", "meaning"];
  return `## ${name}\n\nOf \`${owner}\`.${notes[name] ?? ""}\n\n${toTable(heads, settingRows(settings))}`;
}

export function settingRows({ section, schema }: SettingsToken): string[][] {
  const libraryOptions = { unrepresentable: "any" };
  const root = schema["~standard"].jsonSchema?.input({ target: "draft-2020-12", libraryOptions });
  return leavesOf(root, section).map(({ path, variable, schema: node, isSecret }) => {
    const preset =
      node.default === undefined
        ? ""
        : code(typeof node.default === "string" ? node.default : JSON.stringify(node.default));
    const type = `${isSecret ? "secret " : ""}${typeOf(node)}`;
    return [code(path.slice(1).join(".")), code(variable), type, rangeOf(node), preset, textOf(node.description)];
  });
}

type Fields = Readonly<Record<string, unknown>>;

function typeOf(node: Fields): string {
  if (Array.isArray(node.enum)) return node.enum.map((choice) => code(String(choice))).join(", ");
  if (node.type === "array") return `list of ${typeOf(fieldsOf(node.items))}`;
  if (node.type === "object") return `map of ${typeOf(fieldsOf(node.additionalProperties))}`;
  const words: Readonly<Record<string, string>> = {
    integer: "whole number",
    number: "number",
    boolean: "boolean",
    string: "text",
  };
  const word = words[textOf(node.type)];
  if (word === undefined) throw new Error(`docs/config.md has no word for the type of ${JSON.stringify(node)}`);
  return word;
}

function rangeOf(node: Fields): string {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, minLength, maxLength, pattern, format } = node;
  const parts = [
    isBound(minimum) && `from ${minimum}`,
    isBound(exclusiveMinimum) && `above ${exclusiveMinimum}`,
    isBound(maximum) && `to ${maximum}`,
    isBound(exclusiveMaximum) && `below ${exclusiveMaximum}`,
    minLength === 1 && "not empty",
    typeof minLength === "number" && minLength > 1 && `${minLength} characters or more`,
    typeof maxLength === "number" && `at most ${maxLength} characters`,
    typeof format === "string" && format.toUpperCase(),
    typeof pattern === "string" && code(pattern),
  ];
  return parts.filter((part) => part !== false).join(" ");
}

/** Whether it limits more than whole numbers are limited by themselves. */
function isBound(limit: unknown): limit is number {
  return typeof limit === "number" && Math.abs(limit) < Number.MAX_SAFE_INTEGER;
}

/** Every settings token that a package exports. */
async function readSections(root: string): Promise<Section[]> {
  const found = new Map<string, Section>();
  for (const file of globSync("pkg/*/src/index.ts", { cwd: root }).toSorted()) {
    const exported: unknown = await import(pathToFileURL(join(root, file)).href);
    const owner = `@plinth/${posix.basename(posix.join(file.replaceAll("\\", "/"), "../.."))}`;
    for (const settings of Object.values(fieldsOf(exported)).filter(isSettings)) {
      found.set(settings.section, { name: settings.section, owner, settings });
    }
  }
  return [...found.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function declaredIn(sources: readonly Source[]): { readonly name: string; readonly place: string }[] {
  return sources.flatMap(({ tokens, placeOf }) =>
    tokens.flatMap(({ kind, value }, index) =>
      kind === "text" && standsAt(tokens, index - 2, "defineSettings", "(")
        ? [{ name: value, place: placeOf(index) }]
        : [],
    ),
  );
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function isSettings(value: unknown): value is SettingsToken {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === "settings";
}

function fieldsOf(value: unknown): Fields {
  return typeof value === "object" && value !== null ? Object.fromEntries(Object.entries(value)) : {};
}
