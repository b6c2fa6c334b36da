import { createHook, executionAsyncId } from "node:async_hooks";
import { readlinkSync } from "node:fs";
import { globalAgent as httpAgent } from "node:http";
import { globalAgent as httpsAgent } from "node:https";
import { captureOrigin, framesOf, isOfNode, type Origin, placeOf } from "./made-at.ts";

/** What the system holds open for the process, by the names that Node gives them. */
const handleNames: Readonly<Record<string, string>> = {
  FILEHANDLE: "file handle",
  FSEVENTWRAP: "file watcher",
  PIPESERVERWRAP: "pipe server",
  PIPEWRAP: "pipe",
  PROCESSWRAP: "child process",
  STATWATCHER: "file watcher",
  TCPSERVERWRAP: "server",
  TCPWRAP: "socket",
  UDPWRAP: "UDP socket",
  WORKER: "worker thread",
};
/** Only to know where that came from which is made at their end: a server listens once its address is looked up. */
const stepTypes: ReadonlySet<string> = new Set(["GETADDRINFOREQWRAP", "TickObject"]);

interface Made {
  readonly type: string;
  readonly origin: Origin;
  readonly resource: object;
  /** What it was made in the callback of, or what accepted it. */
  readonly parent: Made | undefined;
}

/** One thing that is there: what it is, and where it was made. */
export interface Leftover {
  readonly what: string;
  readonly place: string;
}

/** Keeps account of handles and timers from its making until {@link Handles.forget}. */
export class Handles {
  readonly #made = new Map<number, Made>();
  readonly #onInit = (id: number, type: string, triggerId: number, resource: object): void => {
    const isHandle = type in handleNames;
    if (!isHandle && type !== "Timeout" && !stepTypes.has(type)) return;
    // only of handles: a timer that sets the next must not hold all those before it
    const parent = isHandle ? (this.#made.get(executionAsyncId()) ?? this.#made.get(triggerId)) : undefined;
    this.#made.set(id, { type, origin: captureOrigin(this.#onInit), resource, parent });
  };
  readonly #hook = createHook({
    init: this.#onInit,
    destroy: (id) => void this.#made.delete(id),
    trackPromises: false, // there are many, and none of them is asked for
  }).enable();

  forget(): void {
    this.#hook.disable();
    this.#made.clear();
  }

  left(): Leftover[] {
    const idle = idleSockets();
    return [...this.#made.values()].flatMap((made) => {
      if (stepTypes.has(made.type) || !isOpen(made) || idle.has(made.resource)) return [];
      return made.type === "Timeout" ? timer(made) : handle(made);
    });
  }
}

/** Whether it is still there: Node tells late of the end of a timer, and of a file handle only when it is collected. */
function isOpen({ type, resource }: Made): boolean {
  if (type === "Timeout") return !("_destroyed" in resource) || resource._destroyed !== true;
  if (type === "FILEHANDLE") return !("fd" in resource) || (typeof resource.fd === "number" && resource.fd >= 0);
  return true;
}

function handle(made: Made): Leftover[] {
  const frames = framesOf(made.origin);
  const ownFrames = frames.slice(0, nodeFramesOf(frames));
  // standard output and the like are opened when first used, and never closed
  if (ownFrames.some((frame) => frame.startsWith("node:internal/bootstrap"))) return [];
  // the pool of `fetch` is nobody's to close; a connection in it holds no process open
  if (!hasRef(made) && ownFrames.some((frame) => frame.startsWith("node:internal/deps/undici"))) return [];
  const place = placeFrom(made);
  // made by Node for itself, or accepted by a server that was there before
  if (place === undefined && ["PIPEWRAP", "TCPWRAP"].includes(made.type)) return [];
  const what = `${handleNames[made.type]}${detailOf(made)}${hasRef(made) ? "" : " (unref)"}`;
  return [{ what, place: place ?? "an unknown place" }];
}

function detailOf({ type, resource }: Made): string {
  if (type === "PROCESSWRAP" && "pid" in resource) return ` ${String(resource.pid)}`;
  if (type !== "FILEHANDLE" || !("fd" in resource)) return "";
  try {
    return ` of ${readlinkSync(`/proc/self/fd/${String(resource.fd)}`)}`;
  } catch {
    return ""; // only Linux tells
  }
}

const timerModules = /^node:(internal\/async_hooks|internal\/timers|internal\/util|timers|timers\/promises):/;

function timer(made: Made): Leftover[] {
  const caller = framesOf(made.origin).find((frame) => !timerModules.test(frame));
  const place = placeFrom(made);
  // one that Node sets is part of a socket, a server or a signal
  if (caller === undefined || isOfNode(caller) || place === undefined) return [];
  const { resource } = made;
  const delay = "_idleTimeout" in resource ? ` of ${String(resource._idleTimeout)} ms` : "";
  const repeats = "_repeat" in resource && resource._repeat !== null;
  return [{ what: `${repeats ? "interval" : "timer"}${delay}${hasRef(made) ? "" : " (unref)"}`, place }];
}

function placeFrom(made: Made): string | undefined {
  const place = placeOf(made.origin);
  return place ?? (made.parent && placeFrom(made.parent));
}

/** How many frames come before the first that is not of Node. */
function nodeFramesOf(frames: readonly string[]): number {
  const index = frames.findIndex((frame) => !isOfNode(frame));
  return index < 0 ? frames.length : index;
}

function hasRef({ resource }: Made): boolean {
  return (
    !("hasRef" in resource) ||
    typeof resource.hasRef !== "function" ||
    Reflect.apply(resource.hasRef, resource, []) !== false
  );
}

/** The handles of connections that Node's global agents keep for the next request. */
function idleSockets(): Set<unknown> {
  const sockets = [httpAgent, httpsAgent].flatMap(({ freeSockets }) => Object.values(freeSockets).flat());
  return new Set(
    sockets.flatMap((socket) => {
      const own: unknown = socket && "_handle" in socket ? socket._handle : undefined;
      // that of TLS stands on that of TCP
      return typeof own === "object" && own !== null && "_parent" in own ? [own, own._parent] : [own];
    }),
  );
}
