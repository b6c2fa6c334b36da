import { OptionError } from "@plinth/kernel";

/** Where a key, or all that begin with it, is found. */
export function pathOfKey(key: string): string {
  return `/v1/kv/${key.split("/").map(encodeURIComponent).join("/")}`;
}

/**
 * Refuses a key that the agent would take for another one: it cleans paths as a browser does.
 * @throws {@link OptionError} `ERR_OPTION_RANGE`, its message beginning with `name`.
 */
export function requireKey(name: "key" | "prefix", key: string): void {
  const why = faultOf(key);
  if (why === undefined) return;
  throw new OptionError(
    "ERR_OPTION_RANGE",
    "invalid_argument",
    `${name} must be the name of something in Consul's store, as config/notes; ${JSON.stringify(key)} ${why}`,
  );
}

function faultOf(key: string): string | undefined {
  if (key === "") return "is empty";
  if (!key.isWellFormed()) return "is no valid text";
  const parts = key.split("/");
  if (parts[0] === "") return "begins with a slash";
  if (parts.slice(0, -1).includes("")) return "has an empty part";
  return parts.some((part) => part === "." || part === "..") ? "has a part that is . or .." : undefined;
}
