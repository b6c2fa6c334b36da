import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { metric, RawConnection, startHttp, type TestHttp } from "../testing/http.ts";
import type { HttpApp } from "./server.ts";

const routes = (app: HttpApp): void => void app.get("/", async () => "served");
const never = new AbortController().signal;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "plinth-listener-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const onPath = (more = {}): Promise<TestHttp> =>
  startHttp({ routes, settings: { socketPath: join(folder, "s"), ...more } });

async function askOn(socketPath: string): Promise<number | undefined> {
  const asked = request({ socketPath, path: "/", agent: false });
  asked.end();
  const [response] = await once(asked, "response");
  response.resume();
  return response.statusCode;
}

describe("a Unix domain socket", () => {
  for (const http2 of [false, true]) {
    it(`is served, for its owner and group alone, and is gone after the close${http2 ? ", with HTTP/2 too" : ""}`, async () => {
      const path = join(folder, "s");
      {
        await using _ = await onPath({ http2 });
        assert.equal(await askOn(path), 200);
        assert.equal(statSync(path).mode & 0o777, 0o660);
      }
      assert.equal(existsSync(path), false);
    });
  }

  it("has the permissions that the settings say", async () => {
    await using _ = await onPath({ socketMode: "600" });
    assert.equal(statSync(join(folder, "s")).mode & 0o777, 0o600);
  });

  it("is taken over from a process that was killed", async () => {
    const path = join(folder, "s");
    await leaveStale(path);
    await using _ = await onPath();
    assert.equal(await askOn(path), 200);
  });

  it("is left to the process that answers on it: the start fails and names it", async () => {
    await using first = await onPath();
    await assert.rejects(onPath(), {
      code: "ERR_LISTEN_PORT_BUSY",
      message: /\/s is in use by another process; stop that, or set another socketPath/,
    });
    assert.equal(await askOn(join(folder, "s")), 200, "and the first one is unhurt");
    await first.server.drain({ signal: never });
  });

  it("is no file that somebody needs: it is left there, and the start fails", async () => {
    const path = join(folder, "s");
    writeFileSync(path, "needed");
    await assert.rejects(onPath(), { code: "ERR_LISTEN_ADDRESS", message: /something that is no socket is there/ });
    assert.ok(statSync(path).isFile());
  });

  it("is not made in a folder that is not there", async () => {
    await assert.rejects(onPath({ socketPath: join(folder, "none", "s") }), {
      code: "ERR_LISTEN_ADDRESS",
      message: /none\/s: .*check the folder/,
    });
  });

  it("is drained like a port", async () => {
    const http = await onPath();
    const socket = connect(join(folder, "s"));
    socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    await once(socket, "data");
    socket.resume();
    await Promise.all([once(socket, "close"), http.server.drain({ signal: never })]);
    await http.server.close();
  });
});

/** A socket's file without a process behind it, as a process leaves it that is killed. */
async function leaveStale(path: string): Promise<void> {
  const server = createServer().listen(join(folder, "moved"));
  await once(server, "listening");
  const { linkSync } = await import("node:fs");
  linkSync(join(folder, "moved"), path);
  await new Promise((resolve) => server.close(resolve)); // removes its own name
  chmodSync(path, 0o600);
}

describe("a port", () => {
  for (const http2 of [false, true]) {
    it(`that is busy fails the start and is named${http2 ? ", with HTTP/2 too" : ""}`, async () => {
      await using first = await startHttp({ routes });
      await assert.rejects(startHttp({ routes, settings: { port: first.server.port, http2 } }), {
        code: "ERR_LISTEN_PORT_BUSY",
        message: new RegExp(`^port ${first.server.port} on 127.0.0.1 is in use`),
      });
    });
  }

  it("is shared by several that say so", async () => {
    await using first = await startHttp({ routes, settings: { reusePort: true } });
    await using second = await startHttp({ routes, settings: { reusePort: true, port: first.server.port } });
    assert.equal(second.server.port, first.server.port);
    assert.equal((await first.fetch("/")).status, 200);
  });
});

describe("the connections at once", () => {
  for (const http2 of [false, true]) {
    it(`are held to their number, counted, and served again once some have gone${http2 ? ", with HTTP/2 too" : ""}`, async () => {
      await using http = await startHttp({ routes, settings: { maxConnections: 5, http2 } });
      const idle = Array.from({ length: 5 }, () => http.connect());
      while ((await metric(http, "http_server_connections ")) < 5) await new Promise(setImmediate);
      assert.equal(await new RawConnection(http.server.port).ended, "", "one more is closed at once");
      assert.equal(await metric(http, "http_server_connections_dropped_total "), 1);
      for (const connection of idle) connection.destroy();
      while ((await metric(http, "http_server_connections ")) > 0) await new Promise(setImmediate);
      assert.equal((await http.fetch("/")).status, 200);
    });
  }

  it("may stand idle by the thousand: others are served, and a drain ends all of them", async () => {
    await using http = await startHttp({ routes });
    const sockets: Socket[] = [];
    for (let at = 0; at < 2_000; at++) {
      const socket = connect(http.server.port, "127.0.0.1");
      sockets.push(socket.on("error", () => {}));
      await once(socket, "connect");
    }
    for (const socket of sockets) {
      socket.resume();
      socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    while (
      (await metric(http, 'http_server_request_duration_seconds_count{method="GET",route="/",status="200"}')) !== 2_000
    )
      await new Promise(setImmediate);
    assert.equal((await http.fetch("/")).status, 200);
    const closed = Promise.all(sockets.map((socket) => once(socket, "close")));
    await http.server.drain({ signal: never });
    await closed;
    assert.equal(await metric(http, "http_server_connections "), 0);
  });
});
