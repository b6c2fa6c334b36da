import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { describe, it } from "node:test";
import { openLogger } from "./pino.ts";
import { wholeLines } from "./whole-lines.ts";

const writers = 3;
const linesOfEach = 3_000;

/** One of several processes that write to one pipe, which nobody reads yet. */
async function write(): Promise<void> {
  const log = openLogger({ fields: { writer: process.pid } });
  for (let line = 0; line < linesOfEach; line++) log.info("x".repeat(200 + (line % 97)), { line });
  process.stderr.write("full\n");
  await log.flush();
}

if (process.argv[2] === "write") await write();
else tests();

function tests(): void {
  const line = (length: number): string => `${"x".repeat(length - 1)}\n`;
  const taken = (...lengths: number[]): number => wholeLines(Buffer.from(lengths.map(line).join(""))).length;

  describe("whole lines for a shared pipe", () => {
    it("are as many as the pipe takes at once", () => {
      assert.equal(taken(100), 100);
      assert.equal(taken(4_000, 96), 4_096);
      assert.equal(taken(4_000, 97), 4_000);
      assert.equal(taken(1_000, 1_000, 1_000, 1_000, 1_000), 4_000);
    });

    it("are the one that is longer than that, alone", () => {
      assert.equal(taken(5_000, 10), 5_000);
      assert.equal(taken(10, 5_000, 10), 10);
      assert.equal(wholeLines(Buffer.from("x".repeat(5_000))).length, 5_000);
    });

    it("are not torn by those of other workers, however slow the reader", async () => {
      // The pipe is the shell's, as a container's is; it is read when a word comes from here.
      const script = `exec 3<&0; { for n in 1 2 3; do "$@" write & done; wait; } | { read -r go <&3; dd bs=3000 status=none; }`;
      const own = [process.execPath, "--conditions=plinth-source", import.meta.filename];
      const shell = spawn("sh", ["-c", script, "sh", ...own], {
        env: { ...process.env, NODE_TEST_CONTEXT: undefined, PLINTH_WORKER: "{}" },
      });
      const closed = once(shell, "close");
      const read = text(shell.stdout);
      let full = 0;
      for await (const word of createInterface(shell.stderr)) {
        if (word === "full") full++;
        if (full === writers) shell.stdin.end("go\n");
      }
      await closed;
      const lines = (await read).split("\n").filter((each) => each !== "");
      const torn = lines.filter((each) => !/^\{.*"line":\d+,"message":"x+"\}$/.test(each));
      assert.deepEqual([full, lines.length, torn.length], [writers, writers * linesOfEach, 0]);
    });
  });
}
