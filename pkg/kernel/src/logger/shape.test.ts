import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MemoryLog } from "../testing/memory-log.ts";
import { type Logger, lineWriter, type RootLogger } from "./logger.ts";
import { createLogger } from "./pino.ts";

const fields = ["method", "path", "status", "token"] as const;
const values = ["GET", '/a"\\\n\u2028', 200, "s3cret"] as const;

/** The same logger without its own way. */
function plain(log: RootLogger): Logger {
  const { trace, debug, info, warn, error, fatal } = log;
  const methods = { trace, debug, info, warn, error, fatal };
  const bound = Object.entries(methods).map(([name, method]) => [name, method.bind(log)]);
  return { ...log, ...Object.fromEntries(bound) };
}

async function bothWays(
  given: readonly (string | number | undefined)[],
  options = {},
  names: readonly string[] = fields,
): Promise<readonly unknown[]> {
  const lines: string[] = [];
  const log = await createLogger({
    fields: { service: "s", path: "bound" },
    destination: { write: (line) => void lines.push(line.replace(/"time":"[^"]*"/, '"time":""')) },
    ...options,
  });
  lineWriter(log, "info", "request", names)(given);
  lineWriter(plain(log), "info", "request", names)(given);
  return lines;
}

describe("a shape of lines", () => {
  for (const [what, given, options] of [
    ["escapes and hides, and wins over the logger's fields", values, {}],
    ["leaves out what is undefined", [undefined, "/", undefined, undefined], {}],
    ["writes numbers that are none as null", ["GET", "/", Number.NaN, "x"], {}],
    ["hides what is configured to be hidden by path", ["GET", "/", 200, "x"], { redact: ["method"] }],
    ["hides what is configured to be hidden by name", ["GET", "/", 200, "x"], { redactNames: ["METHOD"] }],
    ["masks a password in a URL", ["GET", "http://user:pass@host/", 200, "x"], {}],
    ["cuts what is too long", ["GET", "x".repeat(20_000), 200, "x"], {}],
  ] as const) {
    it(`writes what the usual way would: ${what}`, async () => {
      const [fast, usual, ...more] = await bothWays(given, options);
      assert.equal(typeof fast, "string");
      assert.deepEqual(JSON.parse(String(fast)), JSON.parse(String(usual)));
      assert.equal(String(fast).at(-1), "\n");
      assert.deepEqual(more, []);
    });
  }

  for (const id of ["0af7651916cd43dd", 'a"b', "a\\b", "a\nb", "a\ud800b", "é", "", "x://u:p@h", "z".repeat(20_000)]) {
    it(`writes an id as any text: ${JSON.stringify(id.slice(0, 20))}`, async () => {
      const [fast, usual] = await bothWays([id, id], {}, ["trace_id", "request_id"]);
      assert.deepEqual(JSON.parse(String(fast)), JSON.parse(String(usual)));
    });
  }

  it("follows the level as it is set later, by the logger's name", async () => {
    const lines = new MemoryLog();
    const root = await createLogger({ destination: lines, level: "warn" });
    const write = lineWriter(root.named("access"), "info", "request", ["status"]);
    write([1]);
    root.setLevels({ level: "warn", levels: { access: "info" } });
    write([2]);
    root.setLevels({ level: "info", levels: { access: "off" } });
    write([3]);
    assert.deepEqual(
      lines.withMessage("request").map(({ status, logger }) => [status, logger]),
      [[2, "access"]],
    );
  });

  it("does not throw where its destination does", async (context) => {
    const told = context.mock.method(process.stderr, "write", () => true);
    const log = await createLogger({
      destination: {
        write: () => {
          throw new Error("disk full");
        },
      },
    });
    lineWriter(log, "info", "request", ["status"])([200]);
    assert.match(String(told.mock.calls[0]?.arguments[0]), /^a log line was not written: disk full: request\n$/);
  });
});
