/** Of a message so much is kept, in UTF-16 code units. */
const maxMessageLength = 16_384;
const maxKeys = 10;

/** The text of anything thrown; never empty, never huge, and never throws itself, whatever traps and getters the value has. */
export function messageOf(thrown: unknown): string {
  try {
    return cut(textOf(thrown));
  } catch {
    return "a thrown value that cannot be read";
  }
}

function textOf(thrown: unknown): string {
  if ((typeof thrown !== "object" && typeof thrown !== "function") || thrown === null) return String(thrown) || '""';
  if (!("message" in thrown)) return describe(thrown);
  return String(thrown.message) || standInFor(thrown);
}

function cut(text: string): string {
  if (text.length <= maxMessageLength) return text;
  return `${text.slice(0, maxMessageLength)}… (${text.length} characters)`;
}

/** What was thrown and is no error: of an object only the keys, for its values may be secret. */
function describe(thrown: object): string {
  if (typeof thrown === "function") return "a function that is no error";
  if (Array.isArray(thrown)) return `a list that is no error, of ${thrown.length}`;
  if (ArrayBuffer.isView(thrown)) return `${thrown.byteLength} bytes that are no error`;
  const keys = Object.keys(thrown);
  const count = keys.length === 1 ? "1 key" : `${keys.length} keys`;
  const more = keys.length > maxKeys ? ", …" : "";
  return `an object that is no error, with ${count}: ${keys.slice(0, maxKeys).join(", ")}${more}`;
}

/** For an error without a message, as a refused connection to a name with two addresses is: its errors, or code and name. */
function standInFor(thrown: object): string {
  const { name, code, errors }: { name?: unknown; code?: unknown; errors?: unknown } = thrown;
  const inner = Array.isArray(errors)
    ? errors.slice(0, 3).map((error: unknown) => (isError(error) ? error.message : ""))
    : [];
  return (
    inner.filter(Boolean).join("; ") ||
    [name, code].filter(Boolean).map(String).join(" ") ||
    "an error without a message"
  );
}

/** Also for errors of another realm or another copy of this package, which look like one. */
export function isError(value: unknown): value is Error {
  try {
    if (Error.isError(value) || value instanceof Error) return true;
    if (typeof value !== "object" || value === null || !("stack" in value) || !("message" in value)) return false;
    return typeof value.stack === "string" && typeof value.message === "string";
  } catch {
    return false; // a proxy whose traps throw
  }
}

/** `thrown[key]`; undefined where there is none, or a getter or a trap that throws. */
export function fieldOf(thrown: unknown, key: string): unknown {
  try {
    return typeof thrown === "object" && thrown !== null ? Reflect.get(thrown, key) : undefined;
  } catch {
    return undefined;
  }
}
