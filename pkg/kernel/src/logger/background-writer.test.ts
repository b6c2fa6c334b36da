import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it, mock } from "node:test";
import { BackgroundWriter, type BackgroundWriterOptions } from "./background-writer.ts";

/** An output that takes as many bytes as it is allowed, and fails as it is told. */
class Output {
  text = "";
  room = Infinity;
  failure: string | undefined;
  tries = 0;

  readonly write = (bytes: Uint8Array): number => {
    this.tries++;
    if (this.failure !== undefined) throw Object.assign(new Error(`${this.failure}: no`), { code: this.failure });
    const count = Math.min(this.room, bytes.length);
    if (count === 0) throw Object.assign(new Error("EAGAIN"), { code: "EAGAIN" });
    this.room -= count;
    this.text += Buffer.from(bytes.subarray(0, count)).toString("latin1");
    return count;
  };
}

function open(options: Partial<BackgroundWriterOptions> = {}) {
  const output = new Output();
  const said: string[] = [];
  const writer = new BackgroundWriter({ write: output.write, complain: (what) => void said.push(what), ...options });
  return { output, said, writer, tick: (ms: number) => mock.timers.tick(ms) };
}

/** Settles a flush into a list, as what it was told. */
function flushed(writer: BackgroundWriter): (string | undefined)[] {
  const told: (string | undefined)[] = [];
  writer.flush((error) => void told.push(error?.message ?? "ok"));
  return told;
}

describe("BackgroundWriter", () => {
  beforeEach(() => mock.timers.enable({ apis: ["setTimeout"] }));
  afterEach(() => mock.timers.reset());

  it("hands lines over together, after 20 ms or 32 KiB", () => {
    const { output, writer, tick } = open();
    writer.write("a\n");
    writer.write("b\n");
    tick(19);
    assert.equal(output.text, "");
    tick(1);
    assert.deepEqual([output.text, output.tries], ["a\nb\n", 1]);
    writer.write("x".repeat(32_768));
    assert.equal(output.tries, 2);
  });

  it("keeps what a full output does not take, and writes on where it stopped, in order", () => {
    const { output, writer, tick } = open();
    output.room = 3;
    writer.write("first\n");
    tick(20);
    writer.write("second\n");
    assert.equal(output.text, "fir");
    output.room = 5;
    tick(1_000);
    assert.equal(output.text, "first\nse");
    output.room = Infinity;
    tick(1_000);
    assert.equal(output.text, "first\nsecond\n");
  });

  it("writes a line of any length at once with those ahead of it, every character whole", () => {
    const { output, writer, tick } = open();
    const long = `${"\u20ac".repeat(30_000)}\n`;
    const lines = ["\u00e9 first\n", long, "\u{1f600} third\n", "\u20ac".repeat(5_000), "\u20ac".repeat(20_000), "\n"];
    for (const line of lines) writer.write(line);
    tick(20);
    assert.equal(output.text, Buffer.from(lines.join("")).toString("latin1"));
  });

  it("asks a full output ever more rarely, and stops when nothing waits", () => {
    const { output, writer, tick } = open();
    output.room = 0;
    writer.write("a\n");
    for (let ms = 0; ms < 1_000; ms++) tick(1);
    assert.ok(output.tries > 40 && output.tries < 60, `${output.tries} tries`);
    output.room = Infinity;
    tick(20);
    const { tries } = output;
    tick(1_000);
    assert.deepEqual([output.text, output.tries], ["a\n", tries]);
  });

  it("resolves a flush when what was there is written, though more has come since", () => {
    const { output, writer, tick } = open();
    output.room = 0;
    writer.write("a\n");
    const told = flushed(writer);
    writer.write("b\n");
    assert.deepEqual(told, []);
    output.room = 2;
    tick(20);
    assert.deepEqual([told, output.text], [["ok"], "a\n"]);
    assert.deepEqual(flushed(open().writer), ["ok"]);
  });

  it("rejects the flushes that wait when a write fails, says so once, and goes on", () => {
    const { output, said, writer, tick } = open();
    output.room = 0;
    writer.write("a\n");
    const told = [flushed(writer), flushed(writer)];
    output.failure = "ENOSPC";
    tick(20);
    assert.deepEqual(told, [["ENOSPC: no"], ["ENOSPC: no"]]);
    for (const line of ["b\n", "c\n"]) {
      writer.write(line);
      assert.deepEqual(flushed(writer), ["ENOSPC: no"]);
    }
    assert.deepEqual(flushed(writer), ["ok"], "nothing waits any more");
    assert.deepEqual(said, ["log lines cannot be written to standard output: ENOSPC: no"]);
    output.failure = undefined;
    output.room = Infinity;
    writer.write("d\n");
    assert.deepEqual(flushed(writer), ["ok"]);
    assert.deepEqual(said.slice(1), ["log lines can be written to standard output again; log lines lost: 3"]);
    output.failure = "EIO";
    writer.write("e\n");
    writer.flushSync();
    assert.deepEqual([output.text, said.length, writer.linesLost], ["d\n", 3, 4]);
    writer.close();
    assert.equal(said.at(-1), "standard output could not be written to the end; log lines lost: 1");
  });

  it("counts the lines that a full disk took only a part of, and begins the next one on a line of its own", () => {
    const { output, said, writer, tick } = open();
    output.room = 6;
    writer.write("one\n");
    writer.write("two\n");
    writer.write("three\n");
    tick(20);
    output.failure = "ENOSPC";
    tick(20);
    assert.deepEqual([output.text, writer.linesLost], ["one\ntw", 2]);
    output.failure = undefined;
    output.room = Infinity;
    writer.write("four\n");
    tick(20);
    assert.equal(output.text, "one\ntw\nfour\n");
    assert.equal(said.at(-1), "log lines can be written to standard output again; log lines lost: 2");
    writer.write("five\n");
    tick(20);
    assert.deepEqual([output.text, said.length], ["one\ntw\nfour\nfive\n", 2], "and it is told once");
  });

  it("says nothing of a reader that has gone, and flushes all the same", () => {
    const { output, said, writer, tick } = open();
    output.room = 0;
    writer.write("a\n");
    const told = flushed(writer);
    output.failure = "EPIPE";
    tick(20);
    writer.write("b\n");
    writer.close();
    assert.deepEqual([told, said, writer.linesLost], [["ok"], [], 2]);
  });

  it("loses whole lines beyond its limit, and says how many when the output is there again", () => {
    const { output, said, writer, tick } = open({ maxWaitingBytes: 20 });
    output.room = 1;
    for (const line of ["one\n", "two\n", "three three three\n", "four four four\n", "end\n"]) {
      writer.write(line);
      writer.flush(() => {});
    }
    assert.deepEqual(said, []);
    output.room = Infinity;
    tick(20);
    assert.equal(output.text, "one\ntwo\nend\n");
    assert.deepEqual(said, ["standard output was too slow; log lines lost: 2"]);
    assert.equal(writer.linesLost, 2);
  });

  it("blocks until a slow output has taken all", () => {
    const output = new Output();
    const slow = (bytes: Uint8Array): number => {
      output.room = output.tries % 2; // one byte every second time
      return output.write(bytes);
    };
    const { writer } = open({ write: slow });
    writer.write("line\n");
    writer.flushSync();
    assert.equal(output.text, "line\n");
  });

  it("blocks no longer than its limits, and waits for a stuck output only once", () => {
    const { output, said, writer } = open({ maxStallMs: 30 });
    output.room = 0;
    writer.write("a\n");
    writer.flushSync();
    assert.ok(output.tries > 1);
    const { tries } = output;
    writer.flushSync();
    assert.deepEqual([output.tries, said], [tries + 1, []]);
    writer.close();
    writer.write("b\n");
    assert.deepEqual(said, [
      "standard output was too slow; log lines lost: 1",
      "standard output was too slow; log lines lost: 1",
    ]);
  });

  it("blocks no longer than its limit for an output that takes a little at a time", () => {
    const output = new Output();
    const trickle = (bytes: Uint8Array): number => {
      output.room = 1;
      return output.write(bytes);
    };
    const { writer } = open({ write: trickle, maxBlockMs: 0 });
    writer.write("abc\n");
    writer.flushSync();
    assert.equal(output.text, "a");
  });

  it("writes a line at once that comes after its end, as from another listener of the exit", () => {
    const { output, writer } = open();
    writer.write("a\n");
    writer.close();
    writer.write("b\n");
    assert.equal(output.text, "a\nb\n");
  });
});
