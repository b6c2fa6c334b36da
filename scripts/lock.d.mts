/**
 * Runs `work` while no other process holds the lock at `path`; a second one waits for the first.
 * `onWait` is told once, with who holds it. A lock whose holder has died is taken over.
 */
export function withLock<T>(
  path: string,
  work: () => Promise<T>,
  options?: { readonly onWait?: (holder: string) => void },
): Promise<T>;
