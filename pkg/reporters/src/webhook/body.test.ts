import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError } from "@plinth/kernel";
import { aReport } from "../testing/report.ts";
import { maxFrameBytes, minReportBytes, toBody } from "./body.ts";
import type { WebhookPayload } from "./payload.ts";

const read = (body: string): WebhookPayload => JSON.parse(body);
const big = (size: number, unit = "x") => aReport({ error: new AppError("ERR_BIG", "internal", unit.repeat(size)) });

describe("toBody", () => {
  it("leaves what fits as it is", () => {
    const body = toBody(
      { id: "b1", source: { version: "1.2.3" }, reports: [aReport(), aReport({ count: 7 })] },
      100_000,
    );
    const { version, id, source, reports } = read(body);
    assert.deepEqual({ version, id, source }, { version: 1, id: "b1", source: { version: "1.2.3" } });
    assert.deepEqual(
      reports.map(({ count, truncated }) => [count, truncated]),
      [
        [1, undefined],
        [7, undefined],
      ],
    );
  });

  it("cuts the largest report first, which says so, and keeps the small ones whole", () => {
    const reports = [aReport(), big(15_000), aReport()];
    const body = toBody({ id: "b1", source: {}, reports }, 12_000);
    assert.ok(Buffer.byteLength(body) <= 12_000);
    const [first, second, third] = read(body).reports;
    assert.deepEqual([first?.truncated, second?.truncated, third?.truncated], [undefined, true, undefined]);
    assert.match(second?.error.message ?? "", /^x{4096}$/);
    assert.deepEqual([second?.error.code, second?.traceId], ["ERR_BIG", "1".repeat(32)]);
  });

  it("cuts causes, metadata and attributes when texts are not enough", () => {
    const cause = new Error("root", { cause: new Error("deeper", { cause: new Error("deepest") }) });
    const attributes = Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`key${at}`, "v".repeat(50)]));
    const metadata = Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`meta${at}`, "m".repeat(50)]));
    const error = new AppError("ERR_BIG", "internal", "m".repeat(9_000), { cause, metadata });
    const body = toBody({ id: "b1", source: {}, reports: [aReport({ error, attributes })] }, 4_096);
    assert.ok(Buffer.byteLength(body) <= 4_096);
    const [report] = read(body).reports;
    assert.equal(report?.truncated, true);
    assert.ok(Object.keys(report?.attributes ?? {}).length < 200);
  });

  const nasty = `\u0000${String.fromCharCode(0xd8_00)}\u2028"\\`;
  for (const count of [1, 2, 50]) {
    it(`never exceeds the limit, whatever ${count} reports hold`, () => {
      const text = nasty.repeat(3_000);
      const error = new AppError(text, "internal", text, { metadata: { [text]: text }, cause: new Error(text) });
      const ids = { service: text, fingerprint: text, traceId: text, spanId: text, requestId: text };
      const report = aReport({ ...ids, error, attributes: { [text]: text }, count: Number.MAX_SAFE_INTEGER });
      const maxBytes = maxFrameBytes + count * (minReportBytes + 1);
      const source = { version: text, instanceId: text };
      const body = toBody(
        { id: "b".repeat(32), source, reports: Array.from({ length: count }, () => report) },
        maxBytes,
      );
      assert.ok(Buffer.byteLength(body) <= maxBytes, `${Buffer.byteLength(body)} of ${maxBytes}`);
      assert.equal(read(body).reports.length, count);
    });
  }

  it("takes an aggregate of many errors, and chains without an end", () => {
    const errors = Array.from({ length: 100 }, (_, at) => new Error(`e${at}`.repeat(500)));
    const loop = new Error("loop");
    loop.cause = loop;
    const reports = [
      aReport({ error: AppError.from(new AggregateError(errors, "many")) }),
      aReport({ error: AppError.from(loop) }),
    ];
    const body = toBody({ id: "b1", source: {}, reports }, 8_192);
    assert.ok(Buffer.byteLength(body) <= 8_192);
    assert.equal(read(body).reports.length, 2);
  });
});
