// Clients leave at every stage, send too much, and are too many, while others are served; and what the gateway tells others is not taken.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { describe } from "node:test";
import { signingKey, tokenOf } from "../../pkg/gateway/src/testing/issuer.ts";
import { httpInstance, socketInstance } from "../../pkg/gateway/src/testing/kit.ts";
import { faultTest } from "../support/fault-row.ts";
import { type Stage, type StageOptions, startStage } from "../support/gateway-stage.ts";
import { ask } from "../support/http.ts";
import { until } from "../support/until.ts";

const limitMs = 60_000;
const cycles = 10_000;
const atOnce = 20;
const descriptors = 256;

function dial({ port }: Stage, bytes = ""): Socket {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {}).resume();
  if (bytes !== "") socket.write(bytes);
  return socket;
}

const descriptorsOf = ({ gateway: { pid } }: Stage): number => readdirSync(`/proc/${pid}/fd`).length;

/** A route to a server of the test besides. */
const withOther =
  (port: number): NonNullable<StageOptions["document"]> =>
  ({ services, routes }) => ({
    services: { ...services, other: { static: [`127.0.0.1:${port}`] } },
    routes: [
      ...routes,
      { name: "other", match: { path: "/other/**" }, service: "other", anonymous: true, maxBodyBytes: 1_000_000 },
    ],
  });

describe("clients of a gateway misbehave", () => {
  faultTest(
    {
      fault: "10 clients leave",
      done: `${cycles} times, in turn within the head, an upload, while they wait, within the reply, and with a WebSocket open, under load`,
      expected: "no other request failed; the instance is told, and nothing is left behind",
    },
    async (witness) => {
      let gone = 0;
      await using other = await httpInstance((request, response) => {
        response.on("close", () => gone++);
        request.on("error", () => undefined).resume();
        if (request.url === "/other/reply") response.write("x".repeat(1_000));
      });
      await using sockets = await socketInstance((socket) => {
        socket.once("close", () => gone++);
        socket.once("data", () => {
          socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        });
      });
      await using stage = await startStage({
        document: (document) => {
          const { services, routes } = withOther(other.port)(document);
          return {
            services: { ...services, sockets: { static: [`127.0.0.1:${sockets.port}`] } },
            routes: [
              ...routes,
              { name: "sockets", match: { path: "/socket" }, service: "sockets", anonymous: true, websocket: true },
            ],
          };
        },
        environment: { PLINTH_GATEWAY_ACCESS_LOG: "false" },
      });
      const head = (what: string): string => `${what} HTTP/1.1\r\nHost: a\r\n`;
      const stages = [
        head("GET /other/wait"),
        `${head("POST /other/upload")}Content-Length: 1000\r\n\r\nhalf`,
        `${head("GET /other/wait")}\r\n`,
        `${head("GET /other/reply")}\r\n`,
        `${head("GET /socket")}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
      ];
      const load = stage.load();
      await stage.more(load, 300);
      const before = descriptorsOf(stage);
      let turn = 0;
      const caller = async (): Promise<void> => {
        while (turn < cycles) {
          const at = turn++;
          const socket = dial(stage, stages[at % stages.length]);
          await once(socket, "connect");
          if (at % stages.length >= 3) await once(socket, "data");
          else await delay(at % 7);
          socket.destroy();
        }
      };
      await Promise.all(Array.from({ length: atOnce }, caller));
      await until(
        () => other.sockets.size + sockets.sockets.size === 0,
        () => `${other.sockets.size} and ${sockets.sockets.size} connections to the instances are left`,
        limitMs,
      );
      const report = await stage.judge(load, witness);
      assert.deepEqual(report.failures, {});
      assert.equal(await stage.metric("gateway_websockets"), 0);
      await until(
        async () => (await stage.metric("gateway_requests_in_flight")) === 0,
        "nothing is under way",
        limitMs,
      );
      await until(
        () => descriptorsOf(stage) <= before + 20,
        () => `${descriptorsOf(stage)} descriptors, ${before} before`,
        limitMs,
      );
      const counted = await stage.metric("gateway_requests_total", { reason: "client_gone" });
      witness.saw(`${counted} counted as client_gone; the instance was told of ${gone}`);
      assert.ok(counted >= cycles / 4, `${counted} counted`);
    },
  );

  faultTest(
    {
      fault: "31 oversize uploads",
      done: "100 uploads in chunks that would never end, 1 MB allowed, under load",
      expected: "each 413 and closed, the instance's request broken off; no other request failed",
    },
    async (witness) => {
      let begun = 0;
      let aborted = 0;
      await using other = await httpInstance((request) => {
        begun++;
        request
          .on("error", () => undefined)
          .on("close", () => void (request.complete || aborted++))
          .resume();
      });
      await using stage = await startStage({ document: withOther(other.port) });
      const load = stage.load();
      await stage.more(load, 300);
      const piece = `4000\r\n${"x".repeat(0x4000)}\r\n`;
      const upload = async (): Promise<string> => {
        const socket = connect(stage.port, "127.0.0.1");
        let text = "";
        const over = new AbortController();
        socket.on("error", () => {}).on("data", (part: Buffer) => (text += part.toString("latin1")));
        socket.on("close", () => over.abort());
        socket.write("POST /other/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        await until(
          () => {
            if (socket.writable && socket.writableLength < 100_000) socket.write(piece);
            return over.signal.aborted;
          },
          "its end",
          limitMs,
        );
        return text;
      };
      for (let round = 0; round < 5; round++) {
        const replies = await Promise.all(Array.from({ length: 20 }, upload));
        // Who still sends may have its reply reset away.
        for (const text of replies) assert.match(text, /^(HTTP\/1\.1 413 |$)/);
      }
      await until(
        () => aborted === begun && other.sockets.size === 0,
        () => `${begun} begun, ${aborted} broken off`,
        limitMs,
      );
      witness.saw(`${begun} reached the instance, ${aborted} were broken off`);
      const refused = await stage.metric("gateway_requests_total", { reason: "body_too_large" });
      assert.equal(refused, 100);
      assert.deepEqual((await stage.judge(load, witness)).failures, {});
    },
  );

  faultTest(
    {
      fault: "36 descriptors run out",
      done: `${2 * descriptors} connections to a gateway that may have ${descriptors} descriptors`,
      expected: "it lives, and serves all of a load at once when there is room",
    },
    async (witness) => {
      await using stage = await startStage({ shell: `ulimit -n ${descriptors}; exec "$0" "$@"` });
      const first = stage.load({ name: "before" });
      await stage.more(first, 200);
      assert.deepEqual((await stage.judge(first, witness)).failures, {});
      const sockets = Array.from({ length: 2 * descriptors }, () => dial(stage));
      await until(
        () => descriptorsOf(stage) >= descriptors - 4,
        () => `${descriptorsOf(stage)} descriptors in use`,
        limitMs,
      );
      await delay(1_000);
      for (const socket of sockets) socket.destroy();
      await until(
        async () => (await ask(`${stage.url}/users`).catch(() => undefined))?.status === 200,
        "it serves",
        limitMs,
      );
      const after = stage.load({ name: "after" });
      await stage.more(after, 400);
      assert.deepEqual((await stage.judge(after, witness)).failures, {});
    },
  );

  faultTest(
    {
      fault: "35 collector silent, log's disk full",
      done: "a collector that never answers, standard output on /dev/full, under load",
      expected: "0 failed; lost lines are counted",
    },
    async (witness) => {
      await using collector = await httpInstance(() => undefined);
      await using stage = await startStage({
        shell: `exec "$0" "$@" > /dev/full`,
        environment: { PLINTH_TELEMETRY_ENDPOINT: `http://127.0.0.1:${collector.port}` },
      });
      const load = stage.load();
      await stage.more(load, 1_000);
      assert.deepEqual((await stage.judge(load, witness)).failures, {});
      const { text } = await ask(`${stage.opsUrl}/metrics`);
      const lost = /^(\w*log\w*(?:lost|dropped)\w*)(?:\{.*\})? ([1-9]\d*)/m.exec(text);
      witness.saw(lost ? `${lost[1]} ${lost[2]}` : "no count of lines");
      assert.ok(lost, "what is lost is counted");
    },
  );

  faultTest(
    {
      fault: "34 names that lead nowhere",
      done: "the issuer of tokens and the collector have names that cannot be resolved, under load",
      expected: "0 failed on open routes; those with tokens are 503 keys_unavailable",
    },
    async (witness) => {
      await using stage = await startStage({
        document: ({ services, routes }) => ({
          services,
          jwt: {
            away: { issuer: "away", audiences: ["x"], algorithms: ["ES256"], jwks: "https://issuer.invalid/jwks" },
          },
          routes: [...routes, { name: "closed", match: { path: "/closed" }, service: "users", auth: {} }],
        }),
        environment: { PLINTH_TELEMETRY_ENDPOINT: "http://collector.invalid:4318" },
      });
      const load = stage.load();
      await stage.more(load, 600);
      const token = tokenOf(signingKey("unknown"), { iss: "away", aud: "x" });
      const { status, text } = await ask(`${stage.url}/closed`, { token });
      witness.saw(`with a token: ${status} ${/"reason":"(\w+)"/.exec(text)?.[1]}`);
      assert.deepEqual((await stage.judge(load, witness)).failures, {});
      assert.match(text, /"reason":"keys_unavailable"/);
      assert.equal(status, 503);
    },
  );
});
