import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { describe, it } from "node:test";
import { type Readable, Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { createEarlyLogger } from "./early-logger.ts";
import type { Logger } from "./logger.ts";
import { createLogger } from "./pino.ts";

/** About 3 MB: more than any pipe holds. */
const backlogLines = 20_000;
/** More than 10 MB. */
const longBacklogLines = 80_000;
const padding = "x".repeat(60);

function write(log: Logger, count: number): void {
  for (let line = 0; line < count; line++) log.info("line", { line, padding });
}

/** Tells the test that all is logged, and goes on when it has answered. */
async function handOver(): Promise<void> {
  process.stderr.write("logged\n");
  await once(process.stdin, "end");
}

/** Programs that the tests run as processes of their own: this file with a name as its argument. */
const programs: Readonly<Record<string, () => Promise<void>>> = {
  async flushed() {
    const log = await createLogger();
    write(log, 20_000);
    await log.flush();
    process.kill(process.pid, "SIGKILL"); // nothing that runs at exit can help
  },
  async exits() {
    write(await createLogger(), 2_000);
    process.exit(0);
  },
  async pretty() {
    write(await createLogger({ format: "pretty" }), 2_000);
    process.exit(0);
  },
  async throws() {
    write(await createLogger(), 2_000);
    setImmediate(() => {
      throw new Error("uncaught");
    });
  },
  async rejects() {
    write(await createLogger(), 2_000);
    void Promise.reject(new Error("unhandled"));
  },
  async "logs while it exits"() {
    const log = await createLogger();
    write(log, 1_999);
    process.on("exit", () => log.info("line", { line: 1_999 }));
    process.exit(0);
  },
  async "exits without a logger"() {
    write(createEarlyLogger({ maxLines: 2_000 }), 2_000);
    process.exit(0);
  },
  async "throws without a logger"() {
    write(createEarlyLogger({ maxLines: 2_000 }), 2_000);
    throw new Error("uncaught");
  },
  async "slow, flushes"() {
    const log = await createLogger();
    write(log, longBacklogLines);
    const flushed = log.flush();
    await handOver(); // nobody reads yet, and the process still runs
    await flushed;
    process.kill(process.pid, "SIGKILL");
  },
  async "slow, exits"() {
    write(await createLogger(), backlogLines);
    await handOver();
    process.exit(0);
  },
  async "slow, throws"() {
    write(await createLogger(), backlogLines);
    await handOver();
    throw new Error("uncaught");
  },
  async "slow, ends"() {
    write(await createLogger(), backlogLines);
    await handOver();
  },
  async "nobody reads"() {
    write(await createLogger(), backlogLines);
    process.exit(0);
  },
  async "disk full"() {
    const log = await createLogger();
    log.info("line");
    const failure = await log.flush().then(
      () => "none",
      (error: Error) => error.message,
    );
    process.stderr.write(`${failure}\nwent on\n`);
  },
  async "reader gone"() {
    const log = await createLogger();
    await handOver(); // the other side has closed our output
    write(log, 2_000);
    await log.flush();
    process.stderr.write("went on\n");
  },
  async "reader gone, exits"() {
    const log = await createLogger();
    await handOver();
    log.info("line");
    process.stderr.write("went on\n");
    process.exit(0);
  },
};

const program = programs[process.argv[2] ?? ""];
if (program) {
  process.stdin.resume();
  await program();
  process.stdin.destroy();
} else tests();

type Way = "pipe" | "socket";

interface Started {
  readonly child: ChildProcess;
  readonly output: Readable;
  /** What it says on standard error. */
  readonly said: Promise<string>;
  readonly logged: Promise<void>;
  /** Lets the program go on. */
  answer(): void;
  /** Begins to read. */
  read(): Promise<string>;
}

/** Node gives its children sockets for pipes; a shell makes real ones, and here reads nothing until it gets a line. */
const readLate = 'exec 4<&0; "$0" "$@" <&4 | { exec 4<&-; read -r go <&3; exec cat; }';

function start(name: string, way: Way): Started {
  const args = ["--conditions=plinth-source", import.meta.filename, name];
  const child =
    way === "pipe"
      ? spawn("sh", ["-c", readLate, process.execPath, ...args], { stdio: ["pipe", "pipe", "pipe", "pipe"] })
      : spawn(process.execPath, args);
  const { stdin, stdout, stderr } = child;
  const gate = child.stdio[3];
  assert.ok(stdin && stdout && stderr);
  const { promise: logged, resolve } = Promise.withResolvers<void>();
  stderr.on("data", (said: Buffer) => String(said).includes("logged\n") && resolve());
  return {
    child,
    output: stdout,
    said: text(stderr),
    logged,
    answer: () => void stdin.end(),
    read: () => {
      if (gate instanceof Writable) gate.end("go\n");
      return text(stdout);
    },
  };
}

/** Each line once, whole and in order. */
function assertWhole(output: string, count: number): void {
  const lines = output.split("\n");
  assert.equal(lines.pop(), "");
  assert.equal(lines.length, count);
  for (const [index, line] of lines.entries()) assert.equal(Object(JSON.parse(line)).line, index);
}

function tests(): void {
  describe("standard output", () => {
    it("has every line of a flushed log, even if the process is killed the moment after", async () => {
      const { child, read } = start("flushed", "socket");
      const exited = once(child, "exit");
      assertWhole(await read(), 20_000);
      assert.deepEqual(await exited, [null, "SIGKILL"]);
    });

    const ends: readonly (readonly [string, number])[] = [
      ["exits", 0],
      ["logs while it exits", 0],
      ["throws", 1],
      ["rejects", 1],
      ["exits without a logger", 0],
      ["throws without a logger", 1],
    ];
    for (const [name, code] of ends) {
      it(`has every line of a process that ${name}`, async () => {
        const { child, read } = start(name, "socket");
        const exited = once(child, "exit");
        assertWhole(await read(), 2_000);
        assert.deepEqual(await exited, [code, null]);
      });
    }

    it("has every line for people too", async () => {
      const output = await start("pretty", "socket").read();
      assert.equal(output.split("\n").filter((line) => line.includes("line")).length, 2_000);
      assert.match(output, /1999/);
    });

    for (const way of ["pipe", "socket"] as const) {
      for (const name of ["flushes", "exits", "throws", "ends"]) {
        it(`has every line of a process that ${name}, through a full ${way} that is read late`, async () => {
          const { answer, logged, read } = start(`slow, ${name}`, way);
          await logged;
          if (name !== "flushes") answer();
          const output = read();
          if (name === "flushes") answer();
          assertWhole(await output, name === "flushes" ? longBacklogLines : backlogLines);
        });
      }
    }

    it("that nobody reads holds up the end of the process for a bounded time, and what is lost is told", async () => {
      const { child, output, said } = start("nobody reads", "socket");
      const [code] = await once(child, "exit");
      output.destroy();
      assert.equal(code, 0);
      const [, lost] = /^standard output was too slow; log lines lost: (\d+)\n$/.exec(await said) ?? [];
      assert.ok(Number(lost) > 0 && Number(lost) < backlogLines, await said);
    });

    it("that fails rejects the flush, and does no other harm", async () => {
      const child = spawn("sh", [
        "-c",
        'exec "$0" "$@" > /dev/full',
        process.execPath,
        "--conditions=plinth-source",
        import.meta.filename,
        "disk full",
      ]);
      child.stdin.end();
      const said = text(child.stderr);
      const [code] = await once(child, "exit");
      const full = "ENOSPC: no space left on device, write";
      assert.equal(
        await said,
        [
          `log lines cannot be written to standard output: ${full}`,
          full,
          "went on",
          "standard output could not be written to the end; log lines lost: 1\n",
        ].join("\n"),
      );
      assert.equal(code, 0);
    });

    for (const name of ["reader gone", "reader gone, exits"]) {
      it(`that nobody reads any more does no harm (${name})`, async () => {
        const { child, output, said, logged, answer } = start(name, "socket");
        await logged;
        output.destroy();
        answer();
        const [code] = await once(child, "exit");
        assert.deepEqual([code, await said], [0, "logged\nwent on\n"]);
      });
    }
  });
}
