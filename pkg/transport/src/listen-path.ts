import { chmod, lstat, unlink } from "node:fs/promises";
import { connect, type Server } from "node:net";
import { isMainThread } from "node:worker_threads";
import { messageOf } from "@plinth/kernel";
import { bind } from "./bind.ts";
import { TransportError } from "./errors.ts";

/** Where to listen on the machine alone. */
export interface ListenPathOptions {
  /** Of the Unix domain socket, up to 100 bytes. */
  readonly path: string;
  /** Its permissions, `0o660`. */
  readonly mode: number;
}

/**
 * Binds a Unix domain socket. One that is there already is removed when it is a socket and nobody answers on it, as after a
 * process that was killed.
 * @throws {@link TransportError} `ERR_LISTEN_PORT_BUSY` when somebody answers, `ERR_LISTEN_ADDRESS` for other faults.
 */
export async function listenOnPath(server: Server, { path, mode }: ListenPathOptions): Promise<void> {
  await removeStale(path);
  // It is there from within this call on, and nobody else may get in meanwhile. Threads other than the first cannot set it.
  const umask = isMainThread ? process.umask(0o777 & ~mode) : undefined;
  const bound = bind(server, { path }, (error) => toPathError(error, path));
  if (umask !== undefined) process.umask(umask);
  await bound;
  await chmod(path, mode);
}

async function removeStale(path: string): Promise<void> {
  try {
    const stats = await lstat(path).catch(absentAsUndefined);
    if (stats === undefined) return;
    if (!stats.isSocket()) throw new Error("something that is no socket is there");
    if (await isAnswered(path)) throw busy(path);
    await unlink(path).catch(absentAsUndefined); // another process may have been faster
  } catch (error) {
    throw error instanceof TransportError ? error : toPathError(error, path);
  }
}

function absentAsUndefined(error: unknown): undefined {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
  throw error;
}

/** Whether a process listens on it. One that may not be asked counts as one that does. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error: Error & { readonly code?: string }) => {
      resolve(error.code !== "ECONNREFUSED" && error.code !== "ENOENT");
    });
  });
}

function toPathError(cause: unknown, path: string): TransportError {
  if (cause instanceof Error && "code" in cause && cause.code === "EADDRINUSE") return busy(path, cause);
  const text = `cannot listen on ${path}: ${messageOf(cause)}; check the folder and its permissions, or set another socketPath`;
  return new TransportError("ERR_LISTEN_ADDRESS", "failed_precondition", text, { cause });
}

function busy(path: string, cause?: unknown): TransportError {
  const text = `${path} is in use by another process; stop that, or set another socketPath`;
  return new TransportError("ERR_LISTEN_PORT_BUSY", "failed_precondition", text, cause === undefined ? {} : { cause });
}
