import { isRecord } from "./data.ts";
import { Secret } from "./secret.ts";

/** Whether two values hold the same. What is neither plain data nor of a kind known here is the same as itself only. */
export function isSame(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, index) => isSame(item, b[index]));
  }
  if (isRecord(a) && isRecord(b)) {
    const keys = Object.keys(a);
    return (
      keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && isSame(a[key], b[key]))
    );
  }
  if (a instanceof Secret && b instanceof Secret) return isSame(a.reveal(), b.reveal());
  if (a instanceof Date && b instanceof Date) return a.getTime() === b.getTime();
  if (a instanceof URL && b instanceof URL) return a.href === b.href;
  return a instanceof RegExp && b instanceof RegExp && String(a) === String(b);
}

/** One side of a comparison: what the sources gave for a section, and what its schema made of it. */
export interface Side {
  readonly given: unknown;
  readonly value: unknown;
}

/**
 * The keys of a section that differ: `levels.http`. A value given now that is what the default was is no difference; for one
 * that its schema makes something incomparable of, what was given decides.
 */
export function changedKeys(section: string, old: Side, next: Side): string[] {
  if (isSame(old.value, next.value)) return [];
  const paths = differences(old.given, next.given, []);
  const real = paths.filter(([first]) => {
    if (first === undefined || !isRecord(old.value) || !isRecord(next.value)) return true;
    const isInBoth = Object.hasOwn(old.value, first) && Object.hasOwn(next.value, first);
    return !isInBoth || !isSame(old.value[first], next.value[first]);
  });
  // when only something that follows from a key differs, the key is what has changed
  return (real.length > 0 ? real : paths).map((path) => [section, ...path].join("."));
}

/** Mappings are looked into; all else differs as a whole. */
function differences(a: unknown, b: unknown, path: readonly string[]): (readonly string[])[] {
  if (isSame(a, b)) return [];
  const [left, right] = [a === undefined ? {} : a, b === undefined ? {} : b];
  if (!isRecord(left) || !isRecord(right)) return [path];
  const keys = new Set([...Object.keys(left), ...Object.keys(right)]);
  return [...keys].flatMap((key) => differences(left[key], right[key], [...path, key]));
}
