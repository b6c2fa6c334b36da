// Floods of HTTP/2 against the gateway, over and over: its memory stays as it is, and others are served.
import assert from "node:assert/strict";
import { describe } from "node:test";
import { until } from "@plinth/kernel/testing";
import { echo, httpInstance, openRoute, startGateway, type TestGateway } from "../../pkg/gateway/src/testing/kit.ts";
import { attacks, withFields } from "../../pkg/transport/src/testing/http2-attacks.ts";
import { RawHttp2 } from "../../pkg/transport/src/testing/http2-frames.ts";
import { faultTest } from "../support/fault-row.ts";
import { memoryInUse } from "../support/memory.ts";

const rounds = 200;
const atOnce = 10;
const maxGrowthBytes = 64 * 1024 * 1024;

/** Those that cost by their number. */
const floods = attacks.filter(({ what }) =>
  /without end|made you reset|rapid reset|bomb|thousands|many entries/.test(what),
);

async function serving(body: (running: TestGateway) => Promise<void>): Promise<void> {
  await using instance = await httpInstance((request, response) => {
    request.on("error", () => undefined);
    if (request.url === "/") echo(request, response);
    else if (request.url === "/large") response.on("error", () => undefined).end(Buffer.alloc(8 * 1024 * 1024));
  });
  await using running = await startGateway({
    settings: { http2: { cleartext: true }, accessLog: false, idleTimeoutMs: 1_000 },
    routes: [openRoute()],
  });
  await running.add(instance);
  await body(running);
  await until(async () => /gateway_http2_connections 0\n/.test(await running.metrics()), {
    what: "no connection left",
  });
  await until(async () => /gateway_requests_in_flight 0\n/.test(await running.metrics()), { what: "no request left" });
  assert.deepEqual(running.reports, []);
}

async function assertServed(port: number): Promise<void> {
  const other = new RawHttp2(port);
  other.head(1);
  assert.equal(await other.answer(1), "200");
  other.destroy();
}

describe("the gateway under floods of HTTP/2", () => {
  for (const { what, send, answer, stream = 1 } of floods) {
    faultTest(
      {
        fault: "HTTP/2 flood",
        done: `${what}, ${rounds} times`,
        expected: "others served, less than 64 MiB more memory",
      },
      async (witness) =>
        serving(async ({ gateway: { port } }) => {
          const attack = async (): Promise<void> => {
            const caller = new RawHttp2(port);
            send(caller);
            assert.match(await caller.answer(stream), answer);
            caller.destroy();
          };
          const attackOften = async (times: number): Promise<void> => {
            for (let at = 0; at < times; at += atOnce)
              await Promise.all([...Array.from({ length: atOnce }, attack), assertServed(port)]);
          };
          await attackOften(rounds / 2); // what the process takes for good at such a rate is there by then
          const before = memoryInUse().rss;
          await attackOften(rounds);
          const growth = memoryInUse().rss - before;
          witness.count({ sent: rounds / atOnce, failed: 0 });
          witness.saw(`${Math.round(growth / 1024 / 1024)} MiB more`);
          assert.ok(growth < maxGrowthBytes, `${growth} bytes more`);
        }),
    );
  }

  faultTest(
    {
      fault: "HTTP/2 flood",
      done: "100 windows held shut over large replies, on one connection",
      expected: "cut off, instances left, less than 128 MiB more memory",
    },
    async (witness) =>
      serving(async ({ gateway: { port } }) => {
        const before = memoryInUse().rss;
        const caller = new RawHttp2(port, { 4: 0 }); // no window to begin with
        for (let stream = 1; stream < 200; stream += 2) caller.head(stream, withFields([":path", "/large"]));
        await until(() => caller.frames.filter(({ type }) => type === 3).length === 100, { what: "100 resets" });
        await assertServed(port);
        const growth = memoryInUse().rss - before;
        caller.destroy();
        witness.count({ sent: 100, failed: 0 });
        witness.saw(`${Math.round(growth / 1024 / 1024)} MiB more`);
        assert.ok(growth < 2 * maxGrowthBytes, `${growth} bytes more`);
      }),
  );
});
