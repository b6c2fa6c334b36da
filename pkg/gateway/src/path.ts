/** What a request asks for, in the one form that matching, authorisation, rewriting and forwarding all use. */
export interface Target {
  /** Canonical path: see {@link canonicalPath}. */
  readonly path: string;
  /** The query with its `?`, as it came, or empty. */
  readonly query: string;
  /** Host of an absolute-form target, which must equal the Host header. */
  readonly authority: string | undefined;
}

export interface TargetFault {
  /** Fixed text for the client. */
  readonly fault: string;
}

/** A longer request target is refused. */
export const maxTargetLength = 8_192;

/**
 * Reads the target of a request line: origin-form, or absolute-form with `http` or `https`.
 * @see https://www.rfc-editor.org/rfc/rfc9112#section-3.2
 */
export function parseTarget(target: string): Target | TargetFault {
  let rest = target;
  let authority: string | undefined;
  if (target.charCodeAt(0) !== slash) {
    const absolute = /^https?:\/\/([^/?#\\]*)(.*)$/is.exec(target);
    if (!absolute) return faults.form;
    authority = absolute[1];
    rest = absolute[2]?.startsWith("/") === true ? absolute[2] : `/${absolute[2] ?? ""}`;
  }
  const queryAt = rest.indexOf("?");
  const query = queryAt < 0 ? "" : rest.slice(queryAt);
  if (queryAt >= 0 && /[^!-~]|#/.test(query)) return faults.query;
  const path = canonicalPath(queryAt < 0 ? rest : rest.slice(0, queryAt));
  return typeof path === "string" ? { path, query, authority } : path;
}

/**
 * The one spelling of a path: escapes of unreserved characters decoded, all others in upper case, characters that a URL
 * cannot hold escaped, empty and dot segments resolved. Doing it again changes nothing. An escape is never decoded twice.
 *
 * Refused: what servers are known to read in more than one way. Escaped `/`, `\` and control characters, escapes that are
 * malformed or no UTF-8, `\`, `#`, raw control and non-ASCII characters, and dot segments with a parameter (`/..;/`).
 *
 * @param path - Begins with `/`.
 * @see https://www.rfc-editor.org/rfc/rfc3986#section-6.2.2
 */
export function canonicalPath(path: string): string | TargetFault {
  return isPlain(path) ? path : normalize(path);
}

const slash = 0x2f;
const dot = 0x2e;

/** True for nearly every real request: nothing in it could be spelled otherwise. */
function isPlain(path: string): boolean {
  let before = 0;
  for (let at = 0; at < path.length; at++) {
    const code = path.charCodeAt(at);
    if (plain[code] !== 1) return false;
    if (before === slash && (code === slash || code === dot)) return false;
    before = code;
  }
  return true;
}

/** 1 for each character that stands for itself: letters, digits, and what RFC 3986 allows in a path, but `;`. */
const plain = new Uint8Array(0x1_00_00);
for (const char of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,=:@/") {
  plain[char.charCodeAt(0)] = 1;
}

function normalize(path: string): string | TargetFault {
  if (/[^!-~]/.test(path)) return faults.characters;
  if (path.includes("\\")) return faults.backslash;
  if (path.includes("#")) return faults.fragment;
  if (/%(?![0-9A-Fa-f]{2})/.test(path)) return faults.escape;
  if (/%(?:2f|5c)/i.test(path)) return faults.slash;
  if (/%(?:[01][0-9a-f]|7f)/i.test(path)) return faults.control;
  const unified = path
    .replaceAll(/%[0-9A-Fa-f]{2}/g, unifyEscape)
    .replaceAll(/["<>[\]^`{|}]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
  try {
    decodeURIComponent(unified);
  } catch {
    return faults.utf8; // the only thing that it can complain of here
  }
  if (/\/\.{1,2}(?:;|%3B)/.test(unified)) return faults.dots;
  return resolveSegments(unified);
}

function unifyEscape(escape: string): string {
  const char = String.fromCharCode(Number.parseInt(escape.slice(1), 16));
  return /[A-Za-z0-9._~-]/.test(char) ? char : escape.toUpperCase();
}

function resolveSegments(path: string): string {
  const segments = path.split("/");
  const kept: string[] = [];
  for (const segment of segments) {
    if (segment === "..") kept.pop();
    else if (segment !== "" && segment !== ".") kept.push(segment);
  }
  const last = segments.at(-1);
  const isFolder = last === "" || last === "." || last === "..";
  return `/${kept.join("/")}${isFolder && kept.length > 0 ? "/" : ""}`;
}

const faults = {
  form: { fault: "the request target must be a path or an http URL" },
  query: { fault: "the query has a fragment, or a character that a URL cannot hold" },
  characters: { fault: "the path has a control, space or non-ASCII character" },
  backslash: { fault: "the path has a backslash" },
  fragment: { fault: "the path has a fragment" },
  escape: { fault: "the path has a malformed escape" },
  slash: { fault: "the path has an escaped slash or backslash" },
  control: { fault: "the path has an escaped control character" },
  utf8: { fault: "the escapes in the path are not UTF-8" },
  dots: { fault: "the path has a dot segment with a parameter" },
} as const satisfies Record<string, TargetFault>;
