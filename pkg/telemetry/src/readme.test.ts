import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { readVariables } from "./environment.ts";
import { exportDefaults } from "./export-options.ts";
import { telemetrySettings } from "./settings.ts";

/** A row of the table of variables: setting, variables, default. */
type Row = readonly [setting: readonly string[], variables: readonly string[], byDefault: readonly string[]];

describe("the table of variables in the README", () => {
  let rows: readonly Row[];
  before(async () => {
    const text = await readFile(join(import.meta.dirname, "../README.md"), "utf8");
    const [, table = ""] = /\n(\| setting .*?)\n\n/s.exec(text) ?? [];
    const words = (cell = ""): readonly string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, word = ""]) => word);
    rows = table
      .split("\n")
      .slice(2)
      .map((line) => line.split("|"))
      .map(([, setting, variables, byDefault]) => [words(setting), words(variables), words(byDefault)]);
  });

  it("has every variable that is read, and no other", () => {
    const read = new Set<string>();
    readVariables(new Proxy<Record<string, string>>({}, { get: (_, name) => void read.add(String(name)) }));
    // all but one of those for traces alone are told of in a sentence
    const isTold = (name: string): boolean =>
      !name.startsWith("OTEL_EXPORTER_OTLP_TRACES_") || name.endsWith("_TRACES_ENDPOINT");
    const told = new Set(rows.flatMap(([, variables]) => variables));
    assert.deepEqual([...told].toSorted(), [...read].filter(isTold).toSorted());
    for (const name of [...read].filter((each) => !isTold(each)))
      assert.ok(read.has(name.replace("OTLP_TRACES_", "OTLP_")), name);
  });

  it("has every setting, with the default that it has", () => {
    const settings = rows.flatMap(([setting]) => setting);
    const input = telemetrySettings.schema["~standard"].jsonSchema?.input;
    const { properties } = input?.({ target: "draft-2020-12", libraryOptions: { unrepresentable: "any" } }) ?? {};
    assert.ok(typeof properties === "object" && properties !== null);
    assert.deepEqual(settings.toSorted(), Object.keys(properties).toSorted());
    const defaults: Readonly<Record<string, string | number>> = exportDefaults;
    for (const [[setting], , [byDefault]] of rows)
      if (setting !== undefined) assert.equal(byDefault, defaults[setting]?.toString(), setting);
  });
});
