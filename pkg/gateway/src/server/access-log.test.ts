import assert from "node:assert/strict";
import { request } from "node:http";
import { describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import { accessLogSchema } from "../config/schema-access-log.ts";
import { parseGatewayDocument } from "../config/document.ts";
import type { GatewayDocument } from "../config/schema.ts";
import { echo, httpInstance, openRoute, startGateway } from "../testing/kit.ts";
import { AccessLogRules } from "./access-log.ts";

const rulesOf = (given: GatewayDocument["accessLog"]): AccessLogRules => {
  const config = accessLogSchema.parse(given);
  assert.ok(config);
  return new AccessLogRules(config);
};
const spanOf = (traceId: string) => ({
  span: {
    traceId,
    spanId: "1",
    sampled: false,
    setAttribute() {},
    setAttributes() {},
    rename() {},
    fail() {},
    setFailed() {},
    end() {},
  },
  upgrade: undefined,
});
const low = spanOf("00000000000000000000000000000001");
const high = spanOf("000000000000000000000000ffffffff");

describe("who has a line", () => {
  const rules = rulesOf({ sample: 0.5, slowOnlyMs: 100 });
  const tables = [
    ["a slow one of the sample", low, 200, 100, "written"],
    ["a slow one outside of the sample", high, 200, 100, "sampled_out"],
    ["a fast one", low, 200, 99.9, "not_slow"],
    ["an error, fast and outside of the sample", high, 500, 1, "written"],
    ["a refusal below errorsFrom", high, 499, 1, "not_slow"],
  ] as const;
  for (const [what, exchange, status, tookMs, verdict] of tables) {
    it(`${what}: ${verdict}`, () => assert.equal(rules.verdictOf(exchange, status, tookMs), verdict));
  }

  it("is nobody of a share of 0 but errors, and everybody of 1", () => {
    assert.equal(rulesOf({ sample: 0 }).verdictOf(low, 200, 1), "sampled_out");
    assert.equal(rulesOf({ sample: 0 }).verdictOf(low, 503, 1), "written");
    assert.equal(rulesOf({}).verdictOf(high, 200, 1), "written");
    assert.equal(rulesOf({ sample: 0, errorsFrom: 400 }).verdictOf(high, 401, 1), "written");
  });
});

describe("the document's accessLog", () => {
  const faults = [
    [{ fields: ["colour"] }, /accessLog\.fields\.0/],
    [{ fields: ["path", "path"] }, /accessLog\.fields: expected each field once/],
    [{ fields: [] }, /accessLog\.fields/],
    [{ sample: 1.1 }, /accessLog\.sample/],
    [{ slowOnlyMS: 5 }, /accessLog\.slowOnlyMS: unknown key; did you mean "slowOnlyMs"\?/],
    [{ errorsFrom: 501 }, /accessLog\.errorsFrom/],
  ] as const;
  for (const [accessLog, message] of faults) {
    it(`is refused as ${JSON.stringify(accessLog)}`, () => {
      const document: object = { routes: [openRoute()], accessLog };
      assert.throws(() => parseGatewayDocument(document as GatewayDocument), { code: "ERR_GATEWAY_CONFIG", message });
    });
  }

  it("chooses what stands in a line, without query or token and with bounded texts", async () => {
    await using instance = await httpInstance(echo);
    const fields = ["status", "path", "host", "user_agent", "protocol", "scheme", "template", "upstream_ms"] as const;
    await using running = await startGateway({
      document: { routes: [openRoute()], accessLog: { fields: [...fields] } },
    });
    await running.add(instance);
    const headers = { "user-agent": "u".repeat(1_000), authorization: "Bearer very-secret" };
    const { status } = await fetch(`${running.url}/${"p".repeat(400)}?key=very-secret`, { headers });
    assert.equal(status, 200);
    const line = await running.lastLine();
    const { upstream_ms, time, level, ...rest } = line;
    assert.equal(typeof upstream_ms, "number");
    for (const id of ["requestId", "traceId", "spanId", "request_id", "trace_id", "span_id"]) delete rest[id];
    assert.doesNotMatch(JSON.stringify(line), /very-secret/);
    assert.deepEqual(Object.fromEntries(fields.flatMap((field) => (field in rest ? [[field, rest[field]]] : []))), {
      status: 200,
      path: `/${"p".repeat(255)}`,
      host: `127.0.0.1:${running.gateway.port}`,
      user_agent: "u".repeat(256),
      protocol: "HTTP/1.1",
      scheme: "http",
      template: "/**",
    });
    assert.ok(!("route" in line) && !("client" in line) && time !== undefined && level !== undefined);
  });

  it("changes with a reload; what has no line is counted, and errors have one", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ document: { routes: [openRoute()] } });
    await running.add(instance);
    const ask = async (path: string): Promise<number> => (await fetch(running.url + path)).status;
    await ask("/first");
    await running.lines(1);
    await running.gateway.reload({
      routes: [openRoute(), openRoute({ name: "gone", match: { path: "/gone" }, service: "nobody" })],
      accessLog: { sample: 0, fields: ["path", "status", "reason"] },
    });
    assert.equal(await ask("/second"), 200);
    assert.equal(await ask("/gone"), 503);
    const lines = await running.lines(2);
    assert.deepEqual(
      lines.map(({ path, reason }) => [path, reason]),
      [
        ["/first", undefined],
        ["/gone", "no_instance"],
      ],
    );
    await running.gateway.reload({ routes: [openRoute()], accessLog: { slowOnlyMs: 86_400_000 } });
    await ask("/third");
    const total = (text: string, outcome: string): string | undefined =>
      new RegExp(`gateway_access_log_lines_total\\{outcome="${outcome}"\\} (\\d+)`).exec(text)?.[1];
    const text = await until(async () => {
      const now = await running.metrics();
      return total(now, "not_slow") === "1" ? now : undefined;
    });
    assert.deepEqual([total(text, "written"), total(text, "sampled_out")], ["2", "1"]);
  });

  it("logs a reply that was cut off as the error that it is, whatever status had gone out", async () => {
    await using instance = await httpInstance((_request, response) => {
      response.writeHead(200, { "content-length": 10 }).write("half");
      setImmediate(() => response.destroy());
    });
    await using running = await startGateway({ document: { routes: [openRoute()], accessLog: { sample: 0 } } });
    await running.add(instance);
    await new Promise<void>((resolve) => {
      request(running.url, (response) =>
        response
          .on("error", () => undefined)
          .on("close", resolve)
          .resume(),
      )
        .on("error", () => resolve())
        .end();
    });
    const { status, reason } = await running.lastLine();
    assert.deepEqual([status, reason], [502, "reply_cut_off"]);
  });
});
