import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { describe, it } from "node:test";
import { createLogger } from "@plinth/kernel";
import { FakeClock, MemoryLog } from "@plinth/kernel/testing";
import { parseDocument, parseGatewayDocument } from "../config/document.ts";
import type { ParsedDocument } from "../config/schema.ts";
import { GatewayConfigError } from "../errors.ts";
import type { PreparedDocument } from "../server/generations.ts";
import { FakeTeam, type FakeWorker } from "../testing/fake-team.ts";
import { DocumentLink } from "./document-link.ts";
import { DocumentRounds } from "./rounds.ts";

const documentOf = (...names: readonly string[]): ParsedDocument =>
  parseGatewayDocument({
    routes: names.map((name) => ({ name, match: { path: `/${name}` }, service: "s", anonymous: true })),
  });
const parse = (document: unknown): ParsedDocument => parseDocument(document, { name: "test", places: new Map() });
const routesOf = (document: unknown): string =>
  parse(document)
    .routes.map(({ name }) => name)
    .join(" ");
const noChanges = { any: true, added: [], removed: [], changed: [] };

/** A worker whose gateway does what a test says. */
class Worker {
  readonly member: FakeWorker;
  readonly documents: DocumentLink;
  readonly lost: unknown[] = [];
  host = "127.0.0.1";
  port = 0;
  runs = "nothing";
  discarded = 0;
  problem: Error | undefined;
  /** Preparing waits for it. */
  gate: Promise<unknown> = Promise.resolve();

  constructor(member: FakeWorker, clock: FakeClock) {
    this.member = member;
    const onLost = (error: unknown): void => void this.lost.push(error);
    this.documents = new DocumentLink({ link: member.link, clock, toDocument: parse, onLost });
  }

  async begin(): Promise<void> {
    const { document } = await this.documents.hello();
    this.runs = routesOf(document);
    this.documents.join(this);
    await turn();
  }

  async prepare(document: unknown): Promise<PreparedDocument> {
    await this.gate;
    if (this.problem) throw this.problem;
    return {
      changes: noChanges,
      commit: () => (this.runs = routesOf(document)),
      discard: () => void this.discarded++,
    };
  }
}

async function setUp(count = 2) {
  const clock = new FakeClock();
  const team = new FakeTeam(count);
  const log = await createLogger({ destination: new MemoryLog() });
  const listening: number[] = [];
  const rounds = new DocumentRounds({
    team,
    clock,
    log,
    document: documentOf("one"),
    check: parse,
    onListens: ({ port }) => listening.push(port),
    prepareMs: 1_000,
  });
  const workers = team.workers.map((member) => new Worker(member, clock));
  for (const worker of workers) await worker.begin();
  const [first = assert.fail(), second = first] = workers;
  const running = (): string[] => workers.map(({ runs }) => runs);
  return { clock, team, rounds, workers, first, second, running, listening };
}

describe("a document for all workers", () => {
  it("is told to each at its start, taken by all at one time, and the state says who goes by which", async () => {
    const { rounds, running, first, second, team } = await setUp();
    assert.deepEqual(running(), ["one", "one"]);
    const held = Promise.withResolvers<void>();
    second.gate = held.promise;
    const reload = rounds.reload(documentOf("two"));
    await turn();
    assert.deepEqual(running(), ["one", "one"], "nobody takes it before all can");
    held.resolve();
    assert.deepEqual((await reload).added, ["two"]);
    await turn();
    assert.deepEqual(running(), ["two", "two"]);
    team.ready(first.member);
    await turn();
    const expected = [
      { worker: 1, pid: 1_001, generation: 2, isReady: true },
      { worker: 2, pid: 1_002, generation: 2, isReady: false },
    ];
    assert.deepEqual(first.documents.state?.workers, expected);
    assert.equal(second.documents.state?.wasWhole, false);
  });

  it("is let go by all when one cannot take it, with the fault and who says so; the next one is taken", async () => {
    const { rounds, running, first, second } = await setUp();
    second.problem = new GatewayConfigError([{ key: "jwt.x", problem: "no such file", source: "g.yaml:3" }]);
    await assert.rejects(rounds.reload(documentOf("two")), {
      code: "ERR_GATEWAY_CONFIG",
      message: /jwt\.x: no such file \(g\.yaml:3, worker 2\)/,
    });
    second.problem = new Error("no memory");
    await assert.rejects(rounds.reload(documentOf("two")), {
      code: "ERR_GATEWAY_WORKERS",
      message: "worker 2 cannot use the document: no memory",
    });
    await turn();
    assert.deepEqual([running(), first.discarded], [["one", "one"], 2]);
    second.problem = undefined;
    await rounds.reload(documentOf("three"));
    await turn();
    assert.deepEqual(running(), ["three", "three"]);
    assert.equal(rounds.state.generation, 2);
  });

  it("is let go by all when one does not answer in time, or ends meanwhile", async () => {
    const { rounds, running, first, second, clock, team } = await setUp();
    second.gate = new Promise(() => undefined);
    const late = assert.rejects(rounds.reload(documentOf("two")), /worker 2 .* did not prepare it within 1000 ms/);
    await turn();
    await clock.advance(1_000);
    await late;
    const left = assert.rejects(rounds.reload(documentOf("two")), /worker 2 .* ended while it prepared it/);
    await turn();
    team.kill(second.member);
    await left;
    await turn();
    assert.deepEqual([running(), first.discarded], [["one", "one"], 2]);
    await rounds.reload(documentOf("two"));
    await turn();
    assert.equal(first.runs, "two", "those who are left take the next one");
  });

  it("is had by one that starts while the others prepare", async () => {
    const { rounds, first, team, clock } = await setUp(1);
    const held = Promise.withResolvers<void>();
    first.gate = held.promise;
    const reload = rounds.reload(documentOf("two"));
    await turn();
    const late = new Worker(team.start(2), clock);
    await late.begin();
    assert.equal(late.runs, "one");
    held.resolve();
    await reload;
    await turn();
    await turn();
    assert.equal(late.runs, "two");
    assert.deepEqual(
      rounds.state.workers.map(({ generation }) => generation),
      [2, 2],
    );
  });

  it("is had by one that stood still for so long that it has let it go, and one that cannot have it ends", async () => {
    const { rounds, second, clock } = await setUp();
    const reload = rounds.reload(documentOf("two"));
    const send = second.member.send.bind(second.member);
    let commit = (): void => assert.fail("nothing was committed");
    second.member.send = (channel, data) => {
      if (JSON.stringify(data).includes('"commit"')) commit = () => send(channel, data);
      else send(channel, data);
    };
    await reload;
    await clock.advance(30_000);
    commit();
    for (let each = 0; each < 5; each++) await turn();
    assert.deepEqual([second.discarded, second.runs], [1, "two"]);
    second.problem = new Error("no memory");
    second.member.link.send("gateway.document", { type: "behind", round: 1 });
    await turn();
    await turn();
    assert.match(String(second.lost), /no memory/);
  });

  it("may come from the code of a worker, which hears what became of it; those at one time follow one another", async () => {
    const { first, second, running } = await setUp();
    const both = [first.documents.reload(documentOf("two")), second.documents.reload(documentOf("three"))];
    const [one, two] = await Promise.all(both);
    assert.deepEqual([one?.added, two?.added, two?.removed], [["two"], ["three"], ["two"]]);
    await turn();
    assert.deepEqual(running(), ["three", "three"]);
    assert.equal((await first.documents.reload(documentOf("three"))).any, false);
    first.problem = new Error("no memory");
    await assert.rejects(second.documents.reload(documentOf("four")), /worker 1 cannot use the document: no memory/);
  });

  it("is not waited for when the primary does not answer, or has gone", async () => {
    const { team, clock, first } = await setUp();
    team.hang();
    const late = new Worker(team.start(3), clock);
    const hello = assert.rejects(late.documents.hello(), {
      code: "ERR_GATEWAY_WORKERS",
      message: /gatewayPrimaryModuleOf/,
    });
    await clock.advance(10_000);
    await hello;
    const reload = assert.rejects(first.documents.reload(documentOf("two")), /the primary has gone/);
    first.member.lose();
    await reload;
    await assert.rejects(first.documents.reload(documentOf("two")), /the primary has gone/);
  });

  it("tells where workers listen, and passes over nonsense", async () => {
    const { first, listening, team, rounds } = await setUp();
    first.port = 8_080;
    first.documents.join(first);
    for (const nonsense of [null, 7, { type: "prepared" }, { type: "prepared", round: 99 }, { type: "reload", id: -1 }])
      team.workers[0]?.link.send("gateway.document", nonsense);
    await turn();
    assert.deepEqual(listening, [8_080]);
    assert.equal(rounds.state.generation, 1);
    rounds.close();
  });
});
