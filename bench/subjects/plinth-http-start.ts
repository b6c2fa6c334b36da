import { stat } from "node:fs/promises";
import { join } from "node:path";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { BenchError } from "../harness/errors.ts";
import type { Lab, Running } from "../harness/lab.ts";
import { nodeProgram } from "./programs.ts";

/**
 * Starts the service with its log in a file and a collector for its spans, and at its stop makes sure that both were
 * written to: a row that claims "everything on" must not win by a setting that did not take.
 */
export async function startPlinthHttp(lab: Lab, program = "plinth-http.ts"): Promise<Running> {
  const [port = 0] = await findFreePorts(1);
  const stdoutFile = join(await lab.directory(), "service.log");
  const collector = await lab.companion(nodeProgram("collector-stub.ts"));
  const settings = {
    PLINTH_HTTP_PORT: String(port),
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.port}`,
    PLINTH_TELEMETRY_SAMPLE_RATIO: "0.01",
  };
  const server = await lab.server({ ...nodeProgram(program, settings), port, stdoutFile });
  const stop = async (): Promise<void> => {
    await server.stop();
    const count = await fetch(`http://127.0.0.1:${collector.port}/count`);
    const spanBytes = Number(await count.text());
    const { size: logBytes } = await stat(stdoutFile);
    await collector.stop();
    if (spanBytes === 0 || logBytes === 0) {
      throw new BenchError(
        "ERR_BENCH_DEFINITION",
        `${program} ran without everything on: ${spanBytes} bytes of spans, ${logBytes} bytes of log`,
      );
    }
  };
  return { pid: server.pid, port, stop };
}
