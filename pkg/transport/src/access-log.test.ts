import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import { accessSampler } from "./access-log.ts";
import { startHttp } from "./testing/http.ts";

const settings = { accessLog: true, accessLogSampleRatio: 0.25, accessLogSlowMs: 100 };

describe("accessSampler", () => {
  it("writes its share of the requests", () => {
    const isWritten = (at: number): boolean => accessSampler(settings, () => at)(false, 1);
    assert.deepEqual([0, 0.24, 0.25, 0.99].map(isWritten), [true, true, false, false]);
  });

  it("writes failures and slow ones whatever the share, and none of the others where it is 0", () => {
    const isWritten = accessSampler({ ...settings, accessLogSampleRatio: 0 }, () => 0);
    assert.deepEqual([isWritten(true, 1), isWritten(false, 100), isWritten(false, 99)], [true, true, false]);
  });

  it("counts none as slow where the limit is 0", () => {
    const isWritten = accessSampler({ ...settings, accessLogSampleRatio: 0, accessLogSlowMs: 0 }, () => 0);
    assert.deepEqual([isWritten(false, 1e6), isWritten(true, 0)], [false, true]);
  });

  it("writes all with a share of 1, without asking for chance", () => {
    const isWritten = accessSampler({ ...settings, accessLogSampleRatio: 1 }, () => assert.fail("asked"));
    assert.equal(isWritten(false, 0), true);
  });
});

describe("the access log of an HTTP server", () => {
  it("with a share of 0 tells of failures alone, while all are counted", async () => {
    await using http = await startHttp({
      settings: { accessLogSampleRatio: 0, accessLogSlowMs: 0 },
      routes: (app) => {
        app.get("/", async () => ({}));
        app.get("/fails", async () => Promise.reject(new Error("broken")));
      },
    });
    await http.fetch("/");
    await http.fetch("/fails");
    await until(() => http.lines.withMessage("request").length > 0);
    assert.deepEqual(
      http.lines.withMessage("request").map(({ status }) => status),
      [500],
    );
    const { body } = await http.metrics.expose();
    assert.match(body, /^http_server_request_duration_seconds_count\{method="GET",route="\/",status="200"\} 1$/m);
  });
});
