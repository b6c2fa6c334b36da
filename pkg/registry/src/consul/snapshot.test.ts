import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import type { InstanceSet, Registry, RegistryEvent } from "../registry.ts";
import { type Script, ScriptedAgent, scriptedEntry, waitForSet } from "../testing/index.ts";
import { type ConsulRegistryOptions, createConsulRegistry } from "./consul-registry.ts";

const limits = { timeout: 20_000 };

function ids({ instances }: InstanceSet): readonly string[] {
  return instances.map(({ id }) => id);
}

/** One process after the other, on one agent and one file. */
class Machine implements AsyncDisposable {
  readonly folder: string;
  readonly agent: ScriptedAgent;
  readonly events: RegistryEvent[] = [];
  readonly #opened: Registry[] = [];

  private constructor(folder: string, agent: ScriptedAgent) {
    this.folder = folder;
    this.agent = agent;
  }

  static async start(script: Script): Promise<Machine> {
    return new Machine(await mkdtemp(join(tmpdir(), "plinth-snapshot-")), await ScriptedAgent.start(script));
  }

  get file(): string {
    return join(this.folder, "known.json");
  }

  open(options: ConsulRegistryOptions = {}): Registry {
    const registry = createConsulRegistry({
      address: this.agent.address,
      environment: {},
      maxRequestsPerSecond: 1_000,
      maxBackoffMs: 5,
      emptyConfirmMs: 30,
      requestTimeoutMs: 500,
      snapshotFile: this.file,
      onEvent: (event) => this.events.push(event),
      ...options,
    });
    this.#opened.push(registry);
    return registry;
  }

  /** One process that has seen the agent's instances and ended. */
  async know(): Promise<void> {
    const own = this.open();
    await own.follow("notes").ready;
    await own.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#opened.map((registry) => registry.close()));
    await this.agent[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true });
  }
}

const answering =
  (...names: readonly string[]): Script =>
  ({ query }) =>
    query.has("index") ? "hang" : { index: 5, body: names.map((name) => scriptedEntry(name)) };

it("starts without Consul on the snapshot, flagged stale with its age, until Consul answers", limits, async () => {
  await using machine = await Machine.start(answering("a-1"));
  await machine.know();
  machine.agent.play(() => "cut");
  const own = machine.open();
  const view = own.follow("notes", { filter: { protocol: "http" } });
  assert.deepEqual([ids(view.current!), view.current!.stale], [["a-1"], true], "at once, without waiting");
  assert.ok(view.current!.ageMs >= 0);
  await view.ready;
  assert.deepEqual(ids(await own.resolve("notes")), ["a-1"]);
  machine.agent.play(answering("a-1", "a-2"));
  await waitForSet(own, "notes", (set) => !set.stale && ids(set).join() === "a-1,a-2");
  assert.equal(machine.events.filter(({ type }) => type === "snapshot_served").length, 1);
  await own.close();
  assert.match(await readFile(machine.file, "utf8"), /a-2/);
});

it("resolves by one read, and by the snapshot only when that fails", limits, async () => {
  await using machine = await Machine.start(answering("a-1"));
  await machine.know();
  machine.agent.play(answering("a-2"));
  const own = machine.open();
  assert.deepEqual(ids(await own.resolve("notes")), ["a-2"]);
  machine.agent.play(() => ({ status: 500 }));
  const set = await own.resolve("notes");
  assert.deepEqual([ids(set), set.stale], [["a-1"], true]);
  assert.deepEqual(ids(await own.resolve("notes", { filter: { zone: "z1" } })), []);
  await assert.rejects(own.resolve("tasks"), { code: "ERR_REGISTRY_UNAVAILABLE" });
});

it("drops what the snapshot knew only when an empty answer is confirmed", limits, async () => {
  await using machine = await Machine.start(answering("a-1"));
  await machine.know();
  machine.agent.play(() => ({ index: 5, body: [] }));
  const own = machine.open();
  const seen: string[] = [];
  await waitForSet(own, "notes", (set) => {
    seen.push(`${ids(set).join()}${set.stale ? " stale" : ""}`);
    return set.instances.length === 0;
  });
  assert.deepEqual(seen, ["a-1 stale", ""]);
  await own.close();
  assert.equal(machine.open().follow("notes").current, undefined);
});

it("is not kept by a process that has only lived on it", limits, async () => {
  await using machine = await Machine.start(answering("a-1"));
  await machine.know();
  const before = await readFile(machine.file, "utf8");
  machine.agent.play(() => "cut");
  const own = machine.open();
  own.follow("notes");
  await machine.agent.received(({ path }) => path.endsWith("/notes"), 8);
  await own.close();
  assert.equal(await readFile(machine.file, "utf8"), before);
});

it("is of one datacenter alone", limits, async () => {
  await using machine = await Machine.start(answering("a-1"));
  await machine.know();
  machine.agent.play(() => "cut");
  assert.equal(machine.open({ datacenter: "dc2" }).follow("notes").current, undefined);
  assert.equal(machine.events.filter(({ type }) => type === "snapshot_ignored").length, 1);
});

it("refuses a limit of its age that is none", () => {
  assert.throws(() => createConsulRegistry({ snapshotMaxAgeMs: 999 }), {
    code: "ERR_OPTION_RANGE",
    message: /^snapshotMaxAgeMs /,
  });
});
