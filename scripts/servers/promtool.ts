// The linter that comes with Prometheus.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { findServer } from "./find.ts";

const limitMs = 60_000;

/**
 * What `promtool check metrics` says of a scrape in the text format: a line for each fault, nothing when it passes.
 *
 * @throws {@link ServerError} `ERR_SERVER_MISSING` when there is no promtool.
 */
export async function lintMetrics(scrape: string): Promise<string> {
  const { bin, env } = await findServer("promtool");
  const child = spawn(bin, ["check", "metrics"], { env: { ...process.env, ...env }, timeout: limitMs });
  child.stdin.end(scrape);
  const [printed, warned] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  const output = `${printed}${warned}`.trim();
  // 1 is no metrics at all, 3 is metrics with faults.
  if (child.exitCode === 0 || (output !== "" && (child.exitCode === 1 || child.exitCode === 3))) return output;
  throw new Error(`${bin} ended with ${String(child.exitCode ?? child.signalCode)}: ${output}`);
}
