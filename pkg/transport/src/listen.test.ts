import assert from "node:assert/strict";
import { createServer, type Server } from "node:net";
import { describe, it } from "node:test";
import { listen, toListenError } from "./listen.ts";

const variable = "PLINTH_HTTP_PORT";

describe("listen", () => {
  it("tells the free port that it took for 0", async () => {
    const server = createServer();
    const port = await listen(server, { host: "127.0.0.1", port: 0, variable });
    assert.deepEqual(server.address(), { address: "127.0.0.1", family: "IPv4", port });
    assert.equal(server.listenerCount("error"), 0);
    await closed(server);
  });

  it("names the port, the host and the variable when the port is busy", async () => {
    const [first, second] = [createServer(), createServer()];
    const port = await listen(first, { host: "127.0.0.1", port: 0, variable });
    await assert.rejects(listen(second, { host: "127.0.0.1", port, variable }), {
      name: "TransportError",
      code: "ERR_LISTEN_PORT_BUSY",
      status: "failed_precondition",
      message: `port ${port} on 127.0.0.1 is in use by another process; stop that, or set PLINTH_HTTP_PORT to a free port`,
    });
    assert.equal(second.listenerCount("listening"), 0);
    await closed(first);
  });

  it("tells an address that this machine does not have", async () => {
    await assert.rejects(listen(createServer(), { host: "192.0.2.1", port: 0, variable }), {
      code: "ERR_LISTEN_ADDRESS",
      message: /^cannot listen on 192\.0\.2\.1:0: .*EADDRNOTAVAIL.*; check the address, or set PLINTH_HTTP_PORT$/,
    });
  });

  it("rejects a port out of range, and a second call, as it rejects everything else", async () => {
    const server = createServer();
    await assert.rejects(listen(server, { host: "127.0.0.1", port: 65_536, variable }), { code: "ERR_LISTEN_ADDRESS" });
    await listen(server, { host: "127.0.0.1", port: 0, variable });
    await assert.rejects(listen(server, { host: "127.0.0.1", port: 0, variable }), { code: "ERR_LISTEN_ADDRESS" });
    await closed(server);
  });

  it("keeps the cause", () => {
    const cause = Object.assign(new Error("listen EACCES"), { code: "EACCES" });
    const error = toListenError(cause, { host: "0.0.0.0", port: 80, variable });
    assert.equal(error.cause, cause);
    assert.match(error.message, /^cannot listen on 0\.0\.0\.0:80: listen EACCES;/);
  });
});

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
