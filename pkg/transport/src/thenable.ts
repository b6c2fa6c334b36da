/** Whether `await` would wait for it. An object of a handler's that is none goes on at once, without a promise around it. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
