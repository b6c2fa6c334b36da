import assert from "node:assert/strict";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { type ConsulClient, type ConsulConnectionOptions, createConsulClient } from "../index.ts";
import { ScriptedAgent } from "../testing/index.ts";

const limits = { timeout: 20_000 };

/** A server of bare connections, for what no HTTP server does. */
async function wire(serve: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    serve(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    address: `127.0.0.1:${typeof address === "object" ? address?.port : 0}`,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

async function asked<T>(options: ConsulConnectionOptions, ask: (consul: ConsulClient) => Promise<T>): Promise<T> {
  const consul = createConsulClient({ environment: {}, requestTimeoutMs: 10_000, ...options });
  try {
    return await ask(consul);
  } finally {
    await consul.close();
  }
}

const head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

describe("an answer that is none", limits, () => {
  const answers: readonly (readonly [what: string, bytes: string, code: string])[] = [
    ["a greeting of SSH", "SSH-2.0-OpenSSH_9.2\r\n", "ERR_REGISTRY_RESPONSE"],
    ["bytes of TLS", "\u0015\u0003\u0001\u0000\u0002\u0002\n\r\n", "ERR_REGISTRY_RESPONSE"],
    ["a head without an end", `${head}x: ${"y".repeat(40_000)}`, "ERR_REGISTRY_RESPONSE"],
    ["a length that is no number", `${head}content-length: many\r\n\r\n`, "ERR_REGISTRY_RESPONSE"],
    ["a chunk that is no chunk", `${head}transfer-encoding: chunked\r\n\r\nzz\r\n`, "ERR_REGISTRY_RESPONSE"],
    ["half a body, and the end", `${head}content-length: 100\r\n\r\n[{"a":`, "ERR_REGISTRY_UNAVAILABLE"],
    ["half a chunk, and the end", `${head}transfer-encoding: chunked\r\n\r\n5\r\n[{`, "ERR_REGISTRY_UNAVAILABLE"],
    ["nothing, and the end", "", "ERR_REGISTRY_UNAVAILABLE"],
    [
      "more bytes than will be read, said before",
      `${head}content-length: 99999\r\n\r\n[`,
      "ERR_REGISTRY_RESPONSE_SIZE",
    ],
  ];
  for (const [what, bytes, code] of answers) {
    it(`is told as what it is: ${what}`, async () => {
      await using server = await wire((socket) => socket.once("data", () => socket.end(bytes, "latin1")));
      await assert.rejects(
        asked({ address: server.address, maxResponseBytes: 10_000 }, (consul) => consul.health("notes")),
        { code, message: /^GET \/v1\/health\/service\/notes at http:/ },
      );
    });
  }

  it("is cut where it grows beyond its limit, however slowly it says so", async () => {
    const chunk = `400\r\n${"x".repeat(1_024)}\r\n`;
    await using server = await wire((socket) => {
      socket.once("data", () => {
        socket.write(`${head}transfer-encoding: chunked\r\n\r\n`);
        const more = (): void => void (socket.writable && socket.write(chunk, more));
        more();
      });
    });
    await assert.rejects(
      asked({ address: server.address, maxResponseBytes: 10_000 }, (consul) => consul.health("notes")),
      { code: "ERR_REGISTRY_RESPONSE_SIZE", message: /more than 10000 bytes; raise consul\.maxResponseBytes/ },
    );
  });
});

describe("a request", limits, () => {
  const stages: readonly (readonly [what: string, bytes: string | undefined])[] = [
    ["before an answer", undefined],
    ["in the middle of a head", "HTTP/1.1 200 OK\r\nx: "],
    ["after the head", `${head}content-length: 100\r\n\r\n`],
    ["in the middle of the body", `${head}content-length: 100\r\n\r\n[{"a":`],
  ];
  for (const [what, bytes] of stages) {
    it(`ends at once when it is aborted ${what}, and lets go of its connection`, async () => {
      const begun = Promise.withResolvers<Socket>();
      await using server = await wire((socket) => {
        socket.once("data", () => {
          if (bytes === undefined) begun.resolve(socket);
          else socket.write(bytes, () => begun.resolve(socket));
        });
      });
      const over = new AbortController();
      await asked({ address: server.address }, async (consul) => {
        const asking = consul.health("notes", { index: 7, waitMs: 600_000, signal: over.signal });
        const socket = await begun.promise;
        const closed = new Promise((resolve) => socket.once("close", resolve)); // by a reset too
        socket.once("end", () => socket.end());
        socket.resume();
        over.abort(new Error("not wanted"));
        await assert.rejects(asking, { message: "not wanted" });
        await closed;
      });
    });

    it(`is given up at its deadline ${what}`, async () => {
      const clock = new FakeClock();
      const begun = Promise.withResolvers<void>();
      await using server = await wire((socket) => {
        socket.once("data", () => {
          if (bytes === undefined) begun.resolve();
          else socket.write(bytes, () => begun.resolve());
        });
      });
      await asked({ address: server.address, clock, requestTimeoutMs: 3_000 }, async (consul) => {
        const asking = consul.health("notes", { index: 7, waitMs: 16_000 });
        asking.catch(() => {});
        await begun.promise;
        await clock.advance(17_000 + 2_999);
        const isOver = await Promise.race([
          asking.then(
            () => true,
            () => true,
          ),
          Promise.resolve(false),
        ]);
        assert.equal(isOver, false, "the wait, a sixteenth more, and the time of a request are not over");
        await clock.advance(1);
        await assert.rejects(asking, { code: "ERR_REGISTRY_TIMEOUT", message: /no answer within 20000 ms/ });
      });
    });
  }

  it("is given up long before its wait is over where no connection is made", async () => {
    await using server = await wire(() => {}); // begins no TLS
    const address = `https://${server.address}`;
    await asked({ address, requestTimeoutMs: 150 }, async (consul) => {
      await assert.rejects(consul.health("notes", { index: 7, waitMs: 600_000 }), {
        code: "ERR_REGISTRY_TIMEOUT",
        message: /found no connection within 150 ms/,
      });
    });
  });

  it("is not begun when it is aborted before, and has no deadline afterwards", async () => {
    const clock = new FakeClock();
    await using agent = await ScriptedAgent.start(() => ({ body: [] }));
    await asked({ address: agent.address, clock }, async (consul) => {
      const signal = AbortSignal.abort(new Error("too late"));
      await assert.rejects(consul.health("notes", { signal }), { message: "too late" });
      assert.equal(agent.requests.length, 0);
      await consul.health("notes");
      await clock.advance(1_000_000);
      assert.equal(agent.requests.length, 1);
    });
  });

  it("is answered in full by a server that has closed its half after the answer", async () => {
    await using server = await wire((socket) => {
      socket.on("data", () => socket.end(`${head}content-length: 2\r\n\r\n[]`));
    });
    await asked({ address: server.address }, async (consul) => {
      for (let turn = 0; turn < 3; turn++) assert.deepEqual((await consul.health("notes")).items, []);
    });
  });

  it("ends with the client, and none is begun after", async () => {
    await using agent = await ScriptedAgent.start(() => "hang");
    const consul = createConsulClient({ address: agent.address, environment: {} });
    const asking = consul.health("notes");
    const request = await agent.received(() => true);
    const closing = consul.close();
    await assert.rejects(asking, { code: "ERR_REGISTRY_CLOSED" });
    await closing;
    await consul.close();
    await request.closed;
    await assert.rejects(consul.health("notes"), { code: "ERR_REGISTRY_CLOSED" });
  });

  it("is told of from its begin to its end, and one who throws at that ends nothing", async () => {
    await using agent = await ScriptedAgent.start(({ query }) => (query.has("index") ? { status: 500 } : { body: [] }));
    const told: string[] = [];
    const warned = once(process, "warning");
    const onEvent: ConsulConnectionOptions["onEvent"] = (event) => {
      told.push(event.type === "request_begun" ? `${event.operation}?` : `${event.operation} ${event.outcome}`);
      throw new Error("a listener of no use");
    };
    await asked({ address: agent.address, onEvent }, async (consul) => {
      await consul.health("notes");
      await assert.rejects(consul.health("notes", { index: 5 }), { code: "ERR_REGISTRY_UNAVAILABLE" });
    });
    assert.deepEqual(told, ["instances?", "instances ok", "watch?", "watch unavailable"]);
    const [warning]: unknown[] = await warned;
    assert.ok(warning instanceof Error && warning.message.includes("a listener of no use"));
  });
});

describe("a token in a file", limits, () => {
  let folder = "";
  const file = (): string => join(folder, "token");
  before(async () => void (folder = await mkdtemp(join(tmpdir(), "plinth-token-"))));
  after(() => rm(folder, { recursive: true }));
  /** What was sent, request by request, while `script` says which tokens hold. */
  async function sent(holds: (token: string) => boolean, ask: (consul: ConsulClient) => Promise<unknown>) {
    await using agent = await ScriptedAgent.start(async ({ headers }) => {
      const token = String(headers["x-consul-token"]);
      if (token === "first") await writeFile(file(), " second\n"); // replaced while the request is under way
      return holds(token) ? { body: [] } : { status: 403, body: "Permission denied" };
    });
    await asked({ address: agent.address, tokenFile: file() }, ask);
    return agent.requests.map(({ headers }) => headers["x-consul-token"]);
  }

  it("is read again once after a 403, and the request sent with the other one", async () => {
    await writeFile(file(), "first");
    const tokens = await sent(
      (token) => token === "second",
      (consul) => consul.health("notes"),
    );
    assert.deepEqual(tokens, ["first", "second"]);
  });

  it("is not read a third time, and not asked with again when it is the same", async () => {
    const refuse = (consul: ConsulClient): Promise<unknown> =>
      assert.rejects(consul.health("notes"), { code: "ERR_REGISTRY_DENIED", message: /check consul\.token/ });
    await writeFile(file(), "first");
    assert.deepEqual(await sent(() => false, refuse), ["first", "second"]);
    assert.deepEqual(await sent(() => false, refuse), ["second"]);
  });

  const unreadable: readonly (readonly [what: string, make: () => Promise<unknown>, message: RegExp])[] = [
    ["is not there", () => rm(file(), { force: true }), /token, cannot be read: .*ENOENT.*is tokenFile right/],
    ["is empty", () => writeFile(file(), " \n"), /token, is empty/],
    ["holds two lines", () => writeFile(file(), "a\nb"), /must hold one line of visible ASCII/],
    ["is large", () => writeFile(file(), "x".repeat(70_000)), /at most 65536 are read/],
    [
      "is a folder",
      async () => {
        await rm(file());
        await mkdir(file());
        await chmod(file(), 0o700);
      },
      /no regular file|EISDIR/,
    ],
  ];
  for (const [what, make, message] of unreadable) {
    it(`that ${what} lets nothing be sent, and is named`, async () => {
      await make();
      const asking = asked({ address: "127.0.0.1:1", tokenFile: file() }, (consul) => consul.health("notes"));
      await assert.rejects(asking, { code: "ERR_REGISTRY_TOKEN", message });
    });
  }

  it("does not stand beside a token, and neither holds what no header can", () => {
    const refused = { code: "ERR_OPTION_RANGE" };
    assert.throws(() => createConsulClient({ token: "a", tokenFile: "/b", environment: {} }), refused);
    assert.throws(() => createConsulClient({ tokenFile: "", environment: {} }), refused);
    const secret = "s3cret\r\nx: y";
    assert.throws(
      () => createConsulClient({ token: secret, environment: {} }),
      (error: Error) => error.message.startsWith("token must be") && !error.message.includes("s3cret"),
    );
  });
});
