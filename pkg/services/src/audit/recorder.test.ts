import assert from "node:assert/strict";
import { appendFile, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { AppError, coreModule, createMetrics, defineModule, provider, runInContext } from "@plinth/kernel";
import { FakeClock, testApp, until } from "@plinth/kernel/testing";
import { createGrpcChannel } from "@plinth/transport";
import { fakeAudit, referenceServer } from "../testing/index.ts";
import { createAuditClient } from "./client.ts";
import { auditClient, auditRecorder, auditRecorderModule } from "./module.ts";
import { createAuditRecorder } from "./recorder.ts";
import type { AuditRecorderOptions, NewAuditEvent } from "./recorder-options.ts";
import { openSpillFile } from "./spill-file.ts";

const down = new AppError("ERR_RPC_UNAVAILABLE", "unavailable", "audit cannot be reached");
const event = (action = "notes.delete"): NewAuditEvent => ({
  actor: { type: "user", id: "1" },
  action,
  outcome: "success",
});

/** A recorder, the fake that it records to, and a clock that stands still. */
function start(options: Partial<AuditRecorderOptions> = {}) {
  const clock = new FakeClock();
  const audit = fakeAudit({ clock });
  const reports: unknown[] = [];
  const errors = { report: (error: unknown) => (reports.push(error), AppError.from(error)) };
  const recorder = createAuditRecorder({ client: audit, clock, random: () => 0.999, errors, ...options });
  const actions = () => audit.control.entries.map((entry) => entry.event.action);
  return { clock, audit, recorder, reports, actions };
}

async function withFolder(run: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "plinth-audit-"));
  try {
    await run(join(folder, "spill"));
  } finally {
    await rm(folder, { recursive: true });
  }
}

describe("createAuditRecorder", () => {
  it("sends what comes within a moment in one call, with what the request knows", async () => {
    const { clock, audit, recorder } = start({ source: { service: "notes" } });
    const attributes = { a: "1" };
    const inRequest = () => recorder.record({ ...event(), attributes });
    await runInContext({ requestId: "r-1" }, inRequest);
    attributes.a = "changed later";
    await recorder.record(event("notes.create"));
    assert.equal(audit.control.entries.length, 0);
    await clock.advance(200);
    await recorder.flush();
    assert.equal(audit.control.calls("recordBatch"), 1);
    const [first, second] = audit.control.entries;
    assert.deepEqual(first?.event.source, { requestId: "r-1", service: "notes" });
    assert.deepEqual(first.event.attributes, { a: "1" });
    assert.equal(second?.event.occurredAt.getTime(), clock.now() - 200);
    assert.equal(recorder.stats().kept, 2);
  });

  it("waits for nobody when a batch is full", async () => {
    const { audit, recorder } = start({ maxBatch: 2 });
    for (let at = 0; at < 2; at++) await recorder.record(event());
    await until(() => audit.control.entries.length === 2);
  });

  it("fails nobody while the service is down, tries with growing pauses, and delivers each event once", async () => {
    const { clock, audit, recorder } = start({ maxBatch: 1 });
    audit.control.failNext("recordBatch", down, 3);
    await recorder.record(event());
    await until(() => audit.control.calls("recordBatch") === 1);
    await clock.advance(98);
    assert.equal(audit.control.calls("recordBatch"), 1);
    await clock.advance(1);
    assert.equal(audit.control.calls("recordBatch"), 2);
    await clock.advance(199);
    assert.equal(audit.control.calls("recordBatch"), 3);
    await clock.advance(1_000);
    assert.deepEqual([audit.control.entries.length, recorder.stats().waiting], [1, 0]);
  });

  it("sends a batch again whose answer was lost, and Audit has its events once", async () => {
    const { clock, audit } = start();
    let isLost = true;
    const client: AuditRecorderOptions["client"] = {
      recordBatch: async (events, options) => {
        const results = await audit.recordBatch(events, options);
        if (isLost) throw ((isLost = false), down);
        return results;
      },
    };
    const recorder = createAuditRecorder({ client, clock, maxBatch: 1 });
    await recorder.record(event());
    await until(() => !isLost);
    await clock.advance(1_000);
    assert.deepEqual([audit.control.entries.length, recorder.stats().kept], [1, 1]);
  });

  it("counts what finds no room, and tells of it", async () => {
    const { audit, recorder, reports } = start({ maxQueue: 2 });
    audit.control.failNext("recordBatch", down, Infinity);
    for (let at = 0; at < 5; at++) await recorder.record(event());
    assert.deepEqual([recorder.stats().lost.full, recorder.stats().waiting], [3, 2]);
    assert.equal(AppError.from(reports[0]).code, "ERR_AUDIT_LOST");
    const big = start({ maxQueueBytes: 2_048 });
    await big.recorder.record({ ...event(), attributes: { long: "x".repeat(2_048) } });
    assert.equal(big.recorder.stats().lost.full, 1);
  });

  it("gives an event up that cannot be delivered for too long", async () => {
    const { clock, audit, recorder } = start({ retryMs: 1_000, maxBatch: 1 });
    audit.control.failNext("recordBatch", down, Infinity);
    await recorder.record(event());
    await clock.advance(5_000);
    assert.deepEqual([recorder.stats().lost.expired, recorder.stats().waiting], [1, 0]);
  });

  it("loses the event alone that is refused", async () => {
    const { recorder, actions, reports } = start();
    for (const action of ["a", "No Action", "b"]) await recorder.record(event(action));
    await recorder.flush();
    assert.deepEqual(actions(), ["a", "b"]);
    assert.equal(recorder.stats().lost.refused, 1);
    assert.match(AppError.from(AppError.from(reports[0]).cause).message, /ERR_AUDIT_EVENT_INVALID/);
  });

  it("finds the event alone for which a whole call is refused", async () => {
    const { clock, audit, actions } = start();
    const client: AuditRecorderOptions["client"] = {
      recordBatch: (events, options) => {
        if (events.some(({ action }) => action === "poison"))
          throw new AppError("ERR_RPC_REQUEST", "resource_exhausted", "too large");
        return audit.recordBatch(events, options);
      },
    };
    const recorder = createAuditRecorder({ client, clock });
    for (const action of ["a", "b", "poison", "c", "d"]) await recorder.record(event(action));
    await recorder.flush();
    assert.deepEqual(actions(), ["a", "b", "c", "d"]);
    assert.deepEqual([recorder.stats().kept, recorder.stats().lost.refused], [4, 1]);
  });

  it("never throws at what is no event", async () => {
    const { recorder } = start({ newEventId: () => "short" });
    await recorder.record(event());
    assert.equal(recorder.stats().lost.refused, 1);
  });

  it("sends what waits when it is closed, once, and takes no more", async () => {
    const { recorder, actions } = start();
    await recorder.record(event("last"));
    const { signal } = new AbortController();
    await Promise.all([recorder.close({ signal }), recorder.close({ signal })]);
    assert.deepEqual(actions(), ["last"]);
    await recorder.record(event("late"));
    assert.equal(recorder.stats().lost.closed, 1);
  });

  it("counts what is left when its time to close is up, also while full and in the middle of a call", async () => {
    const { audit, recorder } = start({ maxQueue: 2, maxBatch: 1 });
    audit.control.hold("recordBatch", new Promise(() => {}));
    for (let at = 0; at < 3; at++) await recorder.record(event());
    await until(() => audit.control.calls("recordBatch") === 1);
    const stop = new AbortController();
    const closed = recorder.close({ signal: stop.signal });
    stop.abort();
    await closed;
    const { lost, waiting } = recorder.stats();
    assert.deepEqual([lost.full, lost.closed, waiting], [1, 2, 0]);
  });

  it("shows in the metrics what it has done", async () => {
    const metrics = createMetrics();
    const { recorder } = start({ metrics, maxQueue: 1 });
    for (let at = 0; at < 2; at++) await recorder.record(event());
    const { body } = await metrics.expose();
    assert.match(body, /audit_recorder_lost_events_total\{reason="full"\} 1\n/);
    assert.match(body, /audit_recorder_waiting_events 1\n/);
  });
});

describe("a recorder over the wire", () => {
  it("slows nobody while the service hangs or is gone, and delivers each event once when it is back", async () => {
    const audit = fakeAudit();
    const server = await referenceServer({ audit });
    const channel = await createGrpcChannel({ peer: "audit", address: server.grpcAddress });
    const client = createAuditClient({ channel });
    const random = () => 0;
    const recorder = createAuditRecorder({ client, timeoutMs: 50, lingerMs: 0, random });
    const back = Promise.withResolvers<void>();
    audit.control.hold("recordBatch", back.promise);
    await recorder.record(event());
    await until(() => audit.control.calls("recordBatch") >= 2, { limitMs: 30_000 });
    audit.control.hold("recordBatch", undefined);
    back.resolve();
    await until(() => recorder.stats().kept === 1, { limitMs: 30_000 });
    await server.close();
    await recorder.record(event());
    await recorder.record(event());
    await recorder.close({ signal: AbortSignal.timeout(20) });
    assert.equal(recorder.stats().lost.closed, 2);
    assert.equal(audit.control.entries.length, 1);
    await channel.close();
  });
});

describe("confirmed delivery", () => {
  it("resolves when the event is kept, and rejects when it is refused", async () => {
    const { recorder, actions } = start({ delivery: "confirmed" });
    await recorder.record(event("kept"));
    assert.deepEqual(actions(), ["kept"]);
    await assert.rejects(recorder.record(event("No Action")), {
      code: "ERR_AUDIT_LOST",
      status: "failed_precondition",
    });
  });

  it("rejects when nobody knows in time, and keeps trying", async () => {
    const { clock, audit, recorder } = start({ delivery: "confirmed", confirmMs: 1_000 });
    audit.control.failNext("recordBatch", down, 5);
    const recorded = recorder.record(event());
    const refused = assert.rejects(recorded, { code: "ERR_AUDIT_UNCONFIRMED", status: "deadline_exceeded" });
    await clock.advance(1_000);
    await refused;
    await clock.advance(10_000);
    assert.equal(audit.control.entries.length, 1);
  });

  it("rejects when there is no room, and after it was closed", async () => {
    const { audit, recorder } = start({ delivery: "confirmed", maxQueue: 1 });
    audit.control.failNext("recordBatch", down, Infinity);
    const first = assert.rejects(recorder.record(event()), { code: "ERR_AUDIT_LOST" });
    await assert.rejects(recorder.record(event()), { code: "ERR_AUDIT_RECORDER_FULL", retryable: true });
    await recorder.close();
    await first;
    await assert.rejects(recorder.record(event()), { code: "ERR_AUDIT_RECORDER_CLOSED" });
  });
});

describe("the spill", () => {
  it("takes what finds no room, readable by its owner alone, and delivers it when the service is back", () =>
    withFolder(async (path) => {
      const { clock, audit, recorder, actions } = start({ maxQueue: 1, spill: { path } });
      audit.control.failNext("recordBatch", down, 2);
      for (const action of ["a", "b", "c"]) await recorder.record(event(action));
      await until(() => recorder.stats().spilledBytes > 0);
      assert.equal((await stat(path)).mode & 0o777, 0o600);
      await clock.advance(200);
      await until(async () => {
        await clock.advance(1_000);
        return actions().length === 3;
      });
      assert.deepEqual(actions().toSorted(), ["a", "b", "c"]);
      await recorder.flush();
      assert.deepEqual([recorder.stats().spilledBytes, (await stat(path)).size], [0, 0]);
      await recorder.close();
    }));

  it("keeps what is left at the end for the next start, around lines that were half written", () =>
    withFolder(async (path) => {
      const first = start({ spill: { path } });
      first.audit.control.failNext("recordBatch", down, Infinity);
      await first.recorder.record({ ...event("kept"), target: { type: "note", id: "1" }, attributes: { ü: "\n" } });
      await first.recorder.close();
      assert.deepEqual(first.recorder.stats().lost.closed, 0);
      await appendFile(path, '{"eventId":"half');
      const second = start({ spill: { path } });
      second.audit.control.failNext("recordBatch", down, Infinity);
      await second.recorder.record(event("later"));
      await second.recorder.close();
      assert.equal((await readFile(path, "utf8")).trimEnd().split("\n").length, 3);
      await appendFile(path, '{"eventId":"half again');
      const third = start({ spill: { path } });
      await until(() => third.actions().length === 2);
      await third.recorder.flush();
      assert.deepEqual(third.actions(), ["kept", "later"]);
      assert.deepEqual(third.audit.control.entries[0]?.event.attributes, { ü: "\n" });
      assert.equal(third.recorder.stats().lost.spill_damaged, 2);
      await third.recorder.close();
    }));

  it("is bounded, and what it has no room for is lost", () =>
    withFolder(async (path) => {
      const { recorder, audit } = start({ maxQueue: 1, spill: { path, maxBytes: 1_024 } });
      audit.control.failNext("recordBatch", down, Infinity);
      for (let at = 0; at < 20; at++) await recorder.record(event());
      await recorder.close();
      assert.ok((await stat(path)).size <= 1_024);
      const { full, closed } = recorder.stats().lost;
      assert.ok(full + closed >= 10 && full + closed < 20, `${full} ${closed}`);
    }));

  it("counts what a full disk does not take, and goes on when it takes again", () =>
    withFolder(async (path) => {
      let isFull = true;
      const open = async () => {
        const file = await openSpillFile(path);
        const append = async (text: string): Promise<void> => {
          if (!isFull) return file.append(text);
          await file.append(text.slice(0, 20));
          throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
        };
        return { ...file, append };
      };
      const { audit, recorder, actions } = start({ maxQueue: 1, spill: { path, open } });
      audit.control.failNext("recordBatch", down, Infinity);
      await recorder.record(event("a"));
      await recorder.record(event("b"));
      await until(() => recorder.stats().lost.spill_failed === 1);
      isFull = false;
      await recorder.record(event("c"));
      await until(() => recorder.stats().spilledBytes > 20);
      audit.control.reset();
      await recorder.flush();
      await until(() => actions().length === 2);
      await recorder.flush();
      assert.deepEqual(actions().toSorted(), ["a", "c"]);
      assert.equal(recorder.stats().lost.spill_damaged, 1);
      await recorder.close();
    }));

  it("confirms what it has taken", () =>
    withFolder(async (path) => {
      const { audit, recorder } = start({ delivery: "confirmed", maxQueue: 1, spill: { path } });
      audit.control.failNext("recordBatch", down, Infinity);
      const first = recorder.record(event());
      await recorder.record(event());
      await recorder.close();
      await first;
    }));

  it("tells when its file cannot be opened, and fails nobody", async () => {
    const { recorder, reports } = start({ spill: { path: "/none/such" } });
    await recorder.record(event());
    await recorder.flush();
    assert.equal(AppError.from(reports[0]).code, "ERR_AUDIT_SPILL");
    assert.equal(recorder.stats().kept, 1);
    await recorder.close();
  });
});

describe("auditRecorderModule", () => {
  it("records under the app's name, and flushes when the app stops", async () => {
    const audit = fakeAudit();
    const client = defineModule("fake-audit", [provider({ provides: auditClient, create: () => audit })]);
    const modules = [coreModule, client, auditRecorderModule];
    await using app = await testApp({ name: "notes", modules, expose: [auditRecorder] });
    await app.get(auditRecorder).record(event());
    await app.stop();
    assert.deepEqual(audit.control.entries[0]?.event.source, { service: "notes" });
  });
});
