import { didYouMean } from "@plinth/kernel";

/** What the templates of a route's headers may name, and nothing else. */
export interface TemplateFacts {
  readonly requestId: string;
  readonly routeName: string;
  readonly clientAddress: string;
  /** Of the caller's token; undefined without one. */
  readonly claims: Readonly<Record<string, unknown>> | undefined;
}

/** Text as it stands, and values to put between. */
export type Template = readonly (string | TemplateValue)[];

type TemplateValue = (facts: TemplateFacts) => string | undefined;

const values: ReadonlyMap<string, TemplateValue> = new Map<string, TemplateValue>([
  ["request.id", ({ requestId }) => requestId],
  ["route.name", ({ routeName }) => routeName],
  ["client.address", ({ clientAddress }) => clientAddress],
]);

const claimName = /^claim\.([A-Za-z0-9_:./-]{1,128})$/;
/** A longer value is refused: it would come close to what servers take as a whole head. */
const maxValueLength = 4_096;

/**
 * Reads a value such as `gateway ${request.id}`.
 * @returns What is wrong, as text, when it cannot be read.
 */
export function parseTemplate(text: string): Template | string {
  if (!/^[\t -~]*$/.test(text)) return "a header's value holds ASCII characters without line breaks";
  const parts: (string | TemplateValue)[] = [];
  let from = 0;
  for (let at = text.indexOf("${"); at >= 0; at = text.indexOf("${", from)) {
    const end = text.indexOf("}", at);
    if (end < 0) return '"${" is not closed';
    const name = text.slice(at + 2, end);
    const value = valueOf(name);
    if (!value) return `there is no \${${name}}${didYouMean(name, [...values.keys(), "claim.sub"])}`;
    if (at > from) parts.push(text.slice(from, at));
    parts.push(value);
    from = end + 1;
  }
  if (from < text.length) parts.push(text.slice(from));
  return parts;
}

/** The claims that a value names. */
export function claimsIn(text: string): string[] {
  return [...text.matchAll(/\$\{claim\.([^}]*)\}/g)].map(([, name = ""]) => name);
}

/**
 * The value of a header. What a header cannot hold beside ASCII, and `%`, comes escaped as in a URL.
 * @returns Undefined when it names a claim that the token lacks; null for what no header may hold.
 */
export function fillTemplate(template: Template, facts: TemplateFacts): string | undefined | null {
  let text = "";
  for (const part of template) {
    const piece = typeof part === "string" ? part : part(facts);
    if (piece === undefined) return undefined;
    text += piece;
  }
  return text.length > maxValueLength || /[^\t -~]/.test(text) ? null : text;
}

function valueOf(name: string): TemplateValue | undefined {
  const [, claim] = claimName.exec(name) ?? [];
  if (claim === undefined) return values.get(name);
  return ({ claims }) => (claims && Object.hasOwn(claims, claim) ? claimText(claims[claim]) : undefined);
}

/** Text, numbers, yes and no, and lists of them; anything else is as good as absent. */
function claimText(claim: unknown): string | undefined {
  if (typeof claim === "string") return escaped(claim);
  if (typeof claim === "number" || typeof claim === "boolean") return String(claim);
  if (!Array.isArray(claim)) return undefined;
  const texts = claim.map((item: unknown) => (Array.isArray(item) ? undefined : claimText(item)));
  return texts.includes(undefined) ? undefined : texts.join(",");
}

/** Control characters stay, for the whole to be refused: nobody has an honest use for them. */
function escaped(text: string): string {
  return text.toWellFormed().replaceAll(/[^\p{Cc} -~]|%/gu, encodeURIComponent);
}
