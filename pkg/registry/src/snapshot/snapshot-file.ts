import { randomUUID } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from "node:fs";
import { open, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Clock, messageOf } from "@plinth/kernel";
import { RegistryError } from "../errors.ts";
import type { Instance, RegistryListener } from "../registry.ts";
import { readSnapshot, type SnapshotService, type SnapshotServices, writeSnapshot } from "./snapshot-document.ts";

export interface SnapshotFileOptions {
  readonly file: string;
  /** What is older is not served, in milliseconds. */
  readonly maxAgeMs: number;
  /** Which registry it is a snapshot of; one of another is not served. */
  readonly source: string;
  readonly clock: Clock;
  readonly onEvent: RegistryListener;
  /** Larger ones are neither written nor read, in bytes. Default 16 MiB. */
  readonly maxBytes?: number;
}

const defaultMaxBytes = 16 * 1024 * 1024;
/** A change is written so long after it came, with all that came meanwhile; and no sooner than this after the last writing. */
const settleMs = 1_000;
const restMs = 10_000;
/** What is confirmed without a change is written so often, so that it does not grow old in the file. */
const refreshMs = 300_000;
/** What a writer that was killed has left is removed after so long. */
const abandonedMs = 600_000;

/**
 * What is known of services, on disk for a start without a registry. Only what a registry has confirmed is written; what was read from
 * the file never is. Processes may share one file: each writes its own services and keeps those of others.
 */
export class SnapshotFile {
  readonly #options: SnapshotFileOptions;
  readonly #maxBytes: number;
  readonly #kept: SnapshotServices;
  readonly #own = new Map<string, SnapshotService>();
  #dueAtMs = Infinity;
  #timer: { cancel(): void } | undefined;
  #writing: Promise<void> | undefined;
  #wroteAtMs = -Infinity;
  #failures = 0;
  #closed: Promise<void> | undefined;

  constructor(options: SnapshotFileOptions) {
    this.#options = options;
    this.#maxBytes = options.maxBytes ?? defaultMaxBytes;
    this.#kept = this.#load();
  }

  /** What was known of a service when the file was read, and how old it is now; undefined when nothing or too old. */
  read(service: string): { readonly instances: readonly Instance[]; readonly ageMs: number } | undefined {
    const kept = this.#kept.get(service);
    if (!kept) return undefined;
    const ageMs = this.#ageMs(kept);
    const { file, maxAgeMs, onEvent } = this.#options;
    if (ageMs <= maxAgeMs) return { instances: kept.instances, ageMs };
    const problem = `it is ${Math.round(ageMs / 1e3)} s old, and ${Math.round(maxAgeMs / 1e3)} s are allowed`;
    onEvent({ type: "snapshot_ignored", file, problem, service });
    return undefined;
  }

  /** Takes what the registry has just confirmed. */
  note(service: string, instances: readonly Instance[], isChange: boolean): void {
    if (this.#closed) return;
    const { clock, maxAgeMs } = this.#options;
    this.#own.set(service, { instances, confirmedAt: clock.now() });
    const nowMs = clock.monotonicMs();
    const soonMs = Math.max(nowMs + settleMs, this.#wroteAtMs + restMs);
    this.#plan(isChange ? soonMs : Math.max(soonMs, this.#wroteAtMs + Math.min(refreshMs, maxAgeMs / 4)));
  }

  /** Writes what has not been. Safe to call twice. */
  close(): Promise<void> {
    return (this.#closed ??= this.#finish());
  }

  async #finish(): Promise<void> {
    this.#timer?.cancel();
    await this.#writing;
    if (this.#dueAtMs !== Infinity) await this.#write();
  }

  #plan(atMs: number): void {
    if (atMs >= this.#dueAtMs) return;
    this.#dueAtMs = atMs;
    this.#timer?.cancel();
    const { clock } = this.#options;
    const write = (): void => void (this.#writing ??= this.#write().finally(() => (this.#writing = undefined)));
    this.#timer = clock.schedule(atMs - clock.monotonicMs(), write, { keepAlive: false });
  }

  async #write(): Promise<void> {
    const { file, source, clock, onEvent } = this.#options;
    this.#dueAtMs = Infinity;
    this.#wroteAtMs = clock.monotonicMs();
    try {
      const services = await this.#merged();
      const text = this.#fitting(source, services);
      await replaceFile(file, text);
      this.#failures = 0;
      onEvent({ type: "snapshot_written", file, services: services.size, bytes: Buffer.byteLength(text) });
    } catch (cause) {
      const message = `the snapshot ${file} cannot be written: ${messageOf(cause)}; a start without the registry would find an older one or none`;
      const error = new RegistryError("ERR_REGISTRY_SNAPSHOT", "failed_precondition", message, { cause });
      onEvent({ type: "snapshot_failed", file, error, failures: ++this.#failures });
      if (!this.#closed) this.#plan(clock.monotonicMs() + Math.min(refreshMs, restMs * 2 ** this.#failures));
    }
  }

  /** Our own services, and those in the file that other processes have written there since. */
  async #merged(): Promise<Map<string, SnapshotService>> {
    const { file, source, maxAgeMs } = this.#options;
    const services = new Map<string, SnapshotService>();
    const text = await readBounded(file, this.#maxBytes);
    const others = text === undefined ? "none" : readSnapshot(text, source);
    if (typeof others !== "string") {
      for (const [service, known] of others) if (this.#ageMs(known) <= maxAgeMs) services.set(service, known);
    }
    for (const [service, own] of this.#own) {
      const other = services.get(service);
      if (other && other.confirmedAt > own.confirmedAt) continue;
      if (own.instances.length > 0) services.set(service, own);
      else services.delete(service);
    }
    return services;
  }

  /** Leaves out those of others, the oldest first, until the rest fits. */
  #fitting(source: string, services: Map<string, SnapshotService>): string {
    const others = [...services]
      .filter(([service]) => !this.#own.has(service))
      .toSorted(([, a], [, b]) => a.confirmedAt - b.confirmedAt);
    for (;;) {
      const text = writeSnapshot(source, services);
      const bytes = Buffer.byteLength(text);
      if (bytes <= this.#maxBytes) return text;
      const [oldest] = others.splice(0, 1);
      if (!oldest) throw new RangeError(`it would have ${bytes} bytes, and ${this.#maxBytes} are allowed`);
      services.delete(oldest[0]);
    }
  }

  /** Once, before anything is asked for: the only file access that others wait for. */
  #load(): SnapshotServices {
    const { file, source, onEvent } = this.#options;
    let read: SnapshotServices | string;
    try {
      read = readSnapshot(readTrusted(file, this.#maxBytes), source);
    } catch (error) {
      if (hasCode(error, "ENOENT")) return new Map();
      read = messageOf(error);
    }
    if (typeof read !== "string") return read;
    onEvent({ type: "snapshot_ignored", file, problem: read, service: undefined });
    return new Map();
  }

  /** By the wall clock, the only one that outlives a process; a clock that was set back makes nothing younger than new. */
  #ageMs({ confirmedAt }: SnapshotService): number {
    return Math.max(0, this.#options.clock.now() - confirmedAt);
  }
}

/** Whoever can write the file can send traffic anywhere, so it must be ours, or root's, alone. */
function readTrusted(file: string, maxBytes: number): string {
  const handle = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(handle);
    const problem = distrust(stats, maxBytes);
    if (problem !== undefined) throw new Error(problem);
    return readFileSync(handle, "utf8");
  } finally {
    closeSync(handle);
  }
}

function distrust(stats: Stats, maxBytes: number): string | undefined {
  if (!stats.isFile()) return "it is no regular file";
  if (stats.size > maxBytes) return `it has ${stats.size} bytes, and ${maxBytes} are allowed`;
  const own = process.getuid?.();
  if (own === undefined) return undefined; // a system without such owners
  if ((stats.mode & 0o022) !== 0) return "others than its owner may write it; take that away with chmod go-w";
  return stats.uid === own || stats.uid === 0
    ? undefined
    : `it belongs to the user ${stats.uid}, and this process is ${own}`;
}

async function readBounded(file: string, maxBytes: number): Promise<string | undefined> {
  let handle: Awaited<ReturnType<typeof open>> | undefined;
  try {
    handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    return distrust(await handle.stat(), maxBytes) === undefined ? await handle.readFile("utf8") : undefined;
  } catch {
    return undefined; // what cannot be read is replaced; that it could not be was told at the start
  } finally {
    await handle?.close();
  }
}

/** Readers see the old file or the new one, also after a crash at any moment. */
async function replaceFile(file: string, text: string): Promise<void> {
  const beginning = `.${basename(file)}.`;
  const temporary = join(dirname(file), `${beginning}${randomUUID()}.tmp`);
  await removeAbandoned(dirname(file), beginning);
  try {
    const handle = await open(temporary, "wx", 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

async function removeAbandoned(folder: string, beginning: string): Promise<void> {
  const names = await readdir(folder);
  for (const name of names.filter((own) => own.startsWith(beginning) && own.endsWith(".tmp"))) {
    const path = join(folder, name);
    const mtimeMs = await stat(path).then(
      (stats) => stats.mtimeMs,
      () => Infinity,
    );
    if (Date.now() - mtimeMs > abandonedMs) await rm(path, { force: true });
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
