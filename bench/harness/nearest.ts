import { nearest } from "@plinth/kernel";

/** The names that a mistyped or shortened one may have meant: those that contain it, then the closest in spelling. */
export function nearestNames(typed: string, names: readonly string[]): readonly string[] {
  const containing = typed === "" ? [] : names.filter((name) => name.includes(typed));
  const closest = nearest(typed, names);
  return [...new Set(closest === undefined ? containing : [...containing, closest])];
}
