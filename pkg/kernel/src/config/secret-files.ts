import { messageOf } from "../errors/app-error.ts";
import { isRecord } from "./data.ts";
import type { Declared } from "./declared.ts";
import type { Merged } from "./merge.ts";
import { type FileState, readTextFile, UnreadableFile } from "./read-text.ts";
import { isSchema, type JsonSchema, optionsOf } from "./schema.ts";

const marker = "file:";
const maxSecretBytes = 64 * 1024;

/**
 * Puts the content of a file in the place of every secret that says `file:/run/secrets/name`, without the line break at its end.
 * What is no secret keeps such a text as it is.
 *
 * @returns the keys whose file could not be read.
 */
export function readSecretFiles(merged: Merged, declared: Declared, files: Map<string, FileState>): Set<string> {
  const unread = new Set<string>();
  const resolve = (text: string, key: string): string => {
    const path = text.slice(text.startsWith(`${marker}//`) ? marker.length + 2 : marker.length);
    const { provenance } = merged;
    try {
      const { text: content, state } = readTextFile(path, maxSecretBytes);
      files.set(path, state);
      provenance.rename(key, (source) => `${source}, file ${path}`);
      return content.replace(/\r?\n$/, "");
    } catch (error) {
      if (error instanceof UnreadableFile) files.set(path, error.state);
      const problem = `the file of this secret, ${path}, cannot be read: ${messageOf(error)}`;
      merged.faults.push({ key, problem, source: provenance.sourceOf(key) });
      unread.add(key);
      return text;
    }
  };
  for (const section of declared.sections.keys()) {
    if (!namesFile(merged.data[section])) continue;
    const schema = declared.schemaOf(section, merged.faults);
    if (schema) new Walk(schema, resolve).into(merged.data, section, [schema], section, false);
  }
  return unread;
}

/** Whether a text somewhere in a value looks like the name of a secret's file. */
function namesFile(value: unknown): boolean {
  if (typeof value === "string") return value.startsWith(marker);
  return (Array.isArray(value) || isRecord(value)) && Object.values(value).some(namesFile);
}

/** Through a value and its schema at once: only the schema knows what is secret. */
class Walk {
  readonly #root: JsonSchema;
  readonly #resolve: (text: string, key: string) => string;

  constructor(root: JsonSchema, resolve: (text: string, key: string) => string) {
    this.#root = root;
    this.#resolve = resolve;
  }

  into(holder: object, name: string, given: readonly unknown[], key: string, around: boolean): void {
    const value: unknown = Reflect.get(holder, name);
    const options = given.flatMap((schema) => [schema, ...optionsOf(schema, this.#root)]).filter(isSchema);
    const isSecret = around || options.some((option) => option.writeOnly === true);
    if (typeof value === "string") {
      if (isSecret && value.startsWith(marker)) Reflect.set(holder, name, this.#resolve(value, key));
    } else if (Array.isArray(value) || isRecord(value)) {
      for (const child of Object.keys(value)) {
        const schemas = options.flatMap((option) => inside(option, child, Array.isArray(value)));
        this.into(value, child, schemas, `${key}.${child}`, isSecret);
      }
    }
  }
}

/** What a schema says of one item or field of a value. */
function inside(
  { items, prefixItems, properties, additionalProperties }: JsonSchema,
  name: string,
  isList: boolean,
): unknown[] {
  if (isList) {
    const own: unknown = Array.isArray(prefixItems) ? prefixItems[Number(name)] : undefined;
    return [own ?? items];
  }
  const own = isSchema(properties) && Object.hasOwn(properties, name) ? properties[name] : undefined;
  return [own ?? additionalProperties];
}
