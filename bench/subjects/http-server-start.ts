import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { BenchError } from "../harness/errors.ts";
import type { Lab, Running } from "../harness/lab.ts";
import { nodeProgram } from "./programs.ts";

/** Plinth's HTTP server with everything on, around the routes of `file`. */
export async function startPlinthHttp(lab: Lab, file = "plinth-http.ts"): Promise<Running> {
  return startObserved(lab, {
    file,
    settings: (port, collector) => ({
      PLINTH_HTTP_PORT: port,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector,
      PLINTH_TELEMETRY_SAMPLE_RATIO: "0.01",
    }),
    isLine: (line) => line.includes('"msg":"request"') || line.includes('"message":"request"'),
    counted: /^http_server_request_duration_seconds_count\{[^}]*route="\/(?!metrics)[^}]*\} (\d+)$/gm,
  });
}

/** What a team assembles around fastify today. */
export async function startAssembledHttp(lab: Lab): Promise<Running> {
  return startObserved(lab, {
    file: "assembled-http.ts",
    preload: "assembled-preload.ts",
    settings: (port, collector) => ({ PORT: port, OTEL_EXPORTER_OTLP_ENDPOINT: collector }),
    isLine: (line) => line.includes('"msg":"request completed"'),
    counted: /^http_request_duration_seconds_count\{[^}]*route="\/(?!metrics)[^}]*\} (\d+)$/gm,
  });
}

/** Plinth's gRPC server with everything on. */
export async function startPlinthGrpc(lab: Lab): Promise<Running> {
  const [opsPort = 0] = await findFreePorts(1);
  return startObserved(lab, {
    file: "plinth-grpc.ts",
    metricsPort: opsPort,
    settings: (port, collector) => ({
      PLINTH_GRPC_PORT: port,
      PLINTH_OPS_PORT: String(opsPort),
      OTEL_EXPORTER_OTLP_ENDPOINT: collector,
      PLINTH_TELEMETRY_SAMPLE_RATIO: "0.01",
    }),
    isLine: (line) => line.includes('"msg":"call"') || line.includes('"message":"call"'),
    counted: /^grpc_server_call_duration_seconds_count\{[^}]*\} (\d+)$/gm,
  });
}

interface Observed {
  readonly file: string;
  /** Where `/metrics` is. Default: where the load goes. */
  readonly metricsPort?: number;
  /** Loaded ahead of it. */
  readonly preload?: string;
  readonly settings: (port: string, collector: string) => Readonly<Record<string, string>>;
  /** True for the line that the log has of one request. */
  readonly isLine: (line: string) => boolean;
  /** Finds in its metrics how many requests they have counted, by route. */
  readonly counted: RegExp;
}

/**
 * Starts a service with its log in a file and a collector for its spans, and at its stop makes sure that each request was logged
 * and counted, and one in a hundred traced: a row that claims "everything on" must not win by a setting that did not take.
 */
async function startObserved(
  lab: Lab,
  { file, preload, metricsPort, settings, isLine, counted }: Observed,
): Promise<Running> {
  const [port = 0] = await findFreePorts(1);
  const stdoutFile = join(await lab.directory(), "service.log");
  const collector = await lab.companion(nodeProgram("collector-stub.ts"));
  const program = nodeProgram(file, settings(String(port), `http://127.0.0.1:${collector.port}`));
  const preloads = preload === undefined ? [] : ["--import", pathToFileURL(join(import.meta.dirname, preload)).href];
  const server = await lab.server({ ...program, args: [...preloads, ...program.args], port, stdoutFile });
  const stop = async (): Promise<void> => {
    const metrics = await fetch(`http://127.0.0.1:${metricsPort ?? port}/metrics`);
    const counts = (await metrics.text()).matchAll(counted);
    const measured = counts.reduce((sum, [, count]) => sum + Number(count), 0);
    await server.stop();
    const count = await fetch(`http://127.0.0.1:${collector.port}/count`);
    const spans = Number(await count.text());
    const lines = (await readFile(stdoutFile, "utf8")).split("\n").filter(isLine).length;
    await collector.stop();
    const sampled = spans / lines;
    if (measured > 0 && lines >= measured && lines < measured + 10 && sampled > 0.005 && sampled < 0.02) return;
    const message = `${file} ran without everything on: ${measured} requests in its metrics, ${lines} in its log, ${spans} spans`;
    throw new BenchError("ERR_BENCH_DEFINITION", message);
  };
  return { pid: server.pid, port, stop };
}
