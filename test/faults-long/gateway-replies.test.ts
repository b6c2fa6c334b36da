// Instances lie in their replies, or never end them, while load goes to others: each such reply is refused or cut off, and is never whole.
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { describe } from "node:test";
import { reasons } from "../../pkg/gateway/src/reasons.ts";
import { socketInstance } from "../../pkg/gateway/src/testing/kit.ts";
import { faultTest } from "../support/fault-row.ts";
import { type Stage, startStage } from "../support/gateway-stage.ts";
import { ask } from "../support/http.ts";
import { until } from "../support/until.ts";

const cycles = 40;
const atOnce = 8;
const timeoutMs = 1_000;
const enoughBytes = 1024 * 1024;
const piece = Buffer.alloc(65_536, "x");
const chunk = Buffer.concat([Buffer.from("10000\r\n"), piece, Buffer.from("\r\n")]);

/** As fast as it is taken, until the other side ends it. */
function endless(socket: Socket, bytes: string | Buffer): void {
  const pour = (): void => {
    while (!socket.destroyed && socket.write(bytes));
  };
  socket.on("drain", pour);
  pour();
}

const say =
  (text: string, end = false) =>
  (socket: Socket): void =>
    void (end ? socket.end(text) : socket.write(text));

/** What it says to whom asks for it, and what of its body may reach a client in a reply that looks whole; undefined: nothing may look whole. */
const lies: Readonly<Record<string, { readonly tell: (socket: Socket) => void; readonly whole?: string }>> = {
  "less than its length": { tell: say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", true) },
  "more than its length": { tell: say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfour and more"), whole: "four" },
  "two lengths": { tell: say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 8\r\n\r\nfourfour") },
  "a chunk without an end": { tell: say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhalf", true) },
  "a chunk of no size": { tell: say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhalf\r\n") },
  "no HTTP": { tell: say("SSH-2.0-server\r\n\r\n") },
  nothing: { tell: () => undefined },
  "a head without an end": {
    tell: (socket) => {
      socket.write("HTTP/1.1 200 OK\r\n");
      endless(socket, `x-more: ${"y".repeat(500)}\r\n`);
    },
  },
  "heads ahead of its own without an end": {
    tell: (socket) => endless(socket, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(100)),
  },
  "half, and then nothing": { tell: say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf") },
  "a body without an end": {
    tell: (socket) => {
      socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
      endless(socket, chunk);
    },
  },
};
const kinds = Object.keys(lies);

/** What comes of it, until it ends or it is enough. */
function answerOf({ port }: Stage, kind: number): Promise<{ readonly text: string; readonly bytes: number }> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    let bytes = 0;
    socket.on("error", () => {}); // a reset is an end too
    socket.on("data", (part: Buffer) => {
      bytes += part.length;
      if (text.length < 4_096) text += part.toString("latin1");
      else text = text.slice(0, 4_000) + part.subarray(-64).toString("latin1");
      if (bytes >= enoughBytes) socket.destroy();
    });
    socket.once("close", () => resolve({ text, bytes }));
    socket.write(`GET /liar/${kind} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
  });
}

describe("instances lie", () => {
  faultTest(
    {
      fault: "9 replies that lie or never end",
      done: `${kinds.length} kinds, ${cycles} times each, under load to others`,
      expected: "each a 50x with its reason, or cut off; no other request failed; less than 96 MiB more memory",
    },
    async (witness) => {
      await using liar = await socketInstance((socket) => {
        socket.once("data", (head) => {
          const [, kind = ""] = /^GET \/liar\/(\d+) /.exec(head.toString("latin1")) ?? [];
          lies[kinds[Number(kind)] ?? ""]?.tell(socket);
        });
      });
      await using stage = await startStage({
        document: ({ services, routes }) => ({
          services: { ...services, liar: { static: [`127.0.0.1:${liar.port}`] } },
          routes: [
            ...routes,
            { name: "liar", match: { path: "/liar/**" }, service: "liar", anonymous: true, timeoutMs },
          ],
        }),
        environment: { PLINTH_GATEWAY_ACCESS_LOG: "false" },
      });
      await until(
        async () => (await ask(`${stage.url}/users`).catch(() => undefined))?.status === 200,
        "it serves",
        60_000,
      );
      // What is compiled and loaded at first is not counted.
      for (const kind of [...kinds.keys(), ...kinds.keys()]) await answerOf(stage, kind);
      const load = stage.load();
      await stage.more(load, 1_000);
      const before = stage.memory();
      const ends: Record<string, number> = {};
      const wrong: string[] = [];
      let turn = 0;
      const caller = async (): Promise<void> => {
        while (turn < cycles * kinds.length) {
          const kind = turn++ % kinds.length;
          const name = kinds[kind] ?? "";
          const { text, bytes } = await answerOf(stage, kind);
          const [head = "", body = ""] = text.split("\r\n\r\n");
          const [, status = "none"] = /^HTTP\/1\.1 (\d{3})/.exec(head) ?? [];
          const [, reason = "cut off"] = /"reason":"(\w+)"/.exec(body) ?? [];
          const isRefused = /^5\d\d$/.test(status) && Object.hasOwn(reasons, reason);
          const length = /content-length: (\d+)/i.exec(head)?.[1];
          const isWhole =
            length === undefined ? text.endsWith("\r\n0\r\n\r\n") : bytes === head.length + 4 + Number(length);
          if (!isRefused && isWhole && body !== lies[name]?.whole) wrong.push(`${name}: ${text.slice(0, 200)}`);
          const end = isRefused ? `${status} ${reason}` : isWhole ? "whole" : reason;
          ends[`${name}: ${end}`] = (ends[`${name}: ${end}`] ?? 0) + 1;
        }
      };
      await Promise.all(Array.from({ length: atOnce }, caller));
      const growth = stage.memory() - before;
      const report = await stage.judge(load, witness);
      witness.saw(`${Math.round(growth / 1024 / 1024)} MiB more`);
      witness.saw(
        Object.entries(ends)
          .map(([end, times]) => `${end} ×${times}`)
          .join(", "),
      );
      assert.deepEqual(wrong, []);
      assert.deepEqual(report.failures, {});
      assert.equal(await stage.metric("gateway_requests_in_flight"), 0);
    },
  );
});
