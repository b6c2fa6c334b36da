// A test of a fault, which leaves a row for the table that `npm run test:faults` prints: what was done, and what it cost.
import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import { it, type TestContext } from "node:test";
import type { FaultRow } from "../../scripts/testing/fault-table.ts";
import type { FleetReport } from "./fleet.ts";

export interface Fault extends Pick<FaultRow, "fault" | "done"> {
  /** What is expected beside the number of failed requests, in words. Default: no request fails. */
  readonly expected?: string;
  /** Default 120_000. */
  readonly limitMs?: number;
}

export interface Witness {
  readonly t: TestContext;
  /** Takes down what came of the load; more than once where there is more than one. */
  count(report: Pick<FleetReport, "sent" | "failed">): void;
  /** What else belongs into the table. */
  saw(what: string): void;
  /** Takes it down, and holds it to what holds everywhere: no request failed, no write was lost or done twice, the gateway lived and was ready. */
  clean(report: FleetReport): void;
}

export function faultTest(
  { fault, done, expected = "0 failed", limitMs = 120_000 }: Fault,
  body: (witness: Witness) => Promise<void>,
): void {
  it(`${fault}: ${done}`, { timeout: limitMs }, async (t) => {
    let sent = 0;
    let failed = 0;
    const seen: string[] = [];
    const witness: Witness = {
      t,
      count(report) {
        sent += report.sent;
        failed += report.failed;
      },
      saw: (what) => void seen.push(what),
      clean(report) {
        witness.count(report);
        assert.deepEqual(report.failures, {}, `${report.failed} of ${report.sent} requests failed`);
        assert.deepEqual(report.wrongWrites, []);
        assert.deepEqual(
          Object.keys(report.probes).toSorted(),
          ["/healthz 200", "/ready 200"],
          JSON.stringify(report.probes),
        );
      },
    };
    let result: FaultRow["result"] = "FAILED";
    try {
      await body(witness);
      result = "ok";
    } finally {
      const row: FaultRow = { fault, done, sent, failed, expected, result, seen: seen.join("; ") };
      t.diagnostic(`${sent} requests, ${failed} failed; ${row.seen}`);
      const path = process.env["PLINTH_FAULT_ROWS"];
      if (path !== undefined) appendFileSync(path, `${JSON.stringify(row)}\n`);
    }
  });
}
