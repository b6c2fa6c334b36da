/**
 * Does needs before users, depth first over a list of its own: a long chain must not use up the stack.
 *
 * @param missingOf - What must be done before `each`, and is not yet.
 * @param finish - Called once nothing is missing; from then on `missingOf` must not name `each`. Something that is met on two ways is
 *   finished on the first, and comes again on the second.
 */
export function needsFirst<T>(root: T, missingOf: (each: T) => readonly T[], finish: (each: T) => void): void {
  const path = [root];
  for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
    const missing = missingOf(top);
    if (missing.length > 0) path.push(...missing.toReversed());
    else {
      path.pop();
      finish(top);
    }
  }
}
