import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createMetrics } from "../metrics/create-metrics.ts";
import { FakePrimaryPort } from "../testing/fake-primary-port.ts";
import { checkLeaks, FakeClock } from "../testing/index.ts";
import { AppLink } from "./app-link.ts";
import type { PrimaryMessage } from "./messages.ts";
import { readSnapshot } from "./snapshot-text.ts";

const identity = { worker: 2, scrapeMs: 1_000 };

function setUp() {
  const clock = new FakeClock();
  const port = new FakePrimaryPort();
  const own = createMetrics();
  const requests = own.counter({ name: "requests_total", help: "Requests.", labels: ["route"] });
  requests.inc({ route: "/a" }, 3);
  const link = new AppLink({ app: "notes", own, identity, port, clock, stopMs: 25_000 });
  const answer = (message: Partial<Extract<PrimaryMessage, { type: "scraped" }>> = {}): void => {
    const id = port.ofType("scrape").at(-1)?.id ?? 0;
    port.tell({ type: "scraped", id, contentType: "text/plain", body: "all 1\n", ...message });
  };
  return { clock, port, own, requests, link, answer };
}

const aloneBody = (body: string): void => {
  assert.match(body, /^requests_total\{route="\/a",worker="2"\} 3$/m);
  assert.match(body, /^workers_aggregated\{worker="2"\} 0$/m);
};

describe("an app in a worker", () => {
  it("tells the primary its name and how long it may take to stop", () => {
    assert.deepEqual(setUp().port.sent, [{ type: "app", app: "notes", stopMs: 25_000 }]);
  });

  it("tells its metrics when it is asked for them, and not when another app is", async () => {
    const { port, clock, own } = setUp();
    port.tell({ type: "collect", app: "mail", round: 1 });
    port.tell({ type: "collect", app: "notes", round: 2 });
    await clock.advance(0);
    const [told, ...others] = port.ofType("snapshot");
    assert.deepEqual([told?.app, told?.round, others], ["notes", 2, []]);
    assert.deepEqual(readSnapshot(told?.text ?? ""), await own.snapshot());
  });

  it("answers also when its metrics cannot be told", async (t) => {
    const warned = t.mock.method(process, "emitWarning", () => {});
    const { port, clock, own } = setUp();
    t.mock.method(own, "snapshot", () => Promise.reject(new Error("broken")));
    port.tell({ type: "collect", app: "notes", round: 2 });
    await clock.advance(0);
    assert.deepEqual(port.ofType("snapshot"), [{ type: "snapshot", app: "notes", round: 2 }]);
    assert.match(
      String(warned.mock.calls[0]?.arguments[0]),
      /the metrics of notes cannot be told to the primary: broken/,
    );
  });

  it("shows what the primary says, one question for simultaneous scrapes of one format", async () => {
    await using _ = checkLeaks();
    const { link, port, clock, answer } = setUp();
    const scrapes = [link.expose(), link.expose({ accept: "text/plain" })];
    await clock.advance(0);
    assert.deepEqual(
      port.ofType("scrape").map(({ app, format }) => [app, format]),
      [["notes", "prometheus"]],
    );
    answer();
    for (const scrape of scrapes) assert.deepEqual(await scrape, { contentType: "text/plain", body: "all 1\n" });
    const later = link.expose({ accept: "application/openmetrics-text" });
    await clock.advance(0);
    assert.deepEqual(port.ofType("scrape").at(-1)?.format, "openmetrics");
    answer({ body: "all 2\n" });
    assert.equal((await later).body, "all 2\n");
    assert.equal(clock.pending, 0);
  });

  it("shows its own metrics, marked, when the primary does not answer in time, and what it says the next time", async () => {
    const { link, clock, answer, port } = setUp();
    let body: string | undefined;
    void link.expose().then((exposed) => (body = exposed.body));
    await clock.advance(1_999);
    assert.equal(body, undefined);
    await clock.advance(1);
    aloneBody(body ?? "");
    answer(); // too late, for nobody
    const next = link.expose();
    await clock.advance(0);
    assert.equal(port.ofType("scrape").length, 2);
    answer({ body: "all 2\n" });
    assert.equal((await next).body, "all 2\n");
    assert.equal(clock.pending, 0);
  });

  it("shows its own metrics when the primary cannot put all together, in the format asked for", async () => {
    const { link, clock, port } = setUp();
    const scrape = link.expose({ accept: "application/openmetrics-text" });
    await clock.advance(0);
    port.tell({ type: "scraped", id: 99 }); // for somebody else
    port.tell({ type: "scraped", id: port.ofType("scrape").at(-1)?.id ?? 0 });
    const { contentType, body } = await scrape;
    assert.match(contentType, /^application\/openmetrics-text/);
    aloneBody(body);
  });

  it("shows its own metrics as soon as the primary has gone, to those who wait and to all after", async () => {
    const { link, clock, port } = setUp();
    const waiting = link.expose();
    await clock.advance(0);
    port.close();
    aloneBody((await waiting).body);
    aloneBody((await link.expose()).body);
    assert.equal(port.ofType("scrape").length, 1);
    assert.equal(clock.pending, 0);
  });

  it("lets a scrape go whose caller has gone", async () => {
    const { link, clock } = setUp();
    const gone = new AbortController();
    const scrape = link.expose({ signal: gone.signal });
    await clock.advance(0);
    gone.abort(new Error("gone"));
    await assert.rejects(scrape, { message: "gone" });
    await clock.advance(2_000);
    assert.equal(clock.pending, 0);
  });

  it("tells its last values when it closes, once, and listens no longer", async () => {
    const { link, requests, port } = setUp();
    requests.inc({ route: "/a" });
    await Promise.all([link.close(), link.close()]);
    const [told, ...others] = port.ofType("snapshot");
    assert.deepEqual([told?.round, others, port.listeners], [undefined, [], 0]);
    assert.match(told?.text ?? "", /"value":4/);
    assert.match((await link.expose()).body, /worker="2"\} 4/);
  });

  it("closes also when the primary has gone", async () => {
    const { link, port } = setUp();
    port.close();
    await link.close();
    assert.deepEqual([port.ofType("snapshot"), port.listeners], [[], 0]);
  });
});
