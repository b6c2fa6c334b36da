import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { AppError } from "../errors/app-error.ts";
import type { Logger } from "./logger.ts";
import { createLogger } from "./pino.ts";
import { prettified, visible, wantsColors } from "./pretty.ts";

/** What a terminal gets. */
async function written(write: (log: Logger) => void, { colors = false } = {}): Promise<string> {
  let text = "";
  const destination = prettified({ write: (line) => void (text += line) }, { colors });
  write(await createLogger({ destination, fields: { service: "notes" }, level: "trace" }));
  return text;
}

/** A line without its time. */
function untimed(text: string): string {
  assert.match(text, /^\[\d\d:\d\d:\d\d\.\d{3}\] /);
  return text.slice("[00:00:00.000] ".length);
}

describe("the pretty format", () => {
  it("has time, level, service, logger, message and fields on one line", async () => {
    const text = await written((log) =>
      log.named("http").info("http server listens", {
        host: "127.0.0.1",
        port: 8080,
        tls: false,
        none: null,
        note: 'two "words"',
        empty: "",
        list: [1, "a"],
        peer: { address: "::1" },
      }),
    );
    const fields =
      'host=127.0.0.1 port=8080 tls=false none=null note="two \\"words\\"" empty="" list=[1,"a"] peer={"address":"::1"}';
    assert.equal(untimed(text), `INFO: notes http: http server listens  ${fields}\n`);
  });

  it("has nothing after a message without fields", async () => {
    assert.equal(untimed(await written((log) => log.warn("disk is filling"))), "WARN: notes: disk is filling\n");
  });

  it("has the stack of an error below the line, then its causes and the errors of an aggregate", async () => {
    const root = Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
    const error = new AppError("ERR_STORE_DOWN", "unavailable", "no store", { cause: root });
    const all = new AggregateError([error, "text"], "both");
    const [line, ...below] = (await written((log) => log.error("failed", { error: all, id: 7 }))).trimEnd().split("\n");
    assert.match(String(line), /ERROR: notes: failed  id=7$/);
    const titles = below.filter((each) => !each.trim().startsWith("at "));
    assert.deepEqual(titles, [
      "    error: AggregateError: both",
      "        errors[0]: AppError: no store  code=ERR_STORE_DOWN status=unavailable",
      "            cause: Error: refused  code=ECONNREFUSED",
      "        errors[1]: string: text",
    ]);
    assert.match(String(below[1]), /^ {8}at .*pretty\.test\.ts:\d+:\d+/);
  });

  const hostile: readonly (readonly [string, string])[] = [
    ["a new line", "\n[12:00:00.000] INFO: notes: forged"],
    ["a carriage return", "\r[12:00:00.000] INFO: notes: forged"],
    ["an escape sequence that clears the screen", "\u001b[2J"],
    ["the same in one character", "\u009b2J"],
    ["a title that a terminal would type", "\u001b]0;rm -rf\u0007"],
    ["a line separator", "\u2028forged"],
    ["a bidirectional override", "\u202edegrof\u2066"],
    ["a backspace and a zero", "\b\u0000"],
    ["a zero-width space, a tag and a lone surrogate", "\u200b\u{e0041}\ud800"],
  ];
  for (const [name, text] of hostile) {
    it(`lets ${name} reach no terminal, wherever it stands`, async () => {
      const error = Object.assign(new Error(text, { cause: new Error(text) }), { name: text, code: text });
      error.stack = `${text}\n    at ${text}`;
      const shown = await written((log) => {
        log.child({ [text]: text }).info(text, { a: text, deep: { [text]: [text] }, error });
        log.info("next");
      });
      const lines = shown.split("\n");
      assert.equal(lines.pop(), "");
      for (const line of lines) assert.doesNotMatch(line, /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
      const starts = lines.filter((line) => !line.startsWith("    "));
      assert.equal(starts.length, 2, shown);
      for (const line of starts) assert.match(line, /^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: notes: /);
    });
  }

  it("says what an unprintable character was", () => {
    assert.equal(visible("a\n\r\t\u001b[2J\u202e\u{e0041}ä🙂"), "a\\n\\r\\t\\u001b[2J\\u202e\\u{e0041}ä🙂");
  });

  it("has the same text in colours", async () => {
    const write = (log: Logger): void => log.named("http").error("failed", { id: 7, error: new RangeError("far") });
    const [plain, colored] = [await written(write), await written(write, { colors: true })];
    assert.notEqual(colored, stripVTControlCharacters(colored));
    const withoutTime = (text: string): string => text.replaceAll(/^.*?\] /g, "").replaceAll(/\.ts:\d+:\d+/g, "");
    assert.equal(withoutTime(stripVTControlCharacters(colored)), withoutTime(plain));
    assert.equal(stripVTControlCharacters(plain), plain);
  });

  it("flushes what it writes to", async () => {
    const asked: string[] = [];
    const inner = {
      write: () => {},
      flush: (done: () => void) => {
        asked.push("flush");
        done();
      },
      flushSync: () => void asked.push("sync"),
    };
    const log = await createLogger({ format: "pretty", destination: inner });
    await log.flush();
    log.flushSync();
    assert.deepEqual(asked, ["flush", "sync"]);
    await (await createLogger({ format: "pretty", destination: { write: () => {} } })).flush();
  });
});

describe("colours", () => {
  const terminal = { isTTY: true, hasColors: () => true };
  const cases: readonly (readonly [string, Parameters<typeof wantsColors>[0], NodeJS.ProcessEnv, boolean])[] = [
    ["a terminal that has them", terminal, {}, true],
    ["a terminal that has none", { isTTY: true, hasColors: () => false }, {}, false],
    ["a pipe", {}, {}, false],
    ["NO_COLOR", terminal, { NO_COLOR: "1" }, false],
    ["an empty NO_COLOR", terminal, { NO_COLOR: "" }, true],
    ["FORCE_COLOR in a pipe", {}, { FORCE_COLOR: "1" }, true],
    ["FORCE_COLOR beside NO_COLOR", {}, { FORCE_COLOR: "", NO_COLOR: "1" }, true],
    ["FORCE_COLOR=0", terminal, { FORCE_COLOR: "0" }, false],
  ];
  for (const [name, output, environment, wanted] of cases) {
    it(`are ${wanted ? "" : "not "}written for ${name}`, () => {
      assert.equal(wantsColors(output, environment), wanted);
    });
  }
});
