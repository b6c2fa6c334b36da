import { stat } from "node:fs/promises";
import { join } from "node:path";
import { BenchError } from "../harness/errors.ts";
import type { Lab, Running } from "../harness/lab.ts";
import { nodeProgram, startNode } from "./programs.ts";

/**
 * Starts the service with an access log and a collector, and at its stop makes sure that both were written to: a row that
 * claims "everything on" must not win by a setting that did not take.
 */
export async function startPlinthHttp(lab: Lab): Promise<Running> {
  const accessLog = join(await lab.directory(), "access.log");
  const collector = await lab.companion(nodeProgram("collector-stub.ts"));
  const server = await startNode(lab, "plinth-http.ts", {
    ACCESS_LOG: accessLog,
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.port}`,
    OTEL_TRACES_SAMPLER: "parentbased_traceidratio",
    OTEL_TRACES_SAMPLER_ARG: "0.01",
  });
  const stop = async (): Promise<void> => {
    await server.stop();
    const count = await fetch(`http://127.0.0.1:${collector.port}/count`);
    const spanBytes = Number(await count.text());
    const { size: logBytes } = await stat(accessLog);
    await collector.stop();
    if (spanBytes === 0 || logBytes === 0) {
      throw new BenchError(
        "ERR_BENCH_DEFINITION",
        `plinth-http.ts ran without everything on: ${spanBytes} bytes of spans, ${logBytes} bytes of access log`,
      );
    }
  };
  return { pid: server.pid, port: server.port, stop };
}
