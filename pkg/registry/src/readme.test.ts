import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { promisify } from "node:util";
import { type ConsulAgent, startConsul } from "../../../scripts/servers/index.ts";

const folder = join(import.meta.dirname, "..");

/** Runs the example of the README that calls `what`, and gives what it has printed. */
async function run(what: string, agent?: ConsulAgent): Promise<string> {
  const text = await readFile(join(folder, "README.md"), "utf8");
  const examples = [...text.matchAll(/```ts\n(.*?)```/gs)].map(([, example = ""]) => example);
  const example = examples.find((each) => each.includes(`${what}(`)) ?? assert.fail(`no example calls ${what}`);
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--conditions=plinth-source", "--input-type=module-typescript", "--eval", example],
    { cwd: folder, env: { ...process.env, PLINTH_CONSUL_ADDR: agent?.address } },
  );
  return stdout;
}

it("runs the example of the README", { timeout: 30_000 }, async () => {
  await using agent = await startConsul();
  assert.equal(await run("createConsulRegistry", agent), "[ 'notes-1 at 127.0.0.1:3000' ]\n");
  const left = await fetch(`${agent.address}/v1/agent/services`);
  assert.deepEqual(await left.json(), {});
});

it("runs the example of the client", { timeout: 30_000 }, async () => {
  await using agent = await startConsul();
  assert.equal(await run("createConsulClient", agent), "[ 'consul is passing' ] 0\ntrue true\n");
});

it("runs the example of config from Consul", { timeout: 30_000 }, async () => {
  await using agent = await startConsul();
  const put = async (key: string, body: string): Promise<void> => {
    assert.ok((await fetch(`${agent.address}/v1/kv/${key}`, { method: "PUT", body })).ok);
  };
  await put("config/shared", "log:\n  level: error\n");
  assert.equal(await run("consulConfig", agent), "");
  await put("config/notes/log/level", "info");
  assert.match(await run("consulConfig", agent), /"level":"info"/);
  await put("config/notes/log/level", "loud");
  await assert.rejects(run("consulConfig", agent), /log\.level: .*\(consul:config\/notes\/log\/level\)/);
});

it("runs the example of changes and maintenance", { timeout: 30_000 }, async () => {
  await using agent = await startConsul();
  assert.equal(await run("maintenance", agent), "");
});

it("runs the examples of filters and lists", { timeout: 30_000 }, async () => {
  const [filters, lists] = await Promise.all([run("splitByVersion"), run("createStaticRegistry")]);
  assert.match(filters, /^\[ 'notes-1' \]\n\[ 'notes-[12]' \]\n\[\s+\{\s+service: 'notes',\s+passing: 2,/);
  assert.equal(lists, "[ 'notes@10.0.0.1:3000' ]\n");
});
