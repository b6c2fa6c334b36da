import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { freePort } from "@plinth/kernel/testing";
import type { WebhookPayload, WebhookReport } from "@plinth/reporters";

async function serve(listener: RequestListener) {
  const server = createServer(listener);
  const port = await freePort();
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${port}/`,
    [Symbol.dispose]: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Keeps the reports that are posted to it. */
async function startReceiver() {
  const reports: WebhookReport[] = [];
  const server = await serve((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      const payload: WebhookPayload = JSON.parse(body);
      reports.push(...payload.reports);
      response.end();
    });
  });
  return { ...server, reports };
}

/** Answers what it is told to. */
async function startSource() {
  const source = { status: 200, body: '{"EUR":0.92}' };
  const server = await serve((_request, response) => void response.writeHead(source.status).end(source.body));
  return Object.assign(source, server);
}

async function startRates(environment: Record<string, string>) {
  const port = await freePort();
  const child = spawn(process.execPath, ["--conditions=plinth-source", join(import.meta.dirname, "main.ts")], {
    env: {
      ...process.env,
      NODE_TEST_CONTEXT: undefined,
      PLINTH_HTTP_PORT: String(port),
      PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "0",
      PLINTH_RATES_INTERVAL_MS: "50",
      PLINTH_RATES_MAX_AGE_MS: "200",
      PLINTH_ERRORS_FOLD_INTERVAL_MS: "500",
      ...environment,
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  for await (const line of createInterface(child.stdout)) if (JSON.parse(line).message === "app ready") break;
  child.stdout.resume();
  return {
    child,
    exited,
    get: async (path: string) => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`);
      return { status: response.status, text: await response.text() };
    },
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** Gives what `look` does as soon as it gives something, within half a minute. */
async function eventually<T>(look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (let turn = 0; turn < 1_500; turn++) {
    const found = await look();
    if (found !== undefined) return found;
    await delay(20);
  }
  return assert.fail(`not within half a minute: ${look.toString()}`);
}

describe("05-errors", () => {
  it("tells a webhook of a job that fails, at once and then with a count, and goes on, degraded, until it heals", async () => {
    using receiver = await startReceiver();
    using source = await startSource();
    await using rates = await startRates({ PLINTH_RATES_URL: source.url, PLINTH_WEBHOOK_URL: receiver.url });
    const stateOf = async (): Promise<unknown> => JSON.parse((await rates.get("/ready")).text).state;
    const inState = (state: string) => eventually(async () => ((await stateOf()) === state ? true : undefined));
    await eventually(async () => ((await rates.get("/rates/EUR")).status === 200 ? true : undefined));
    await inState("ready");
    assert.deepEqual(receiver.reports, []);

    source.status = 500;
    const first = await eventually(() => receiver.reports[0]);
    assert.equal(first.count, 1);
    assert.match(first.traceId ?? "", /^[0-9a-f]{32}$/);
    assert.partialDeepStrictEqual(first, {
      service: "rates",
      origin: "job",
      handled: true,
      severity: "error",
      attributes: { task: "rates.refresh" },
      error: { code: "ERR_RATES_SOURCE", cause: { message: "the answer is 500" } },
    });
    const second = await eventually(() => receiver.reports[1]);
    assert.ok(second.count > 1, `stands for ${second.count}`);
    assert.equal(second.fingerprint, first.fingerprint);

    await inState("degraded");
    const { status, text } = await rates.get("/ready?verbose");
    const { checks }: { checks: { name: string }[] } = JSON.parse(text);
    assert.equal(status, 200);
    assert.partialDeepStrictEqual(
      checks.find(({ name }) => name === "rates"),
      { status: "warn", critical: false, output: "failed", cause: "the rates are older than 200 ms" },
    );
    assert.deepEqual(await rates.get("/rates/EUR"), { status: 200, text: '{"rate":0.92}' });

    source.status = 200;
    await inState("ready");
    const shown = (await rates.get("/metrics")).text;
    assert.match(shown, /^rates_fetches_total\{outcome="ok"\} [1-9]/m);
    assert.match(shown, /^rates_fetches_total\{outcome="failed"\} [1-9]/m);
    assert.match(shown, /^rates_age_seconds \d/m);

    rates.child.kill("SIGTERM");
    assert.deepEqual(await rates.exited, [0, null]);
  });

  it("starts without its source and without a webhook, and says that a rate is not known", async () => {
    await using rates = await startRates({ PLINTH_RATES_URL: `http://127.0.0.1:${await freePort()}/` });
    const answer = await rates.get("/rates/EUR");
    assert.equal(answer.status, 404);
    assert.equal(JSON.parse(answer.text).code, "ERR_RATE_UNKNOWN");
    assert.equal((await rates.get("/ready")).status, 200);
    rates.child.kill("SIGTERM");
    assert.deepEqual(await rates.exited, [0, null]);
  });
});
