import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseArguments } from "./arguments.ts";

const asked = { kind: "ask", main: "main.ts", programArgs: [] };

const migrate = { command: "task", name: "migrate", answer: "ipc" };

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
      "migrate up main.ts",
      {
        command: { ...migrate, single: false, args: { action: "up" }, format: "text" },
        limitMs: 86_400_000,
      },
    ],
    [
      "migrate up main.ts --to 0002_a --dry-run --database reports --app notes --json --timeout 5",
      {
        command: {
          ...migrate,
          single: true,
          args: { action: "up", to: "0002_a", dryRun: true },
          app: "notes",
          subject: "reports",
          format: "json",
        },
        limitMs: 5_000,
      },
    ],
    [
      "migrate --steps 2 down main.ts",
      {
        command: { ...migrate, single: true, args: { action: "down", steps: 2 }, format: "text" },
        limitMs: 86_400_000,
      },
    ],
    [
      "migrate status main.ts",
      { command: { ...migrate, single: false, args: { action: "status" }, format: "text" }, limitMs: 86_400_000 },
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

  for (const [line, expected] of [
    ["migrate new create notes", { words: "create_notes", folder: "migrations", language: "sql" }],
    ["migrate new Add-Title! --folder db --ts", { words: "add_title", folder: "db", language: "ts" }],
  ] as const) {
    it(`understands ${line}`, () => {
      assert.deepEqual(parseArguments(line.split(" ")), { kind: "new", ...expected });
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
    [[], "there is no command; take graph, config, openapi, migrate, services or gateway"],
    [["conifg", "main.ts"], `there is no command "conifg"; did you mean "config"?`],
    [["dance"], `there is no command "dance"; take graph, config, openapi, migrate, services or gateway`],
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
    [["migrate"], "plinth migrate does nothing by itself; take up, down, status or new"],
    [["migrate", "main.ts"], `there is no plinth migrate "main.ts"; take up, down, status or new`],
    [["migrate", "dwon", "main.ts"], `there is no plinth migrate "dwon"; did you mean "down"?`],
    [["migrate", "up"], "plinth migrate up needs MAIN, the file that calls app.run() or runApps()"],
    [["migrate", "up", "a.ts", "--steps", "1"], `"--steps" is no option of plinth migrate up`],
    [["migrate", "down", "a.ts", "--steps=0"], `--steps takes a number, 1 or more, and was given "0"`],
    [["migrate", "down", "a.ts", "--steps=1", "--to=a"], "take --to or --steps, not both"],
    [["migrate", "up", "a.ts", "--to"], "--to takes a name"],
    [["migrate", "status", "a.ts", "--dry-run"], `"--dry-run" is no option of plinth migrate status`],
    [["migrate", "new"], "plinth migrate new needs some words, up to 100 letters and digits, that say what changes"],
    [
      ["migrate", "new", "../.."],
      "plinth migrate new needs some words, up to 100 letters and digits, that say what changes",
    ],
    [["migrate", "new", "a", "--json"], `"--json" is no option of plinth migrate new`],
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
