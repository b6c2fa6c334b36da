/** Names of the directives in a Cache-Control field, in lower case and without what they are given. RFC 9111, 5.2. */
export function cacheDirectives(field: string | undefined): ReadonlySet<string> {
  if (field === undefined) return none;
  return new Set(field.split(",").map((item) => item.split("=", 1)[0]?.trim().toLowerCase() ?? ""));
}

const none: ReadonlySet<string> = new Set();
