import { messageOf } from "../errors/app-error.ts";
import { isRecord, valueAt } from "./data.ts";
import type { ConfigFault } from "./errors.ts";
import type { Leaf } from "./leaves.ts";
import { didYouMean } from "./nearest.ts";
import type { Provenance } from "./provenance.ts";
import type { SettingsToken } from "./settings.ts";

export interface Validation {
  /** All keys of all sections. */
  readonly leaves: readonly Leaf[];
  readonly provenance: Provenance;
  /** Keys that have a fault already, for which they are absent. */
  readonly unread: ReadonlySet<string>;
}

/** The value of one section, or what is wrong with it. */
export async function validateSection(
  { section, schema }: SettingsToken,
  given: unknown,
  validation: Validation,
): Promise<{ readonly value: unknown } | { readonly faults: readonly ConfigFault[] }> {
  let issues: readonly Issue[] | undefined;
  try {
    const result = await schema["~standard"].validate(given);
    if (!result.issues) return { value: result.value };
    issues = result.issues;
  } catch (error) {
    issues = [{ message: `the schema itself failed: ${messageOf(error)}` }];
  }
  const secrets = secretsIn(section, given, validation.leaves);
  return { faults: issues.flatMap((issue) => toFaults(section, issue, given, secrets, validation)) };
}

interface Issue {
  readonly message: string;
  readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined;
  readonly keys?: unknown;
}

function toFaults(
  section: string,
  issue: Issue,
  given: unknown,
  secrets: ReadonlySet<string>,
  { leaves, provenance, unread }: Validation,
): ConfigFault[] {
  const path = (issue.path ?? []).map((part) => String(typeof part === "object" ? part.key : part));
  const key = [section, ...path].join(".");
  if (unread.has(key)) return [];
  if (Array.isArray(issue.keys)) {
    // zod's form of unknown keys: one fault for each
    const siblings = leaves
      .filter((leaf) => leaf.key.startsWith(`${key}.`))
      .map((leaf) => leaf.key.slice(key.length + 1).split(".")[0] ?? "");
    return issue.keys.map(String).map((name) => ({
      key: `${key}.${name}`,
      problem: `unknown key${didYouMean(name, siblings, `${key}.`)}`,
      source: provenance.sourceOf(`${key}.${name}`),
    }));
  }
  const value = valueAt(given, path);
  const message = issue.message.replace(/^Invalid input: /, "");
  const isHidden = touchesSecret(key, leaves);
  // some validators put what was given into their message
  const isTelling = [...secrets].some((secret) => (isHidden || secret.length > 3) && message.includes(secret));
  const problem = `${isTelling ? "not as expected" : message}, got ${isHidden ? "***" : show(value)}`;
  return [{ key, problem, source: provenance.sourceOf(key) }];
}

/** Whether a key is a secret, stands inside one, or holds one. */
export function touchesSecret(key: string, leaves: readonly Leaf[]): boolean {
  return leaves.some(
    (leaf) => leaf.isSecret && (leaf.key === key || leaf.key.startsWith(`${key}.`) || key.startsWith(`${leaf.key}.`)),
  );
}

/** A value in a fault: short, and whatever it is. */
export function show(value: unknown): string {
  if (value === undefined) return "nothing";
  return (typeof value === "string" ? JSON.stringify(value.slice(0, 100)) : messageOf(value)).slice(0, 100);
}

/** Every text in the secrets of a section, in all forms that a message may have it in. */
function secretsIn(section: string, given: unknown, leaves: readonly Leaf[]): ReadonlySet<string> {
  const found = new Set<string>();
  const collect = (value: unknown): void => {
    if (typeof value === "string") for (const form of formsOf(value)) found.add(form);
    else if (Array.isArray(value) || isRecord(value)) for (const child of Object.values(value)) collect(child);
  };
  for (const { path, isSecret } of leaves) if (isSecret && path[0] === section) collect(valueAt(given, path.slice(1)));
  // a text where the section should be holds whatever it holds
  if (typeof given === "string") collect(given);
  found.delete("");
  return found;
}

function formsOf(secret: string): string[] {
  const forms = [secret, JSON.stringify(secret).slice(1, -1)];
  if (!URL.canParse(secret)) return forms;
  const { password } = new URL(secret);
  return [...forms, password, decoded(password)];
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // no well-formed escapes: it stands for itself
  }
}
