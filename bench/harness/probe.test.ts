import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { answers200, canConnect } from "./probe.ts";

async function listening(t: TestContext, onRequest: (socket: Socket, text: string) => void): Promise<number> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (bytes) => onRequest(socket, bytes.toString("latin1")));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return address.port;
}

describe("answers200", () => {
  it("is true at the first line of a 200, and asks for the path", async (t) => {
    let asked = "";
    const port = await listening(t, (socket, text) => {
      asked = text;
      socket.write("HTTP/1.1 200 OK\r\n");
    });
    assert.equal(await answers200(port, "/ready"), true);
    assert.match(asked, /^GET \/ready HTTP\/1\.1\r\n/);
  });
  it("puts together a first line that comes in parts", async (t) => {
    const port = await listening(t, (socket) => {
      socket.setNoDelay(true);
      socket.write("HTTP/1.1 2", () => socket.write("00 OK\r\n"));
    });
    assert.equal(await answers200(port, "/"), true);
  });
  for (const reply of ["HTTP/1.1 503 Service Unavailable\r\n\r\n", "HTTP/1.1 2000 x\r\n", "no HTTP\r\n", ""]) {
    it(`is false for ${JSON.stringify(reply)}`, async (t) => {
      const port = await listening(t, (socket) => socket.end(reply));
      assert.equal(await answers200(port, "/"), false);
    });
  }
  it("is false where the connection is reset", async (t) => {
    const port = await listening(t, (socket) => socket.resetAndDestroy());
    assert.equal(await answers200(port, "/"), false);
  });
  it("is false where nothing listens, as canConnect is", async () => {
    const [port = 0] = await findFreePorts(1);
    assert.equal(await answers200(port, "/"), false);
    assert.equal(await canConnect(port), false);
  });
});
