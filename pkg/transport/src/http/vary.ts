/** The value of Vary with one more header in it, unless it is there. */
export function varyWith(given: unknown, name: string): string {
  const list = Array.isArray(given) ? given.join(", ") : typeof given === "string" ? given : "";
  const names = list.toLowerCase().split(/[ \t]*,[ \t]*/);
  if (names.includes("*") || names.includes(name)) return list;
  return list === "" ? name : `${list}, ${name}`;
}
