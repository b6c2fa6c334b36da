import assert from "node:assert/strict";
import { AssertionError } from "node:assert";
import { type ChildProcess, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { unwatchFile, watch, watchFile } from "node:fs";
import { open } from "node:fs/promises";
import { Agent, createServer, get, globalAgent, type Server } from "node:http";
import { connect, createServer as createTcpServer, type AddressInfo } from "node:net";
import { describe, it } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { defineModule } from "../app/module.ts";
import { provider } from "../app/provider.ts";
import { token } from "../app/token.ts";
import { coreModule } from "../core-module.ts";
import { checkLeaks } from "./leaks.ts";
import { testApp } from "./test-app.ts";

const thisFile = /leaks\.test\.ts:\d+/;
const portOf = (server: { address(): unknown }): number => (server.address() as AddressInfo).port;

/** What the check says of what `make` leaves; `undo` then puts it right. */
async function leftBy<T>(make: () => T | Promise<T>, undo: (made: T) => unknown): Promise<string> {
  const leaks = checkLeaks({ graceMs: 0 });
  const made = await make();
  try {
    await leaks.assertNone();
    return "";
  } catch (error) {
    assert.ok(error instanceof AssertionError);
    return error.message;
  } finally {
    await undo(made);
  }
}

async function listening(): Promise<Server> {
  const server = createServer((_, response) => void response.end("hello")).listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

async function close(server: Server): Promise<void> {
  server.close();
  await once(server, "close");
}

async function request(port: number, agent: Agent): Promise<void> {
  const [response] = await once(get({ port, host: "127.0.0.1", agent }), "response");
  response.resume();
  await once(response, "end");
}

describe("checkLeaks", () => {
  it("names a server that still listens, and where it was made", async () => {
    const message = await leftBy(listening, close);
    assert.match(
      message,
      /^1 thing is left open:\n {2}- server, made at pkg\/kernel\/src\/testing\/leaks\.test\.ts:\d+$/,
    );
  });

  it("names a server on a name that had to be looked up", async () => {
    const listen = async (): Promise<Server> => {
      const server = createServer().listen(0, "localhost");
      await once(server, "listening");
      return server;
    };
    assert.match(await leftBy(listen, close), new RegExp(`- server, made at .*${thisFile.source}$`, "m"));
  });

  it("names both ends of a connection: where it was opened, and the server that accepted it", async () => {
    const server = createTcpServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const message = await leftBy(
      async () => {
        const client = connect(portOf(server), "127.0.0.1");
        const [accepted] = await once(server, "connection");
        return [client, accepted];
      },
      (sockets) => sockets.forEach((socket) => void socket.destroy()),
    );
    server.close();
    // the server itself was there before, and so where it accepts is nobody's here
    assert.match(message, new RegExp(`^1 thing is left open:\n {2}- socket, made at .*${thisFile.source}$`));
    const all = await leftBy(
      async () => {
        const own = createTcpServer().listen(0, "127.0.0.1");
        await once(own, "listening");
        const client = connect(portOf(own), "127.0.0.1");
        const [accepted] = await once(own, "connection");
        return { own, sockets: [client, accepted] };
      },
      ({ own, sockets }) => {
        own.close();
        for (const socket of sockets) socket.destroy();
      },
    );
    assert.match(all, /^3 things are left open:/);
    assert.equal(all.match(new RegExp(`- (?:server|socket), made at .*${thisFile.source}`, "g"))?.length, 3);
  });

  it("names a timer and an interval, also unreferenced, and of the promise kind", async () => {
    const cancel = new AbortController();
    const message = await leftBy(
      () => {
        void wait(70_000, undefined, { signal: cancel.signal }).catch(() => undefined);
        return [setTimeout(() => {}, 60_000), setTimeout(() => {}, 50_000).unref(), setInterval(() => {}, 40_000)];
      },
      (timers) => {
        cancel.abort();
        for (const timer of timers) clearTimeout(timer);
      },
    );
    assert.match(message, /^4 things are left open:/);
    for (const what of [
      "timer of 60000 ms,",
      "timer of 50000 ms (unref),",
      "interval of 40000 ms,",
      "timer of 70000 ms,",
    ]) {
      assert.ok(message.includes(`  - ${what} made at `), `${what} in ${message}`);
    }
  });

  it("names a timer that sets itself anew each time", async () => {
    let timer: NodeJS.Timeout | undefined;
    const again = (): void => {
      timer = setTimeout(again, 1);
    };
    const leaks = checkLeaks({ graceMs: 30 });
    again();
    await assert.rejects(leaks.assertNone(), /timer of 1 ms, made at/);
    clearTimeout(timer);
  });

  it("names a child process by its id, and a worker thread", async () => {
    let child: ChildProcess | undefined;
    const message = await leftBy(
      async () => {
        child = spawn(process.execPath, ["--eval", "setInterval(() => {}, 60000)"], { stdio: "pipe" });
        const worker = new Worker("setInterval(() => {}, 60000)", { eval: true });
        await once(worker, "online");
        return worker;
      },
      async (worker) => {
        child?.kill("SIGKILL");
        await Promise.all([child && once(child, "close"), worker.terminate()]);
      },
    );
    assert.match(message, new RegExp(`- child process ${child?.pid}, made at .*${thisFile.source}`));
    assert.match(message, new RegExp(`- 3 times pipe, made at .*${thisFile.source}`));
    assert.match(message, new RegExp(`- worker thread, made at .*${thisFile.source}`));
  });

  it("names file watchers, an open file and a UDP socket", async () => {
    const message = await leftBy(
      async () => {
        const watcher = watch(import.meta.dirname);
        watchFile(import.meta.filename, () => {});
        const file = await open(import.meta.filename);
        const udp = createSocket("udp4").bind(0, "127.0.0.1");
        await once(udp, "listening");
        return { watcher, file, udp };
      },
      async ({ watcher, file, udp }) => {
        watcher.close();
        unwatchFile(import.meta.filename);
        udp.close();
        await file.close();
      },
    );
    assert.match(message, /^4 things are left open:/);
    assert.equal(message.match(/- file watcher, made at .*leaks\.test\.ts/g)?.length, 2);
    // Node does not tell from where it was opened
    assert.match(message, /- file handle( of .*leaks\.test\.ts)?, made at an unknown place/);
    assert.match(message, /- UDP socket, made at .*leaks\.test\.ts/);
  });

  it("names listeners of the process and signal handlers, also the second of two that are the same", async () => {
    const listener = (): void => {};
    process.on("SIGUSR2", listener);
    const message = await leftBy(
      () => {
        process.once("SIGUSR2", listener);
        process.on("warning", listener);
        process.on("exit", listener).off("exit", listener);
      },
      () => {
        process.off("SIGUSR2", listener).off("SIGUSR2", listener).off("warning", listener);
      },
    );
    assert.match(message, /^2 things are left open:/);
    assert.match(message, new RegExp(`- listener of process "SIGUSR2", made at .*${thisFile.source}`));
    assert.match(message, new RegExp(`- listener of process "warning", made at .*${thisFile.source}`));
  });

  it("tells what is made often at one place in one line", async () => {
    const message = await leftBy(
      () => Array.from({ length: 100 }, () => setTimeout(() => {}, 60_000)),
      (timers) => timers.forEach((timer) => clearTimeout(timer)),
    );
    assert.match(message, /^100 things are left open:\n {2}- 100 times timer of 60000 ms, made at .*:\d+$/);
  });

  it("says nothing of what was there before", async () => {
    const server = await listening();
    const timer = setTimeout(() => {}, 60_000);
    await checkLeaks().assertNone();
    clearTimeout(timer);
    await close(server);
  });

  it("says nothing of what has ended by itself, or is still closing at the end", async () => {
    await using _leaks = checkLeaks();
    setTimeout(() => {}, 30);
    AbortSignal.timeout(60_000);
    const server = await listening();
    const client = connect(portOf(server), "127.0.0.1");
    await once(client, "connect");
    client.destroy();
    server.close();
    const child = spawn(process.execPath, ["--eval", "setInterval(() => {}, 60000)"], { stdio: "pipe" });
    await once(child, "spawn");
    child.kill();
    const file = await open(import.meta.filename);
    await file.close();
    const worker = new Worker("", { eval: true });
    await once(worker, "exit");
    const watcher = watch(import.meta.dirname);
    watcher.close();
    process.stdout.write("");
    process.stderr.write("");
  });

  it("says nothing of idle connections that fetch and the global agent keep, but of those of an agent of one's own", async () => {
    const server = await listening();
    const port = portOf(server);
    const leaks = checkLeaks();
    await (await fetch(`http://127.0.0.1:${port}`)).text();
    await request(port, globalAgent);
    await leaks.assertNone();
    const message = await leftBy(
      async () => {
        const agent = new Agent({ keepAlive: true });
        await request(port, agent);
        return agent;
      },
      (agent) => agent.destroy(),
    );
    assert.match(message, new RegExp(`- socket \\(unref\\), made at .*${thisFile.source}`));
    globalAgent.destroy();
    await close(server);
  });

  it("fails at the end of its block, and says the same to whoever asks again", async () => {
    let timer: NodeJS.Timeout | undefined;
    await assert.rejects(async () => {
      await using leaks = checkLeaks({ graceMs: 0 });
      timer = setTimeout(() => {}, 60_000);
      await assert.rejects(leaks.assertNone(), /timer of 60000 ms/);
      clearTimeout(timer);
    }, /timer of 60000 ms/);
  });

  it("looks at nothing once it has ended, and leaves nothing itself", async () => {
    const before = process.listenerCount("newListener");
    const leaks = checkLeaks();
    assert.equal(process.listenerCount("newListener"), before + 1);
    await leaks.assertNone();
    assert.equal(process.listenerCount("newListener"), before);
    const timer = setTimeout(() => {}, 60_000);
    await leaks.assertNone();
    clearTimeout(timer);
  });

  for (const graceMs of [-1, Number.NaN]) {
    it(`refuses a grace of ${graceMs}`, () => {
      assert.throws(() => checkLeaks({ graceMs }), { code: "ERR_OPTION_RANGE", message: /^graceMs / });
    });
  }
});

describe("an app", () => {
  const settings = { name: "leaks", modules: [coreModule] };

  it("leaves nothing behind, fifty times started and stopped", async () => {
    await using _leaks = checkLeaks();
    for (let round = 0; round < 50; round++) {
      await using app = await testApp(settings);
      assert.equal(app.state, "ready");
    }
  });

  it("is told of a server that one of its providers forgets", async () => {
    let forgotten: Server | undefined;
    const forgetful = provider({
      provides: token("server").of<Server>(),
      create: listening,
      start: (server) => void (forgotten = server),
    });
    await assert.rejects(
      async () => {
        await using _leaks = checkLeaks({ graceMs: 0 });
        await using _app = await testApp({ name: "leaks", modules: [defineModule("forgetful", [forgetful])] });
      },
      new RegExp(`- server, made at .*${thisFile.source}`),
    );
    assert.ok(forgotten);
    await close(forgotten);
  });
});
