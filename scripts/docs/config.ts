// docs/config.md and docs/config.schema.json, from the JSON Schema of every section of the config that a package declares.
import { globSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { configSchema, type SettingsToken } from "@plinth/kernel";
import { leavesOf } from "../../pkg/kernel/src/config/leaves.ts";
import { isReloadable } from "../../pkg/kernel/src/config/settings.ts";
import { boundsOf } from "./bounds.ts";
import { type Source, standsAt } from "./sources.ts";
import { code, toTable } from "./tables.ts";
import { fieldsOf } from "../fields.ts";

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
    throw new Error(
      `settings that no entry point of a package exports, so that docs/config.md cannot have them: ${what}`,
    );
  }
  return `# Config

What can be set, by section. An app has the sections of its modules alone. Unknown ones, unknown keys and bad values stop the start, all told at once, each
with its key, where it stands, what was expected and what was given.

## Sources

What stands later wins, value by value; lists are replaced whole.

| from | how |
| --- | --- |
| schema | the defaults below |
| code | \`createApp\`'s \`config.defaults\` |
| file | YAML or JSON, a mapping of sections: \`config.file\`, else \`--config FILE\`, else \`PLINTH_CONFIG\` |
| profile | a second file beside it, \`config.production.yaml\` beside \`config.yaml\`: \`config.profile\`, else \`--profile NAME\`, else \`PLINTH_PROFILE\`. It must exist |
| remote | \`config.sources\`, such as Consul's key-value store; later ones win |
| variable | an empty one counts as not set; lists are JSON or comma-separated, maps are JSON |
| command line | \`config.arguments\`: \`--http.port=8080\`, \`--http.port 8080\`, and a bare \`--http.accessLog\` for true; read as variables are |
| overrides | \`config.overrides\`, for tests and embedding |

A variable that begins as those of a section of the app do, and is none of its keys, is a fault; those of other sections are not looked at. Kubernetes sets
variables for each service of a namespace: \`PLINTH_HTTP_SERVICE_HOST\` and the like are passed over, but a service named \`plinth-http\` also sets
\`PLINTH_HTTP_PORT=tcp://…\`, which is a fault. Set \`enableServiceLinks: false\` in the pod's spec.

A **secret** may name a file that holds it: \`PLINTH_DATABASE_URL=file:/run/secrets/database-url\`, from any source. It is UTF-8 of at most 64 KiB; one
line break at its end is dropped. No fault, log line or explanation shows a secret.

An editor knows all keys with [config.schema.json](config.schema.json): \`# yaml-language-server: $schema=…\` as first line, or \`"$schema": "…"\` in JSON.

## Changes at run time

A reload reads all sources anew and validates them as a whole. It takes effect at once, or, on any fault, not at all. Only keys marked "yes" below may change; a
reload that would change another one is refused and names it (\`ERR_CONFIG_FIXED\`). Watched files, those of secrets included, are believed once two looks in a
row have found the same.

Made from the settings of \`pkg/*\` by \`npm run docs\`; change descriptions there.

${sections.map(toText).join("\n\n")}
`;
}

/** For editors: one JSON Schema of all sections that a package declares. */
export async function configSchemaFile(root: string): Promise<string> {
  const sections = await readSections(root);
  return `${JSON.stringify(configSchema(sections.map(({ settings }) => settings)), null, 2)}\n`;
}

function toText({ name, owner, settings }: Section): string {
  const heads = ["key", "variable", "type", "range", "default", "at run time", "meaning"];
  return `## ${name}\n\nOf \`${owner}\`.${notes[name] ?? ""}\n\n${toTable(heads, settingRows(settings))}`;
}

export function settingRows(settings: SettingsToken): string[][] {
  const { section, schema } = settings;
  const libraryOptions = { unrepresentable: "any" };
  const root = schema["~standard"].jsonSchema?.input({ target: "draft-2020-12", libraryOptions });
  return leavesOf(root, section).map(({ path, variable, schema: node, isSecret }) => {
    const preset =
      node.default === undefined
        ? ""
        : code(typeof node.default === "string" ? node.default : JSON.stringify(node.default));
    const type = `${isSecret ? "secret " : ""}${typeOf(node)}`;
    return [
      code(path.slice(1).join(".")),
      code(variable),
      type,
      rangeOf(node),
      preset,
      isReloadable(settings, path[1]) ? "yes" : "",
      textOf(node.description),
    ];
  });
}

type Fields = Readonly<Record<string, unknown>>;

function typeOf(node: Fields): string {
  if (Array.isArray(node.enum)) return node.enum.map((choice) => code(String(choice))).join(", ");
  if (Array.isArray(node.anyOf)) return node.anyOf.map((choice) => typeOf(fieldsOf(choice))).join("; or ");
  if (node.type === "array") return `list of ${typeOf(fieldsOf(node.items))}`;
  if (node.properties !== undefined) return `object of ${Object.keys(fieldsOf(node.properties)).map(code).join(", ")}`;
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
  const { minLength, maxLength, pattern, format } = node;
  const parts = [
    ...boundsOf(node),
    minLength === 1 && "not empty",
    typeof minLength === "number" && minLength > 1 && `${minLength} characters or more`,
    typeof maxLength === "number" && `at most ${maxLength} characters`,
    typeof format === "string" && format.toUpperCase(),
    typeof pattern === "string" && code(pattern),
  ];
  return parts.filter((part) => part !== false).join(" ");
}

/** Every settings token that a package exports. */
async function readSections(root: string): Promise<Section[]> {
  const found = new Map<string, Section>();
  for (const file of globSync(["pkg/*/src/index.ts", "pkg/*/src/jwt/index.ts"], { cwd: root }).toSorted()) {
    const exported: unknown = await import(pathToFileURL(join(root, file)).href);
    const owner = `@plinth/${file.replaceAll("\\", "/").split("/", 2)[1]}`;
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
