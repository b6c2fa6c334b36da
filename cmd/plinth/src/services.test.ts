import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createConsulClient, createConsulRegistry } from "@plinth/registry";
import { ScriptedAgent } from "@plinth/registry/testing";
import { freePort, until } from "@plinth/kernel/testing";
import { type ConsulAgent, startConsul } from "../../../scripts/servers/index.ts";
import { safe } from "./table.ts";

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command line, with nothing of the real environment that names an agent. */
function plinth(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(PLINTH_|CONSUL_|NODE_TEST_CONTEXT$)/.test(name));
  const options = { env: { ...Object.fromEntries(inherited), ...env } };
  const command = ["--conditions=plinth-source", join(import.meta.dirname, "main.ts"), "services", ...args];
  return new Promise((resolve) => {
    const child = execFile(process.execPath, command, options, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    );
  });
}

describe("plinth services", () => {
  let agent: ConsulAgent;
  before(async () => {
    agent = await startConsul();
  });
  after(() => agent.stop());

  it("prints what is registered with health, version, zone and address; of one service alone; and for programs", async () => {
    const registry = createConsulRegistry({ address: agent.address });
    const client = createConsulClient({ address: agent.address });
    const ports = { http: 3000, grpc: 3001 };
    await registry.register({ service: "notes", id: "notes-1", host: "127.0.0.1", ports, version: "1.2.0", zone: "a" });
    await registry.register(
      { service: "users", id: "users-1", host: "127.0.0.1", ports: { http: 4000 } },
      { readiness: () => "critical" },
    );
    // written by somebody else, who means no good
    const evil = {
      ID: "evil",
      Name: "evil",
      Address: "127.0.0.1",
      Port: 1,
      Meta: { "plinth-version": "\u001b[2J\u202e" },
    };
    await fetch(`${agent.address}/v1/agent/service/register`, { method: "PUT", body: JSON.stringify(evil) });
    await until(async () => (await client.catalogServices()).items.length === 4, { limitMs: 20_000 });

    const all = await plinth(["--consul", agent.address]);
    assert.deepEqual([all.code, all.stderr], [0, ""]);
    const [head = "", ...lines] = all.stdout.split("\n");
    assert.match(head, /^SERVICE +STATE +VERSION +ZONE +ADDRESS +ID +NOT PASSING$/);
    assert.match(lines[0] ?? "", /^evil +passing +\\u\{1b\}\[2J\\u\{202e\} +- +127\.0\.0\.1 port:1 +evil$/);
    assert.match(lines[1] ?? "", /^notes +passing +1\.2\.0 +a +127\.0\.0\.1 http:3000 grpc:3001 +notes-1$/);
    assert.match(
      lines[2] ?? "",
      /^users +critical +- +- +127\.0\.0\.1 http:4000 +users-1 +readiness as the process says/,
    );
    assert.match(lines.at(-2) ?? "", /^\d+ ms old$/);

    const one = await plinth(["notes", "--json"], { PLINTH_CONSUL_ADDR: agent.address });
    assert.deepEqual([one.code, one.stderr], [0, ""]);
    const shown = JSON.parse(one.stdout);
    assert.equal(shown.stale, false);
    assert.deepEqual(
      shown.instances.map(({ id, state, ports: known }: { id: string; state: string; ports: unknown }) => [
        id,
        state,
        known,
      ]),
      [["notes-1", "passing", ports]],
    );

    const none = await plinth(["note"], { CONSUL_HTTP_ADDR: agent.address });
    assert.deepEqual([none.code, none.stdout], [1, ""]);
    assert.match(none.stderr, /^plinth: no service "note" is registered.*"notes"/);
    await registry.close();
    await client.close();
  });

  it("says that what it prints may be out of date where Consul has no leader", async () => {
    await using scripted = await ScriptedAgent.start(() => ({
      index: 1,
      headers: { "x-consul-knownleader": "false", "x-consul-lastcontact": "60000" },
      body: {},
    }));
    const { code, stdout } = await plinth(["--consul", scripted.address]);
    assert.equal(code, 0);
    assert.equal(
      stdout,
      "no service is registered\n\n60000 ms old; STALE: Consul has no leader, or has not heard of it for long\n",
    );
  });

  it("ends with 1 where there is no Consul, and with 2 where the command line is faulty", async () => {
    const nobody = await plinth(["--consul", `127.0.0.1:${await freePort()}`]);
    assert.deepEqual([nobody.code, nobody.stdout], [1, ""]);
    assert.match(nobody.stderr, /^plinth: .*ECONNREFUSED.*; --consul names another agent\n$/);
    for (const args of [["a", "b"], ["--consul"], ["--format=dot"]])
      assert.equal((await plinth(args)).code, 2, args.join(" "));
  });

  it("shows as code points what would move the cursor, colour the text or turn its direction", () => {
    assert.equal(
      safe("a\u001b[31m\r\n\u202eb\u2028\u0000é 漢"),
      "a\\u{1b}[31m\\u{d}\\u{a}\\u{202e}b\\u{2028}\\u{0}é 漢",
    );
  });
});
