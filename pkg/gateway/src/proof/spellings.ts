/**
 * Other ways to write a path, each of which has got a request around the rules of some gateway: escaped, dotted, doubled, in another
 * case, with a suffix. What is right for each is to be refused, to be the same path, or to be another path at every stage.
 *
 * @param path - Canonical, without a slash at its end.
 * @param host - For targets in absolute form.
 */
export function spellingsOf(path: string, host: string): string[] {
  const rest = path.slice(1);
  const up = aside(path);
  return [
    path,
    path.toUpperCase(),
    ...suffixes.map((suffix) => path + suffix),
    ...prefixes.map((prefix) => prefix + path),
    ...dotted.map((dots) => `/up${dots}${rest}`),
    ...up,
    ...escapedLetters(path),
    path.replaceAll("/", "//"),
    path.replaceAll("/", "/./"),
    `/${rest.replaceAll("/", "%2f")}`,
    `/${rest.replaceAll("/", "%252F")}`,
    `/${rest.replaceAll("/", "\\")}`,
    `/${rest.replaceAll("/", "%5c")}`,
    `http://${host}${path}`,
    `http://${host}/${path}`,
    `HTTP://${host}/up/..${path}`,
  ];
}

/** Ways from below one path to another: through the dot segments that one stage may resolve and the next may not. */
export function waysFrom(below: string, to: string): string[] {
  const up = "/..".repeat(below.split("/").length - 1);
  const escaped = up.replaceAll(".", "%2e");
  return [
    `${below}${up}${to}`,
    `${below}${escaped}${to}`,
    `${below}${up.replaceAll("/", "%2f")}${to}`,
    `${below}${up.replaceAll("..", "..;")}${to}`,
    `${below}${up.replaceAll("/", "\\")}${to}`,
    `${below}..${to}`,
    `${below}%2e%2e${to}`,
    `${below}/.%2e${up.slice(3)}${to}`,
    `${below}/%252e%252e${to}`,
  ];
}

const suffixes = [
  "/ // /. /.. /../ /./ /%2e /%2e%2e/up /..%2fup /..;/up /.;/up /../up",
  "; ;x=1 %3b %3Bx=1 %00 %09 %0a %20 %7f . %2e .. .json ~ *",
  "% %zz %u002f %2 ?x ?/../up %3f %3Fx #x %23 \\ %5c %2f %252f %25",
  "%ff %c0%af %c0%ae%c0%ae %ed%a0%80 %EF%BC%8F \u00e9 %C3%A9",
].flatMap((line) => line.split(" "));

const prefixes = [
  "/",
  "//",
  "/.",
  "/%2e",
  "/..",
  "/%2e%2e",
  "/up/..",
  "/up/%2E%2e",
  "/up/./..",
  "/up/.;/..",
  "/%20/..",
];

const dotted = [
  "/..%2f",
  "/%2e%2e%2f",
  "/..;/",
  "/..;x/",
  "\\..\\",
  "/..\\",
  "/..%5c",
  "/%252e%252e/",
  "/..%252f",
  "%2f..%2f",
];

/** Dots behind a segment in the middle: what is cut off before them may leave a dot segment. */
function aside(path: string): string[] {
  const at = path.lastIndexOf("/");
  if (at <= 0) return [];
  const [above, last] = [path.slice(0, at), path.slice(at)];
  return [`${above}..${last}`, `${above}%2e%2e${last}`, `${above};x${last}`, `${above}/..;${last}`, `${above}.${last}`];
}

/** The first letter of each segment, all letters, and an escape of an escape, which must not be decoded twice. */
function escapedLetters(path: string): string[] {
  const first = path.replaceAll(/(?<=\/)[A-Za-z0-9]/g, toEscape);
  if (first === path) return [];
  return [
    first,
    path.replaceAll(/[A-Za-z0-9]/g, toEscape),
    path.replaceAll(/[A-Za-z0-9]/g, (char) => toEscape(char).toLowerCase()),
    first.replaceAll("%", "%25"),
  ];
}

/** A segment that stands for itself in a canonical path. */
export function escapeSegment(decoded: string): string {
  return encodeURIComponent(decoded).replaceAll(/%(?:24|26|2B|2C|3A|3D|40)/g, decodeURIComponent);
}

function toEscape(char: string): string {
  return `%${char.charCodeAt(0).toString(16).toUpperCase()}`;
}
