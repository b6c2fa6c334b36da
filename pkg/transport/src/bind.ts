import type { ListenOptions, Server } from "node:net";
import type { TransportError } from "./errors.ts";

/**
 * Has a server listen, and waits until it does.
 * @throws what `toError` makes of the error.
 */
export async function bind(
  server: Server,
  where: ListenOptions,
  toError: (error: unknown) => TransportError,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.once("listening", resolve);
  try {
    server.listen(where);
    await promise;
  } catch (error) {
    throw toError(error);
  } finally {
    server.off("error", reject);
    server.off("listening", resolve);
  }
}
