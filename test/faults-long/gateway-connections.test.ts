// Many clients that hold connections and ask for nothing: what each costs, and that the rest is served.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe } from "node:test";
import { until } from "@plinth/kernel/testing";
import { echo, exchangeRaw, httpInstance, openRoute, startGateway } from "../../pkg/gateway/src/testing/kit.ts";
import { faultTest } from "../support/fault-row.ts";
import { memoryInUse } from "../support/memory.ts";

const many = 10_000;
/** Above what is measured by as much again. */
const maxBytesEach = 32 * 1024;
/** In all, once they are gone. */
const maxLeftBytes = 16 * 1024 * 1024;

/** In a process of its own: so many connections, each of which has had one reply. Says so, and holds them until its input ends. */
const holder = `
const { connect } = require("node:net");
const [port, count] = process.argv.slice(1).map(Number);
let served = 0, begun = 0;
const next = () => {
  if (begun === count) return;
  begun++;
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write("GET / HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n");
  socket.once("data", () => { if (++served === count) console.log("held"); next(); });
};
for (let at = 0; at < 50; at++) next();
process.stdin.resume().once("end", () => process.exit());
`;

describe("the gateway under connections that do nothing", () => {
  for (const cleartext of [false, true]) {
    faultTest(
      {
        fault: "idle connections",
        done: `${many} clients keep a connection alive${cleartext ? ", beside HTTP/2" : ""}`,
        expected: `less than ${maxBytesEach / 1024} KiB each, one more is refused, all memory is given back`,
      },
      async (witness) => {
        await using instance = await httpInstance(echo);
        await using running = await startGateway({
          settings: { accessLog: false, maxConnections: many, http2: { cleartext }, keepAliveTimeoutMs: 600_000 },
          routes: [openRoute()],
        });
        await running.add(instance);
        const { port } = running.gateway;
        for (let at = 0; at < 200; at++)
          await exchangeRaw(port, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        const before = memoryInUse();
        const child = spawn(process.execPath, ["-e", holder, String(port), String(many)], {
          stdio: ["pipe", "pipe", "inherit"],
        });
        try {
          await once(child.stdout, "data");
          const held = memoryInUse();
          const each = (held.rss - before.rss) / many;
          witness.count({ sent: many, failed: 0 });
          witness.saw(
            `${Math.round(each)} bytes of memory each, ${Math.round((held.heap - before.heap) / many)} of them V8's`,
          );
          assert.ok(each < maxBytesEach, `${each} bytes each`);
          assert.equal(await exchangeRaw(port, "").catch(() => ""), "", "one more is closed at once");
          assert.match(await running.metrics(), /gateway_connections_refused_total\{reason="total"\} 1\n/);
        } finally {
          child.stdin.end();
        }
        await until(async () => /gateway_connections 0\n/.test(await running.metrics()), {
          what: "no connection left",
        });
        // Node lets go of them a turn or two later.
        await until(() => memoryInUse().heap - before.heap < maxLeftBytes, {
          what: "an end to what is held for connections that are gone",
        });
      },
    );
  }
});
