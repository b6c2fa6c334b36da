import assert from "node:assert/strict";
import { access } from "node:fs/promises";
import { describe, it, type TestContext } from "node:test";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { listProcesses, treeOf } from "./cpu.ts";
import { Lab } from "./lab.ts";
import { chooseCpus } from "./machine.ts";

async function openLab(t: TestContext): Promise<Lab> {
  const lab = new Lab(await chooseCpus());
  t.after(() => lab.close());
  return lab;
}

const program = (script: string) => ({ name: "a program", bin: process.execPath, args: ["--eval", script] });
const listening = "const server = require('node:net').createServer().listen";
const serving = `${listening}(0, '127.0.0.1', () => console.log('READY ' + server.address().port))`;

describe("Lab", () => {
  it("starts a server on its CPU alone, and stops it", async (t) => {
    const lab = await openLab(t);
    const { server: cpu } = await chooseCpus();
    const running = await lab.server(program(`${serving};require('node:fs').writeSync(1, 'a line before\\n')`));
    assert.ok(running.port > 0);
    const status = await lab.run({ name: "taskset", bin: "taskset", args: ["-pc", String(running.pid)] });
    assert.match(status, new RegExp(`affinity list: ${cpu}\\n`));
    await running.stop();
    assert.ok(!listProcesses().some(({ pid }) => pid === running.pid));
  });

  it("waits for the port of a server that prints nothing", async (t) => {
    const lab = await openLab(t);
    const [port = 0] = await findFreePorts(1);
    const running = await lab.companion({ ...program(`${listening}(${port}, '127.0.0.1')`), port });
    assert.equal(running.port, port);
    await running.stop();
  });

  it("waits for the first 200 where a path is given", async (t) => {
    const lab = await openLab(t);
    const [port = 0] = await findFreePorts(1);
    // Up from the first moment, ready at the third question.
    const script = `let left = 2; require('node:http').createServer(({ url }, reply) =>
      reply.writeHead(url !== '/ready' ? 404 : left-- > 0 ? 503 : 200).end()).listen(${port}, '127.0.0.1')`;
    const running = await lab.server({ ...program(script), port, readyPath: "/ready" });
    assert.equal((await fetch(`http://127.0.0.1:${port}/ready`)).status, 200);
    await running.stop();
  });

  it("runs a program under test to its end on the server's CPU", async (t) => {
    const lab = await openLab(t);
    const { server } = await chooseCpus();
    const script =
      "console.log(/Cpus_allowed_list:\\s*(\\S+)/.exec(require('node:fs').readFileSync('/proc/self/status', 'utf8'))[1])";
    assert.equal(await lab.runAlone(program(script)), `${server}\n`);
  });

  it("tells what a server said that ended before it was ready", async (t) => {
    const lab = await openLab(t);
    await assert.rejects(lab.server(program("console.error('no licence'); process.exit(3)")), {
      code: "ERR_BENCH_PROCESS",
      message: "a program ended before it was ready (exit code 3); it said:\nno licence",
    });
  });

  it("tells that a program could not be found", async (t) => {
    const lab = await openLab(t);
    await assert.rejects(lab.server({ name: "peer", bin: "/no/such/program", args: [], port: 1 }), {
      code: "ERR_BENCH_PROCESS",
      message: /^peer ended before it was ready \(exit code 127\); it said:\n.*\/no\/such\/program/,
    });
  });

  it("tells when a server had ended by itself", async (t) => {
    const lab = await openLab(t);
    const running = await lab.server(program(`${serving};server.on('connection', () => process.exit(7))`));
    await lab.run(
      program(`require('node:net').connect(${running.port}, '127.0.0.1').on('close', () => {}).on('error', () => {})`),
    );
    await assert.rejects(running.stop(), { code: "ERR_BENCH_PROCESS", message: /^a program .*\(exit code 7\)/ });
  });

  it("gives back what a load program printed, and refuses its failure", async (t) => {
    const lab = await openLab(t);
    assert.equal(await lab.run(program("console.log('{}')")), "{}\n");
    await assert.rejects(lab.run(program("process.exit(1)")), { message: "a program failed (exit code 1)" });
  });

  it("leaves no process and no directory behind", async (t) => {
    const lab = await openLab(t);
    const directory = await lab.directory();
    const { pid } = await lab.server(program(serving));
    await lab.close();
    assert.ok(!treeOf(process.pid, listProcesses()).includes(pid));
    await assert.rejects(access(directory), { code: "ENOENT" });
    await lab.close();
    await assert.rejects(lab.server(program(serving)), { message: "a program was not started: the bench is ending" });
  });
});
