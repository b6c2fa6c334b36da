import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { describe, it } from "node:test";
import { freePort } from "./free-port.ts";

describe("freePort", () => {
  it("gives a port that nothing listens on, and that can be listened on", async () => {
    const port = await freePort();
    const socket = connect(port, "127.0.0.1");
    const [error] = await once(socket, "error");
    assert.equal(error.code, "ECONNREFUSED");
    const server = createServer().listen(port, "127.0.0.1");
    await once(server, "listening");
    server.close();
    await once(server, "close");
  });

  it("never gives the same twice, also to many that ask at the same time", async () => {
    const ports: number[] = [];
    for (let round = 0; round < 10; round++) ports.push(...(await Promise.all(Array.from({ length: 30 }, freePort))));
    assert.equal(new Set(ports).size, 300);
  });
});
