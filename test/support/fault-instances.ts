// Instances of a service that a test can make fail, as processes that it can kill, and the book of what they were sent.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { ask } from "./http.ts";
import { type Program, startProgram, userEnvironment } from "./program.ts";

const root = join(import.meta.dirname, "../..");
const startLimitMs = 60_000;

/** What an instance does from now on; what is left out stays as it is. */
export interface InstanceSettings {
  /** Until its replies begin. Default 2. */
  readonly delayMs?: number;
  /** Of all replies. Default 200. */
  readonly status?: number;
  /** Share of the requests that are answered 503, at random. Default 0. */
  readonly failShare?: number;
  /** With those, in seconds; empty: not said. Default empty. */
  readonly retryAfter?: string;
  /** After so long it ends an idle connection. Default 60_000. */
  readonly keepAliveMs?: number;
  /** Whether it tells clients of that. Default true. */
  readonly announces?: boolean;
}

export interface Instances extends AsyncDisposable {
  readonly ports: readonly number[];
  /** The newest process. */
  readonly program: () => Program;
  /** The same ports in another process, once the one before has ended. */
  restart(): Promise<void>;
  /** @param port - Default: all of them. */
  set(settings: InstanceSettings, port?: number): Promise<void>;
}

/** A request as an instance got it. */
export interface BookLine {
  readonly atMs: number;
  readonly port: number;
  readonly id: string;
  /** `done` is a write that had its effect. */
  readonly kind: "read" | "done" | "refused";
}

/** @param ports - How many it has in its process. Default 1. */
export async function startInstances(book: string, service: string, ports = 1): Promise<Instances> {
  const own = await findFreePorts(ports);
  const start = async (): Promise<Program> => {
    const started = await startProgram(process.execPath, [join(root, "test/programs/fault-instance.ts")], {
      folder: root,
      environment: { ...userEnvironment(), PORTS: own.join(","), SERVICE: service, BOOK: book },
    });
    for (const port of own) await started.untilPrinted(`listening ${port}\n`, startLimitMs);
    return started;
  };
  let program = await start();
  return {
    ports: own,
    program: () => program,
    async restart() {
      await program.exit;
      program = await start();
    },
    async set(settings, only) {
      const chosen = only === undefined ? own : [only];
      await Promise.all(
        chosen.map((port) => ask(`http://127.0.0.1:${port}/control`, { method: "PUT", body: settings })),
      );
    },
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

export function readBook(book: string): BookLine[] {
  return readFileSync(book, "utf8")
    .split("\n")
    .flatMap((line) => {
      // The last line of one that was killed may be half a line.
      if (!line.endsWith("]")) return [];
      const parsed: unknown = JSON.parse(line);
      const [atMs, port, id, kind] = isList(parsed) ? parsed : [];
      if (kind !== "read" && kind !== "done" && kind !== "refused") return [];
      return [{ atMs: Number(atMs), port: Number(port), id: String(id), kind }];
    });
}

function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}
