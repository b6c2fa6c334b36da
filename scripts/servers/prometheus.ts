// A real Prometheus that scrapes what a test runs.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { startServerProcess } from "./child.ts";
import { ServerError } from "./errors.ts";
import { findServer } from "./find.ts";
import { findFreePorts } from "./ports.ts";

const readyLimitMs = 30_000;
const pollMs = 50;

export interface PrometheusOptions {
  /** `host:port` of each process whose `/metrics` it scrapes. */
  readonly targets: readonly string[];
  /** Between scrapes, in milliseconds. Default 200. */
  readonly scrapeIntervalMs?: number;
}

export interface Prometheus extends AsyncDisposable {
  readonly pid: number;
  /** What it warned of last; empty when all is well. */
  warnings(): string;
  /** The `data` of a reply of its API: `ask("query", { query: "up" })`. */
  ask(path: string, query?: Readonly<Record<string, string>>): Promise<unknown>;
  /** Ends it and removes its files. Safe to call twice. */
  stop(): Promise<void>;
}

/**
 * Starts Prometheus with exemplars on, its files in a folder of their own. Ready when it resolves. It ends with this process in any case.
 *
 * @throws {@link ServerError} `ERR_SERVER_MISSING` when none can be had, `ERR_SERVER_START` when it does not come up.
 */
export async function startPrometheus({ targets, scrapeIntervalMs = 200 }: PrometheusOptions): Promise<Prometheus> {
  const server = await findServer("prometheus");
  const folder = await mkdtemp(join(tmpdir(), "plinth-prometheus-"));
  const [port = 0] = await findFreePorts(1);
  const address = `http://127.0.0.1:${port}`;
  const config = {
    global: { scrape_interval: `${scrapeIntervalMs}ms`, scrape_timeout: `${scrapeIntervalMs}ms` },
    scrape_configs: [{ job_name: "plinth", static_configs: [{ targets }] }],
  };
  await writeFile(join(folder, "prometheus.yml"), JSON.stringify(config)); // JSON is YAML
  const child = await startServerProcess(
    server,
    [
      `--config.file=${join(folder, "prometheus.yml")}`,
      `--storage.tsdb.path=${join(folder, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
      "--enable-feature=exemplar-storage",
      "--log.level=warn",
    ],
    folder,
  );
  const stop = async (): Promise<void> => {
    await child.stop();
    await rm(folder, { recursive: true, force: true });
  };
  const deadline = performance.now() + readyLimitMs;
  while (!(await isReady(address))) {
    if (!child.exited() && performance.now() < deadline) {
      await delay(pollMs);
      continue;
    }
    await stop();
    throw new ServerError("ERR_SERVER_START", `${server.bin} did not come up; it printed:\n${child.output()}`);
  }
  return {
    pid: child.pid,
    warnings: () => child.output(),
    ask: (path, query = {}) => ask(`${address}/api/v1/${path}?${new URLSearchParams(query).toString()}`),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function isReady(address: string): Promise<boolean> {
  try {
    return (await fetch(`${address}/-/ready`, { signal: AbortSignal.timeout(1_000) })).ok;
  } catch {
    return false; // nobody listens yet
  }
}

async function ask(url: string): Promise<unknown> {
  const response = await fetch(url, { signal: AbortSignal.timeout(10_000) });
  const body: unknown = await response.json();
  if (typeof body === "object" && body !== null && "data" in body && response.ok) return body.data;
  throw new Error(`${url} answered ${response.status}: ${JSON.stringify(body)}`);
}
