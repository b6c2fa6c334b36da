import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { createMetrics, type ErrorReport, type Scheduled, Secret } from "@plinth/kernel";
import { FakeClock, freePort } from "@plinth/kernel/testing";
import { aReport } from "../testing/report.ts";
import { type Answer, Receiver } from "../testing/receiver.ts";
import type { WebhookOptions } from "./options.ts";
import { createWebhookReporter, type WebhookReporter } from "./reporter.ts";

const path = "/hooks/s3cr3t-path?key=s3cr3t-key";
const limit = () => ({ signal: new AbortController().signal });

/** With no waits between tries, unless a clock or jitter is given. */
function open(receiver: { readonly url: string }, options: Partial<WebhookOptions> = {}): WebhookReporter {
  return createWebhookReporter({ url: new Secret(`${receiver.url}${path}`), random: () => 0, ...options });
}

/** Closes the connection instead of answering. */
const reset: Answer = ({ response }) => response.socket?.resetAndDestroy();
const answer =
  (status: number, headers: Record<string, string>): Answer =>
  ({ response }) =>
    response.writeHead(status, headers).end();

/** Tells what was scheduled on it. */
class TellingClock extends FakeClock {
  readonly delaysMs: number[] = [];

  override schedule(delayMs: number, run: () => void): Scheduled {
    this.delaysMs.push(delayMs);
    return super.schedule(delayMs, run);
  }

  /** Resolves when the first request has been answered and the wait for the next is on. */
  async hasBegunToWait(): Promise<void> {
    while (this.delaysMs.length < 2) await new Promise(setImmediate);
  }
}

async function sample(metrics: ReturnType<typeof createMetrics>): Promise<Record<string, number>> {
  const { body } = await metrics.expose();
  const lines = body.split("\n").filter((line) => /^error_webhook_\w+?(_total|_count)(\{| )/.test(line));
  const entries = lines.map((line) => [
    line.replace(/ \S+$/, "").replace("error_webhook_", ""),
    Number(line.split(" ").at(-1)),
  ]);
  return Object.fromEntries(entries.filter(([, value]) => value !== 0));
}

describe("a webhook", () => {
  it("gets a batch as documented, with a key to drop repeats by", async () => {
    await using receiver = await Receiver.start([204]);
    const cause = new TypeError("deeper");
    const error = Object.assign(new Error("broken", { cause }), { password: "hidden" });
    const source = { version: "1.2.3", instanceId: "notes-1" };
    const reporter = open(receiver, { token: new Secret("t0ken"), source });
    const full = aReport({ count: 3, severity: "fatal", handled: false });
    const bare = aReport({ traceId: undefined, spanId: undefined, requestId: undefined, attributes: {} });
    await reporter.report([full, { ...bare, error: Object.assign(full.error, { cause: error }) }], limit());
    const { url, headers, body } = receiver.requests[0]!;
    assert.equal(url, path);
    assert.deepEqual(
      [headers.authorization, headers["content-type"], headers["user-agent"]],
      ["Bearer t0ken", "application/json", "plinth"],
    );
    const payload = JSON.parse(body);
    assert.deepEqual([payload.version, payload.id, payload.source], [1, headers["idempotency-key"], source]);
    assert.match(payload.id, /^[0-9a-f]{32}$/);
    const { error: sent, ...facts } = payload.reports[0];
    assert.deepEqual(facts, {
      time: "2026-01-02T03:04:05.678Z",
      service: "notes",
      severity: "fatal",
      handled: false,
      origin: "request",
      fingerprint: "f1",
      count: 3,
      traceId: "1".repeat(32),
      spanId: "2".repeat(16),
      requestId: "r-1",
      attributes: { route: "/notes/:id", attempt: 2, cold: false },
    });
    const { stack, cause: led, ...own } = sent;
    assert.deepEqual(own, {
      type: "AppError",
      message: "no room for note 7",
      code: "ERR_NOTES_FULL",
      status: "resource_exhausted",
      metadata: { shelf: "3" },
    });
    assert.match(stack, /at aReport \(/);
    assert.deepEqual([led.message, led.cause.type, led.cause.message], ["broken", "TypeError", "deeper"]);
    assert.deepEqual(
      Object.keys(payload.reports[1]).filter((key) => key.endsWith("Id")),
      [],
    );
    assert.doesNotMatch(body, /hidden/);
    await reporter.close();
  });

  it("is told by one connection, and closing leaves none", async () => {
    await using receiver = await Receiver.start();
    const reporter = open(receiver);
    for (let batch = 0; batch < 3; batch++) await reporter.report([aReport()], limit());
    const ports = new Set(receiver.requests.map(({ port }) => port));
    const keys = new Set(receiver.requests.map(({ headers }) => headers["idempotency-key"]));
    assert.deepEqual([ports.size, keys.size], [1, 3]);
    const closed = once(receiver.requests[0]!.response.req.socket, "close");
    await reporter.close();
    await closed;
  });

  it("is told by a new connection when it has closed the one that was kept", async () => {
    await using receiver = await Receiver.start([200, reset, 200]);
    const reporter = open(receiver, { retries: 0 });
    await reporter.report([aReport()], limit());
    await reporter.report([aReport()], limit());
    const [first, second, third] = receiver.requests;
    assert.equal(second?.port, first?.port);
    assert.notEqual(third?.port, first?.port);
    assert.equal(third?.headers["idempotency-key"], second?.headers["idempotency-key"]);
    await reporter.close();
  });

  it("may have a user and a password in its URL", async () => {
    await using receiver = await Receiver.start();
    const reporter = createWebhookReporter({ url: new Secret(receiver.url.replace("//", "//ada:p%40ss@")) });
    await reporter.report([aReport()], limit());
    assert.equal(receiver.requests[0]?.headers.authorization, `Basic ${btoa("ada:p@ss")}`);
    await reporter.close();
  });

  it("gets no more in one request than was agreed, and than has room", async () => {
    await using receiver = await Receiver.start();
    const reports = Array.from({ length: 5 }, () => aReport());
    const agreed = open(receiver, { maxBatch: 2 });
    await agreed.report(reports, limit());
    const sizes = receiver.bodies.map((body) => (body as { reports: unknown[] }).reports.length);
    assert.deepEqual([agreed.maxBatch, sizes], [2, [2, 2, 1]]);
    const narrow = open(receiver, { maxBatch: 1_000, maxBodyBytes: 10_000 });
    assert.equal(narrow.maxBatch, 4);
    await Promise.all([agreed.close(), narrow.close()]);
  });

  it("gets large reports cut, and told to be", async () => {
    await using receiver = await Receiver.start();
    const reporter = open(receiver, { maxBodyBytes: 4_096 });
    await reporter.report([aReport({ attributes: { text: "x".repeat(10_000) } })], limit());
    assert.ok(receiver.requests[0]!.body.length <= 4_096);
    assert.match(receiver.requests[0]!.body, /"truncated":true/);
    await reporter.close();
  });
});

describe("a webhook in trouble", () => {
  for (const [what, failing] of [
    ["500", 500],
    ["503", 503],
    ["429", 429],
    ["408", 408],
    ["a reset connection", reset],
  ] as const) {
    it(`is tried again after ${what}, with the same key and body`, async () => {
      await using receiver = await Receiver.start([failing, 200]);
      const metrics = createMetrics();
      const reporter = open(receiver, { metrics });
      await reporter.report([aReport()], limit());
      const [first, second, ...more] = receiver.requests;
      assert.deepEqual(more, []);
      assert.ok(first?.headers["idempotency-key"]);
      assert.equal(second?.headers["idempotency-key"], first?.headers["idempotency-key"]);
      assert.equal(second?.body, first?.body);
      const status = typeof failing === "number" ? `${Math.floor(failing / 100)}xx` : "none";
      assert.deepEqual(await sample(metrics), {
        'batches_total{outcome="sent"}': 1,
        retries_total: 1,
        [`request_duration_seconds_count{status="2xx"}`]: 1,
        [`request_duration_seconds_count{status="${status}"}`]: 1,
      });
      await reporter.close();
    });
  }

  for (const status of [400, 401, 403, 404, 410, 413]) {
    it(`is not tried again after ${status}`, async () => {
      await using receiver = await Receiver.start([status]);
      const metrics = createMetrics();
      const reporter = open(receiver, { metrics });
      await assert.rejects(reporter.report([aReport(), aReport()], limit()), {
        code: "ERR_REPORTER_REFUSED",
        message: `${receiver.url} answered ${status}; check the URL, the token, and what the receiver takes`,
      });
      assert.equal(receiver.requests.length, 1);
      assert.deepEqual(await sample(metrics), {
        'batches_total{outcome="refused"}': 1,
        reports_lost_total: 2,
        'request_duration_seconds_count{status="4xx"}': 1,
      });
      await reporter.close();
    });
  }

  for (const status of [301, 302, 307, 308]) {
    it(`is not followed by a ${status} to another place, where neither reports nor token should be`, async () => {
      await using elsewhere = await Receiver.start();
      await using receiver = await Receiver.start([answer(status, { location: `${elsewhere.url}/s3cr3t` })]);
      const reporter = open(receiver, { token: new Secret("t0ken") });
      await assert.rejects(reporter.report([aReport()], limit()), (error: Error) => {
        assert.match(error.message, new RegExp(`answered ${status}; redirects are not followed`));
        assert.doesNotMatch(error.message, /s3cr3t/);
        return true;
      });
      assert.deepEqual([receiver.requests.length, elsewhere.requests.length], [1, 0]);
      await reporter.close();
    });
  }

  it("is given up after the tries that are allowed, and what was lost is counted", async () => {
    await using receiver = await Receiver.start([500]);
    const metrics = createMetrics();
    const reporter = open(receiver, { metrics, retries: 2 });
    await assert.rejects(reporter.report([aReport(), aReport()], limit()), {
      code: "ERR_REPORTER_UNAVAILABLE",
      status: "unavailable",
      message: `${receiver.url} answered 500; see what ails it`,
    });
    assert.equal(receiver.requests.length, 3);
    assert.deepEqual(await sample(metrics), {
      'batches_total{outcome="failed"}': 1,
      reports_lost_total: 2,
      retries_total: 2,
      'request_duration_seconds_count{status="5xx"}': 3,
    });
    await reporter.close();
  });

  it("that refuses connections is told of without path and key", async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    const reporter = open({ url }, { retries: 1 });
    await assert.rejects(reporter.report([aReport()], limit()), (error: Error & { code: string }) => {
      assert.equal(error.code, "ERR_REPORTER_UNAVAILABLE");
      assert.match(error.message, /^http:\/\/127\.0\.0\.1:\d+ cannot be reached: connect ECONNREFUSED/);
      assert.doesNotMatch(error.message, /s3cr3t/);
      return true;
    });
    await reporter.close();
  });

  it("that answers garbage cannot be reached", async () => {
    const server = createServer((socket) => socket.end("what is this?\r\n\r\n")).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    const reporter = open({ url: `http://127.0.0.1:${port}` }, { retries: 0 });
    await assert.rejects(reporter.report([aReport()], limit()), {
      code: "ERR_REPORTER_UNAVAILABLE",
      message: /cannot be reached: Parse Error/,
    });
    await reporter.close();
    server.close();
  });

  it("that changes the protocol instead of answering cannot be reached", async () => {
    const server = createServer((socket) => {
      socket.once("data", () =>
        socket.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
      );
      socket.on("error", () => {});
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    const reporter = open({ url: `http://127.0.0.1:${port}` }, { retries: 0 });
    await assert.rejects(reporter.report([aReport()], limit()), { code: "ERR_REPORTER_UNAVAILABLE" });
    await reporter.close();
    server.close();
  });

  it("that hangs is given up after the limit of a request, and tried again", async () => {
    await using receiver = await Receiver.start([null, 200]);
    const clock = new FakeClock();
    const reporter = open(receiver, { clock, timeoutMs: 2_000 });
    const reported = reporter.report([aReport()], limit());
    const { response } = await receiver.received(1);
    const cut = once(response, "close");
    await clock.advance(1_999);
    assert.equal(response.destroyed, false);
    await clock.advance(1);
    await cut;
    await clock.advance(0);
    await reported;
    assert.deepEqual([receiver.requests.length, clock.pending], [2, 0]);
    await reporter.close();
  });

  it("that hangs each time is told of with the limit", async () => {
    await using receiver = await Receiver.start([null]);
    const clock = new FakeClock();
    const reporter = open(receiver, { clock, timeoutMs: 2_000, retries: 0 });
    const rejected = assert.rejects(reporter.report([aReport()], limit()), {
      code: "ERR_REPORTER_TIMEOUT",
      message: `${receiver.url} did not answer within 2000 ms; is it stalled, or the network cut?`,
    });
    await receiver.received(1);
    await clock.advance(2_000);
    await rejected;
    await reporter.close();
  });

  it("that says it has taken the batch has, though its reply breaks half way", async () => {
    await using receiver = await Receiver.start([
      ({ response }) => {
        response.writeHead(200, { "content-length": "100" });
        response.write("half", () => response.socket?.resetAndDestroy());
      },
    ]);
    const reporter = open(receiver);
    await reporter.report([aReport()], limit());
    assert.equal(receiver.requests.length, 1);
    await reporter.close();
  });

  it("whose reply never ends holds nobody, and its connection no longer than the limit", async () => {
    await using receiver = await Receiver.start([({ response }) => void response.writeHead(200).write("drip")]);
    const clock = new FakeClock();
    const reporter = open(receiver, { clock, timeoutMs: 2_000 });
    await reporter.report([aReport()], limit());
    const { response } = receiver.requests[0]!;
    assert.equal(response.destroyed, false);
    const cut = once(response, "close");
    await clock.advance(2_000);
    await cut;
    await reporter.close();
  });

  it("whose reply is huge is cut off, not read", async () => {
    const chunk = Buffer.alloc(65_536);
    const chunks = 1_000;
    let written = 0;
    await using receiver = await Receiver.start([
      ({ response }) => {
        const write = (): void => {
          if (written === chunks) response.end();
          else if (!response.destroyed) response.write(chunk, () => ((written += 1), setImmediate(write)));
        };
        response.writeHead(200);
        write();
      },
    ]);
    const reporter = open(receiver, { clock: new FakeClock() });
    await reporter.report([aReport()], limit());
    const { response } = await receiver.received(1);
    if (!response.destroyed) await once(response, "close");
    assert.ok(written < chunks, `${written} chunks of ${chunk.length} bytes were taken`);
    await reporter.close();
  });
});

describe("a webhook that asks to be left alone", () => {
  it("for a moment gets the batch after it", async () => {
    await using receiver = await Receiver.start([answer(429, { "retry-after": "1" }), 200]);
    const clock = new TellingClock();
    const reporter = open(receiver, { clock });
    const reported = reporter.report([aReport()], limit());
    await clock.hasBegunToWait();
    await clock.advance(999);
    assert.equal(receiver.requests.length, 1);
    await clock.advance(1);
    await reported;
    assert.equal(receiver.requests.length, 2);
    await reporter.close();
  });

  it("for longer is not asked again before, and what is reported meanwhile is lost at once", async () => {
    await using receiver = await Receiver.start([answer(503, { "retry-after": "30" }), 200]);
    const clock = new FakeClock();
    const metrics = createMetrics();
    const reporter = open(receiver, { clock, metrics });
    await assert.rejects(reporter.report([aReport()], limit()), { code: "ERR_REPORTER_UNAVAILABLE" });
    await clock.advance(29_999);
    const until = new Date(clock.now() + 1).toISOString();
    await assert.rejects(reporter.report([aReport()], limit()), {
      code: "ERR_REPORTER_PAUSED",
      message: `${receiver.url} asked for no more requests before ${until}; nothing is sent until then`,
    });
    assert.equal(receiver.requests.length, 1);
    await clock.advance(1);
    await reporter.report([aReport()], limit());
    assert.equal(receiver.requests.length, 2);
    const { [`batches_total{outcome="paused"}`]: paused, reports_lost_total: lost } = await sample(metrics);
    assert.deepEqual([paused, lost], [1, 2]);
    await reporter.close();
  });

  it("for ever is asked again after the longest pause that is kept", async () => {
    await using receiver = await Receiver.start([answer(429, { "retry-after": "99999999" }), 200]);
    const clock = new FakeClock();
    const reporter = open(receiver, { clock, maxRetryAfterMs: 5_000 });
    await assert.rejects(reporter.report([aReport()], limit()), { code: "ERR_REPORTER_UNAVAILABLE" });
    await clock.advance(5_000);
    await reporter.report([aReport()], limit());
    await reporter.close();
  });

  it("is not hit by a multiple of the reports while it is down", async () => {
    await using receiver = await Receiver.start([500]);
    const reporter = open(receiver, { retries: 5, retryRatio: 0.2 });
    const batches = 100;
    for (let batch = 0; batch < batches; batch++) await assert.rejects(reporter.report([aReport()], limit()));
    const { length } = receiver.requests;
    assert.ok(length > batches + 10 && length <= batches * 1.2 + 11, `${length} requests for ${batches} batches`);
    await reporter.close();
  });
});

describe("a caller's limit", () => {
  it("cuts a request at once, and nothing is tried again", async () => {
    await using receiver = await Receiver.start([null]);
    const metrics = createMetrics();
    const reporter = open(receiver, { metrics, clock: new FakeClock() });
    const controller = new AbortController();
    const reported = reporter.report([aReport()], { signal: controller.signal });
    const { response } = await receiver.received(1);
    const cut = once(response, "close");
    const late = new Error("late");
    controller.abort(late);
    await assert.rejects(reported, late);
    await cut;
    const { [`batches_total{outcome="aborted"}`]: aborted, reports_lost_total: lost } = await sample(metrics);
    assert.deepEqual([receiver.requests.length, aborted, lost], [1, 1, 1]);
    await reporter.close();
  });

  it("ends the wait between two tries", async () => {
    await using receiver = await Receiver.start([500]);
    const clock = new TellingClock();
    const reporter = open(receiver, { clock, random: () => 0.5 });
    const controller = new AbortController();
    const reported = reporter.report([aReport()], { signal: controller.signal });
    await clock.hasBegunToWait();
    assert.equal(clock.delaysMs[1], 100, "half of the first ceiling");
    controller.abort(new Error("late"));
    await assert.rejects(reported, { message: "late" });
    assert.equal(receiver.requests.length, 1);
    await reporter.close();
  });

  it("that has passed sends nothing", async () => {
    await using receiver = await Receiver.start();
    const reporter = open(receiver);
    await assert.rejects(reporter.report([aReport()], { signal: AbortSignal.abort(new Error("late")) }), {
      message: "late",
    });
    assert.equal(receiver.requests.length, 0);
    await reporter.close();
  });
});

describe("closing a webhook's reporter", () => {
  it("lets a request under way end, and makes no further try", async () => {
    await using receiver = await Receiver.start([null]);
    const reporter = open(receiver);
    const outcomes: Promise<PromiseSettledResult<void>[]> = Promise.allSettled([
      reporter.report([aReport()], limit()),
      reporter.report([aReport()], limit()),
    ]);
    await receiver.received(2);
    let isClosed = false;
    const closed = reporter.close().then(() => (isClosed = true));
    await new Promise(setImmediate);
    assert.equal(isClosed, false);
    receiver.requests[0]?.response.writeHead(200).end();
    receiver.requests[1]?.response.writeHead(500).end();
    const [good, bad] = await outcomes;
    assert.equal(good?.status, "fulfilled");
    assert.equal(bad?.status === "rejected" && bad.reason.code, "ERR_REPORTER_CLOSED");
    await closed;
    assert.equal(receiver.requests.length, 2);
  });

  for (const when of ["later", "already"] as const) {
    it(`cuts it when its signal aborts, ${when}`, async () => {
      await using receiver = await Receiver.start([null]);
      const reporter = open(receiver, { clock: new FakeClock() });
      const reported = assert.rejects(reporter.report([aReport()], limit()), { code: "ERR_REPORTER_CLOSED" });
      const { response } = await receiver.received(1);
      const cut = once(response, "close");
      const controller = new AbortController();
      if (when === "already") controller.abort();
      const closed = reporter.close({ signal: controller.signal });
      controller.abort();
      await Promise.all([closed, reported, cut]);
    });
  }

  it("twice is the same as once, and later reports are refused", async () => {
    await using receiver = await Receiver.start();
    const metrics = createMetrics();
    const reporter = open(receiver, { metrics });
    await Promise.all([reporter.close(), reporter.close()]);
    await reporter.close();
    await assert.rejects(reporter.report([aReport()], limit()), {
      code: "ERR_REPORTER_CLOSED",
      message: 'the reporter "webhook" is closed; report only while the app that opened it runs',
    });
    assert.equal(receiver.requests.length, 0);
    assert.equal((await sample(metrics)).reports_lost_total, 1);
  });
});

describe("createWebhookReporter", () => {
  const create = (url: string, options: Partial<WebhookOptions> = {}) =>
    createWebhookReporter({ url: new Secret(url), ...options });

  for (const url of ["s3cr3t", "ftp://host/s3cr3t", "http:///?s3cr3t#", "file:///etc/s3cr3t", "//host/s3cr3t"]) {
    it(`refuses ${JSON.stringify(url)} without repeating it`, () => {
      assert.throws(() => create(url), {
        code: "ERR_REPORTER_URL",
        message: "url: expected an absolute URL that begins with http:// or https://",
      });
    });
  }

  it("refuses a token that no header can hold, and one beside a user in the URL", () => {
    for (const token of ["s3cr3t\n", "s3 cr3t", "s3cr3t\u00e9"]) {
      assert.throws(
        () => create("https://host/", { token: new Secret(token) }),
        (error: Error & { code: string }) => {
          assert.equal(error.code, "ERR_REPORTER_TOKEN");
          assert.doesNotMatch(error.message, /s3/);
          return true;
        },
      );
    }
    assert.throws(() => create("https://ada:pass@host/", { token: new Secret("t0ken") }), {
      code: "ERR_REPORTER_TOKEN",
      message: /^token: the URL holds a user already/,
    });
  });

  for (const [name, value] of [
    ["timeoutMs", 0],
    ["timeoutMs", Number.NaN],
    ["retries", -1],
    ["retries", 1.5],
    ["retryRatio", 1.1],
    ["maxRetryAfterMs", -1],
    ["maxBatch", 0],
    ["maxBodyBytes", 4_095],
  ] as const) {
    it(`refuses a ${name} of ${value}`, () => {
      assert.throws(() => create("https://host/", { [name]: value }), {
        code: "ERR_OPTION_RANGE",
        message: new RegExp(`^${name} must be`),
      });
    });
  }
});

describe("where a webhook is", () => {
  // in a process of its own, for what its environment may change
  const program = `
    import { Secret } from "@plinth/kernel";
    import { createWebhookReporter } from "./webhook/reporter.ts";
    import { aReport } from "./testing/report.ts";
    const reporter = createWebhookReporter({ url: new Secret(process.env.TARGET), retries: 0 });
    const sent = reporter.report([aReport()], { signal: AbortSignal.timeout(10_000) });
    console.log(await sent.then(() => "sent", ({ code, message }) => code + " " + message));
    await reporter.close();
  `;
  const flags = ["--conditions=plinth-source", "--input-type=module-typescript", "--eval", program];
  const send = (env: Record<string, string>): Promise<{ stdout: string }> =>
    promisify(execFile)(process.execPath, flags, {
      cwd: join(import.meta.dirname, ".."),
      env: { ...process.env, ...env },
    });

  it("is not asked through the environment's proxy, whose owner would read the reports", async () => {
    await using receiver = await Receiver.start();
    await using proxy = await Receiver.start();
    const env = { NODE_USE_ENV_PROXY: "1", HTTP_PROXY: proxy.url, http_proxy: proxy.url, NO_PROXY: "", no_proxy: "" };
    const { stdout } = await send({ ...env, TARGET: `${receiver.url}/hook` });
    assert.equal(stdout, "sent\n");
    assert.deepEqual([receiver.requests.length, proxy.requests.length], [1, 0]);
  });

  it("is proved by its certificate, though the environment forgoes that", async () => {
    const { selfSigned } = await import("../testing/certificate.ts");
    await using receiver = await Receiver.start([200], selfSigned());
    const { stdout } = await send({
      NODE_TLS_REJECT_UNAUTHORIZED: "0",
      NODE_NO_WARNINGS: "1",
      TARGET: `${receiver.url}/hook`,
    });
    assert.match(stdout, /^ERR_REPORTER_UNAVAILABLE .* self-signed certificate/);
    assert.equal(receiver.requests.length, 0);
  });

  it("may have a certificate of an authority of one's own", async () => {
    const { selfSigned } = await import("../testing/certificate.ts");
    const own = selfSigned();
    await using receiver = await Receiver.start([200], own);
    const trusting = open(receiver, { ca: own.cert });
    await trusting.report([aReport()], limit());
    const metrics = createMetrics();
    const wary = open(receiver, { ca: selfSigned().cert, metrics });
    const reports: readonly ErrorReport[] = [aReport()];
    await assert.rejects(wary.report(reports, limit()), { code: "ERR_REPORTER_UNAVAILABLE" });
    assert.equal((await sample(metrics)).retries_total, undefined, "another try would not mend it");
    assert.equal(receiver.requests.length, 1);
    await Promise.all([trusting.close(), wary.close()]);
  });
});
