import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseArguments } from "./arguments.ts";

const asked = { kind: "ask", main: "main.ts", programArgs: [] };

describe("parseArguments", () => {
  const understood: readonly (readonly [string, object])[] = [
    ["graph main.ts", { command: { command: "graph", format: "tree", start: false, answer: "ipc" }, limitMs: 60_000 }],
    [
      "graph --start main.ts --format=dot",
      { command: { command: "graph", format: "dot", start: true, answer: "ipc" }, limitMs: 120_000 },
    ],
    [
      "--format json graph main.ts --timeout 0.5",
      { command: { command: "graph", format: "json", start: false, answer: "ipc" }, limitMs: 500 },
    ],
    ["config main.ts", { command: { command: "config", format: "text", answer: "ipc" }, limitMs: 60_000 }],
    ["config --json main.ts", { command: { command: "config", format: "json", answer: "ipc" }, limitMs: 60_000 }],
    ["config main.ts --schema", { command: { command: "config", format: "schema", answer: "ipc" }, limitMs: 60_000 }],
    [
      "openapi main.ts",
      { command: { command: "document", name: "openapi", format: "json", answer: "ipc" }, limitMs: 60_000 },
    ],
    [
      "openapi --app notes main.ts",
      {
        command: { command: "document", name: "openapi", app: "notes", format: "json", answer: "ipc" },
        limitMs: 60_000,
      },
    ],
    [
      "config main.ts -- --http.port=1 -- --json",
      {
        command: { command: "config", format: "text", answer: "ipc" },
        limitMs: 60_000,
        programArgs: ["--http.port=1", "--", "--json"],
      },
    ],
  ];
  for (const [line, expected] of understood) {
    it(`understands ${line}`, () => {
      assert.deepEqual(parseArguments(line.split(" ")), { ...asked, ...expected });
    });
  }

  for (const line of ["--help", "-h", "graph --help", "config main.ts -h"]) {
    it(`takes ${line} for a call for help`, () => {
      assert.deepEqual(parseArguments(line.split(" ")), { kind: "help" });
    });
  }
  for (const line of ["--version", "-v"]) {
    it(`takes ${line} for a question for the version`, () => {
      assert.deepEqual(parseArguments([line]), { kind: "version" });
    });
  }

  it("leaves what stands after -- to the program, help included", () => {
    const { kind } = parseArguments(["graph", "main.ts", "--", "--help"]);
    assert.equal(kind, "ask");
  });

  const faulty: readonly (readonly [readonly string[], string])[] = [
    [[], "there is no command; take graph, config or openapi"],
    [["conifg", "main.ts"], `there is no command "conifg"; did you mean "config"?`],
    [["dance"], `there is no command "dance"; take graph, config or openapi`],
    [["graph"], "plinth graph needs MAIN, the file that calls app.run() or runApps()"],
    [["graph", ""], "plinth graph needs MAIN, the file that calls app.run() or runApps()"],
    [["graph", "--", "main.ts"], "plinth graph needs MAIN, the file that calls app.run() or runApps()"],
    [["graph", "a.ts", "b.ts"], `"b.ts" is one argument too many; what is for a.ts goes after --`],
    [["graph", "a.ts", "--fromat", "dot"], `"--fromat" is no option of plinth graph; did you mean "--format"?`],
    [["graph", "a.ts", "--json"], `"--json" is no option of plinth graph; for the program it goes after --`],
    [["config", "a.ts", "--start"], `"--start" is no option of plinth config; for the program it goes after --`],
    [
      ["config", "a.ts", "--http.port=1"],
      `"--http.port" is no option of plinth config; for the program it goes after --`,
    ],
    [["config", "a.ts", "-x"], `"-x" is no option of plinth config; for the program it goes after --`],
    [["config", "a.ts", "--toString"], `"--toString" is no option of plinth config; for the program it goes after --`],
    [["openapi", "a.ts", "--json"], `"--json" is no option of plinth openapi; for the program it goes after --`],
    [["openapi", "a.ts", "--app="], "--app takes the name of an app"],
    [["--verison"], `"--verison" is no option; did you mean "--version"?`],
    [["graph", "a.ts", "--format", "svg"], `--format "svg" is none; take tree, dot, mermaid or json`],
    [["graph", "a.ts", "--format", "jsn"], `--format "jsn" is none; did you mean "json"?`],
    [["graph", "a.ts", "--format"], `--format "" is none; take tree, dot, mermaid or json`],
    [["graph", "a.ts", "--start=yes"], `--start takes no value, and was given "yes"`],
    [["config", "a.ts", "--json", "--schema"], "take --json or --schema, not both"],
    ...["0", "-1", "1e3", "soon", "", "86401"].map((text): readonly [readonly string[], string] => [
      ["graph", "a.ts", `--timeout=${text}`],
      `--timeout takes seconds, above 0 and up to 86400, and was given "${text}"`,
    ]),
  ];
  for (const [args, message] of faulty) {
    it(`says of ${JSON.stringify(args)} what is wrong with it`, () => {
      assert.throws(() => parseArguments(args), { name: "UsageError", message });
    });
  }
});
