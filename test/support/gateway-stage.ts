// The gateway as a program, in front of two services whose instances are programs too, under load that is judged; what a test breaks is
// any of them, or the network between.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { GatewayDocument } from "../../pkg/gateway/src/config/schema.ts";
import { findFreePorts } from "../../scripts/servers/index.ts";
import type { Witness } from "./fault-row.ts";
import { type BookLine, type Instances, readBook, startInstances } from "./fault-instances.ts";
import { ask, seriesOf } from "./http.ts";
import { type OpenLoad, type OpenLoadOptions, type OpenLoadReport, quantile, startOpenLoad } from "./open-load.ts";
import { type Program, startProgram, userEnvironment } from "./program.ts";
import { until } from "./until.ts";

const root = join(import.meta.dirname, "../..");
const main = join(root, "cmd/gateway/src/main.ts");
const startLimitMs = 60_000;
const probeEveryMs = 100;

/** What holds in every test, on a machine that does other things besides: half of the probes below the first, all below the second. */
export const probeLimitsMs = { median: 250, slowest: 3_000 };
/** So much the gateway may grow. */
export const maxGrowthBytes = 96 * 1024 * 1024;

export interface StageOptions {
  /** Processes of the service `orders`. Default 3. */
  readonly processes?: number;
  /** Instances in each of them. Default 1. */
  readonly portsEach?: number;
  /** What the gateway is told instead of their ports: those of a network between. Default: their own. */
  readonly through?: (ports: readonly number[]) => readonly number[];
  /** Of the service `orders`, besides its instances. */
  readonly service?: NonNullable<GatewayDocument["services"]>[string];
  /** Of the route to `orders`. */
  readonly route?: Partial<GatewayDocument["routes"][number]>;
  /** Makes the whole document of that. Default: it is the document. */
  readonly document?: (document: GatewayDocument) => GatewayDocument;
  readonly environment?: Readonly<Record<string, string>>;
  /** A shell's command that starts `"$0" "$@"`. Default: none is between. */
  readonly shell?: string;
  /** Of Node, ahead of the program. Default none. */
  readonly flags?: readonly string[];
  /** Of its resident memory beyond what it was once it had served a few hundred requests. Default {@link maxGrowthBytes}. */
  readonly maxGrowthBytes?: number;
}

export interface Stage extends AsyncDisposable {
  readonly url: string;
  readonly opsUrl: string;
  readonly port: number;
  readonly folder: string;
  readonly gateway: Program;
  /** Of `orders`, a process each. */
  readonly orders: readonly Instances[];
  readonly users: Instances;
  readonly document: GatewayDocument;
  /** Puts another one in its place; text as it is. */
  write(document: GatewayDocument | string): void;
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  load(options?: Pick<OpenLoadOptions, "perSecond" | "name" | "headers"> & { readonly url?: string }): OpenLoad;
  /** Waits until the load has sent so many more. */
  more(load: OpenLoad, requests: number): Promise<void>;
  /** Ends the load, takes it down, and holds it to what holds for every fault. */
  judge(load: OpenLoad, witness: Witness): Promise<OpenLoadReport>;
  /** Resident memory of the gateway now, in bytes. */
  memory(): number;
  /** What instances were sent so far. */
  book(): readonly BookLine[];
}

export async function startStage(options: StageOptions = {}): Promise<Stage> {
  const { processes = 3, portsEach = 1, through = (ports) => ports, environment, shell, flags = [] } = options;
  const folder = mkdtempSync(join(tmpdir(), "plinth-gateway-stage-"));
  const book = join(folder, "book");
  writeFileSync(book, "");
  const owned: AsyncDisposable[] = [];
  const dispose = async (): Promise<void> => {
    await Promise.all(owned.map((each) => each[Symbol.asyncDispose]()));
    rmSync(folder, { recursive: true });
  };
  try {
    const start = async (service: string, ports: number): Promise<Instances> => {
      const instances = await startInstances(book, service, ports);
      owned.push(instances);
      return instances;
    };
    const [users, ...orders] = await Promise.all([
      start("users", 1),
      ...Array.from({ length: processes }, () => start("orders", portsEach)),
    ]);
    const targets = through(orders.flatMap(({ ports }) => ports));
    const given: GatewayDocument = {
      services: {
        orders: { ...options.service, static: targets.map((port) => `127.0.0.1:${port}`) },
        users: { static: users.ports.map((port) => `127.0.0.1:${port}`) },
      },
      routes: [
        {
          name: "orders",
          match: { path: ["/orders", "/orders/**"] },
          service: "orders",
          anonymous: true,
          ...options.route,
        },
        { name: "users", match: { path: "/users" }, service: "users", anonymous: true },
      ],
    };
    const document = options.document?.(given) ?? given;
    const file = join(folder, "gateway.yaml");
    const write = (next: GatewayDocument | string): void => {
      writeFileSync(`${file}.next`, typeof next === "string" ? next : JSON.stringify(next));
      renameSync(`${file}.next`, file);
    };
    write(document);
    const [port = 0, opsPort = 0] = await findFreePorts(2);
    const args = ["--conditions=plinth-source", ...flags, main, "--config", file];
    const [command, ...rest] =
      shell === undefined ? [process.execPath, ...args] : ["/bin/sh", "-c", shell, process.execPath, ...args];
    const gateway = await startProgram(command, rest, {
      folder: root,
      environment: {
        ...userEnvironment(),
        PLINTH_GATEWAY_PORT: String(port),
        PLINTH_OPS_PORT: String(opsPort),
        PLINTH_REGISTRY_DRIVER: "static",
        PLINTH_REGISTRY_SERVICES: "{}",
        PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "100",
        ...environment,
      },
    });
    owned.unshift(gateway);
    const opsUrl = `http://127.0.0.1:${opsPort}`;
    let hasEnded = false;
    void gateway.exit.then(() => (hasEnded = true));
    const wrote = (): string => `${gateway.stdout().slice(-3_000)}\n${gateway.stderr().slice(-3_000)}`;
    await until(
      async () => {
        if (hasEnded) throw new Error(`the gateway has ended; it wrote:\n${wrote()}`);
        return (await ask(`${opsUrl}/healthz`).catch(() => undefined))?.status === 200;
      },
      () => `the gateway lives; it wrote:\n${wrote()}`,
      startLimitMs,
    );
    const memory = (): number => residentBytes(gateway.pid);
    const watches = new Map<OpenLoad, Watch>();
    const url = `http://127.0.0.1:${port}`;
    return {
      url,
      opsUrl,
      port,
      folder,
      gateway,
      orders,
      users,
      document,
      write,
      memory,
      book: () => readBook(book),
      metric: async (series, labels) => seriesOf((await ask(`${opsUrl}/metrics`)).text, series, labels),
      load(more = {}) {
        const load = startOpenLoad({ url, book, ...more });
        watches.set(load, watch(load, opsUrl, memory));
        return load;
      },
      async more(load, requests) {
        const wanted = load.sent() + requests;
        await until(() => load.sent() >= wanted, `${requests} more requests`, startLimitMs);
      },
      async judge(load, witness) {
        const report = await load.stop();
        const seen = await (watches.get(load) ?? assert.fail("no load of this stage")).stop();
        witness.count(report);
        witness.saw(
          `${
            Object.entries(report.failures)
              .map(([why, times]) => `${why} ×${times}`)
              .join(", ") || "none failed"
          }; /healthz ${Math.round(seen.slowestMs)} ms at most`,
        );
        assert.deepEqual(report.wrong, []);
        assert.deepEqual(seen.statuses, ["200"], "what /healthz answered");
        assert.ok(seen.medianMs < probeLimitsMs.median, `/healthz takes ${seen.medianMs} ms`);
        assert.ok(seen.slowestMs < probeLimitsMs.slowest, `/healthz has taken ${seen.slowestMs} ms`);
        assert.ok(seen.growth < (options.maxGrowthBytes ?? maxGrowthBytes), `${seen.growth} bytes more than at first`);
        assert.equal(hasEnded, false, `the gateway has ended; it wrote:\n${wrote()}`);
        return report;
      },
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

interface Watch {
  stop(): Promise<{
    readonly statuses: readonly string[];
    readonly medianMs: number;
    readonly slowestMs: number;
    readonly growth: number;
  }>;
}

/** Asks whether it lives, and how large it is. */
function watch(load: OpenLoad, opsUrl: string, memory: () => number): Watch {
  const statuses = new Set<string>();
  const tookMs: number[] = [];
  let first: number | undefined;
  let most = 0;
  const over = new AbortController();
  const looking = (async () => {
    while (!over.signal.aborted) {
      const askedAtMs = performance.now();
      const status = await ask(`${opsUrl}/healthz`).then(
        (answer) => String(answer.status),
        (error: unknown) => String(error),
      );
      statuses.add(status);
      tookMs.push(performance.now() - askedAtMs);
      if (load.sent() > 200) {
        const now = memory();
        first ??= now;
        most = Math.max(most, now);
      }
      await delay(probeEveryMs, undefined, { signal: over.signal }).catch(() => undefined); // ended
    }
  })();
  return {
    async stop() {
      over.abort();
      await looking;
      return {
        statuses: [...statuses],
        medianMs: quantile(tookMs, 0.5),
        slowestMs: Math.max(...tookMs),
        growth: first === undefined ? 0 : most - first,
      };
    },
  };
}

/** 0 of a process that has ended. */
export function residentBytes(pid: number): number {
  try {
    const [, kilobytes = "0"] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return Number(kilobytes) * 1_024;
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH")) return 0;
    throw error;
  }
}
