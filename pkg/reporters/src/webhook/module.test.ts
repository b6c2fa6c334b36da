import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  AppError,
  type ConfigData,
  coreModule,
  defineModule,
  errorBus,
  metrics,
  provider,
  runInContext,
  token,
} from "@plinth/kernel";
import { FakeClock, testApp } from "@plinth/kernel/testing";
import { Receiver } from "../testing/receiver.ts";
import { webhookReporterModule } from "./module.ts";
import type { WebhookPayload } from "./payload.ts";

const start = (webhook: ConfigData, clock?: FakeClock) =>
  testApp({
    name: "notes",
    version: "1.2.3",
    modules: [coreModule, webhookReporterModule],
    config: { defaults: { webhook } },
    ...(clock ? { clock } : {}),
  });

const reportsIn = ({ bodies }: Receiver) => bodies.flatMap((body) => (body as WebhookPayload).reports);

describe("webhookReporterModule", () => {
  it("posts an error of a job and one of a request, with what names them", async () => {
    await using receiver = await Receiver.start();
    await using app = await start({ url: `${receiver.url}/hook`, token: "t0ken" });
    const errors = app.get(errorBus);
    const span = { traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: true };
    runInContext({ requestId: "r-1", span }, () =>
      errors.report(new TypeError("of a request"), { origin: "request", attributes: { route: "/notes/:id" } }),
    );
    const sweep = errors.guard("sweep", () => Promise.reject(new AppError("ERR_JOB", "internal", "of a job")));
    await sweep();
    await app.get(errorBus).flush();
    const [request, job] = reportsIn(receiver).toSorted((a, b) => (a.origin > b.origin ? -1 : 1));
    assert.deepEqual(
      [request?.service, request?.origin, request?.error.cause?.type, request?.requestId, request?.traceId],
      ["notes", "request", "TypeError", "r-1", span.traceId],
    );
    assert.equal(request?.attributes.route, "/notes/:id");
    assert.deepEqual([job?.origin, job?.error.code, job?.attributes.task], ["job", "ERR_JOB", "sweep"]);
    assert.match(job?.traceId ?? "", /^[0-9a-f]{32}$/);
    const { source } = receiver.bodies[0] as WebhookPayload;
    assert.deepEqual([source.version, typeof source.instanceId], ["1.2.3", "string"]);
    assert.equal(receiver.requests[0]?.headers.authorization, "Bearer t0ken");
  });

  it("posts what a stop finds waiting, and what fails while stopping", async () => {
    await using receiver = await Receiver.start();
    const fragile = provider({
      provides: token("fragile").of<true>(),
      create: () => true as const,
      start: () => {},
      stop: () => {
        throw new Error("cannot stop");
      },
    });
    const app = await testApp({
      name: "notes",
      modules: [coreModule, webhookReporterModule, defineModule("fragile", [fragile])],
      config: { defaults: { webhook: { url: receiver.url } } },
    });
    app.get(errorBus).report(new Error("last words"), { origin: "timer" });
    await assert.rejects(app.stop());
    const texts = reportsIn(receiver).map(({ error, origin }) => `${origin}: ${error.message}`);
    assert.ok(texts.includes("timer: last words"), texts.join("\n"));
    assert.ok(
      texts.some((text) => /^lifecycle: .*fragile/.test(text)),
      texts.join("\n"),
    );
  });

  it("posts why the app did not start", async () => {
    await using receiver = await Receiver.start();
    const broken = provider({
      provides: token("broken").of<true>(),
      create: () => true as const,
      start: () => {
        throw new Error("no such disk");
      },
    });
    const starting = testApp({
      name: "notes",
      modules: [coreModule, webhookReporterModule, defineModule("broken", [broken])],
      config: { defaults: { webhook: { url: receiver.url } } },
    });
    await assert.rejects(starting, { code: "ERR_LIFECYCLE_START" });
    assert.deepEqual(
      reportsIn(receiver).map(({ origin }) => origin),
      ["lifecycle"],
    );
  });

  it("holds a stop no longer than the flush may take, when the webhook hangs", async () => {
    await using receiver = await Receiver.start([null]);
    const clock = new FakeClock();
    const app = await start({ url: receiver.url, timeoutMs: 60_000 }, clock);
    app.get(errorBus).report(new Error("stuck"), { origin: "job" });
    const { response } = await receiver.received(1);
    const stopped = app.stop();
    await clock.advance(3_000); // the flush's limit
    await stopped;
    if (!response.destroyed) await new Promise((resolve) => response.once("close", resolve));
  });

  it("does not report its own failures", async () => {
    await using receiver = await Receiver.start([500]);
    await using app = await start({ url: receiver.url, retries: 0 });
    const errors = app.get(errorBus);
    for (let count = 0; count < 3; count++) {
      errors.report(new AppError("ERR_JOB", "internal", `job ${"x".repeat(count)}`), { origin: "job" });
      await errors.flush();
    }
    assert.equal(errors.stats().reported, 3);
    assert.ok(receiver.requests.length >= 1 && receiver.requests.length <= 3);
    const { body } = await app.get(metrics).expose();
    assert.match(body, /^error_webhook_batches_total\{outcome="failed"\} [1-3]$/m);
  });

  it("does nothing without a URL", async () => {
    await using app = await start({});
    assert.doesNotMatch((await app.get(metrics).expose()).body, /error_webhook/);
  });

  it("lets two apps of one process have a webhook each", async () => {
    await using first = await Receiver.start();
    await using second = await Receiver.start();
    await using one = await start({ url: first.url });
    await using other = await start({ url: second.url });
    one.get(errorBus).report(new Error("here"), { origin: "job" });
    await one.get(errorBus).flush();
    await other.get(errorBus).flush();
    assert.deepEqual([first.requests.length, second.requests.length], [1, 0]);
  });

  it("refuses bad settings at the start, by key and without the secrets in them", async () => {
    const webhook = { url: "htps://s3cr3t", token: "s3cr3t\n", timeoutMs: 0, maxBodyBytes: 1 };
    await assert.rejects(start(webhook), (error: Error) => {
      for (const key of Object.keys(webhook)) assert.match(error.message, new RegExp(`webhook\\.${key}: `));
      assert.match(
        error.message,
        /webhook\.url: expected an absolute URL that begins with http:\/\/ or https:\/\/, got \*\*\*/,
      );
      assert.doesNotMatch(error.message, /s3cr3t/);
      return true;
    });
  });
});
