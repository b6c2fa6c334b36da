const never = new Int32Array(new SharedArrayBuffer(4));

/** Lets nothing else of this process run for so long, and leaves the processor to others. */
export function block(ms: number): void {
  Atomics.wait(never, 0, 0, ms);
}
