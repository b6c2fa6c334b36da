import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { defineSettings } from "@plinth/kernel";
import { settingRows } from "../../scripts/docs/config.ts";
import { LabelValues } from "../../scripts/docs/label-values.ts";
import { findMetrics } from "../../scripts/docs/metrics.ts";
import { makePages } from "../../scripts/docs/pages.ts";
import { toSource } from "../../scripts/docs/sources.ts";

const root = join(import.meta.dirname, "../..");

/** The lines that only one of the two texts has. */
function differences(written: string, made: string): string[] {
  const [before, after] = [written.split("\n"), made.split("\n")];
  const gone = before.filter((line) => !after.includes(line)).map((line) => `- ${line}`);
  return [...gone, ...after.filter((line) => !before.includes(line)).map((line) => `+ ${line}`)];
}

describe("the pages made from the code", async () => {
  for (const [file, made] of await makePages(root)) {
    it(`${file} says what the code says`, () => {
      const written = existsSync(join(root, file)) ? readFileSync(join(root, file), "utf8") : "";
      const lines = differences(written, made).join("\n");
      assert.ok(written === made, `${file} (-) and the code (+) differ; run: npm run docs\n${lines}\n`);
    });
  }
});

describe("settingRows", () => {
  it("gives each variable its name, type, range, default, whether it changes at run time and meaning, and marks secrets", () => {
    const token = { type: "string", minLength: 1, writeOnly: true, description: "For the door." };
    const properties = {
      waitMs: { type: "integer", minimum: 1, maximum: 60_000, default: 500, description: "How long." },
      ratio: { type: "number", exclusiveMinimum: 0, maximum: Number.MAX_SAFE_INTEGER },
      tags: { type: "array", items: { type: "string" }, default: [] },
      mode: { type: "string", enum: ["on", "off"], default: "on" },
      inner: { type: "object", properties: { token } },
    };
    const jsonSchema = { input: () => ({ type: "object", properties }) };
    const schema = {
      "~standard": { version: 1, vendor: "shop", validate: () => ({ value: { waitMs: 1, inner: {} } }), jsonSchema },
    } as const;
    const shop = defineSettings("shop", schema, { reloadable: ["waitMs", "inner"] });
    assert.deepEqual(settingRows(shop), [
      ["`waitMs`", "`PLINTH_SHOP_WAIT_MS`", "whole number", "from 1 to 60000", "`500`", "yes", "How long."],
      ["`ratio`", "`PLINTH_SHOP_RATIO`", "number", "above 0", "", "", ""],
      ["`tags`", "`PLINTH_SHOP_TAGS`", "list of text", "", "`[]`", "", ""],
      ["`mode`", "`PLINTH_SHOP_MODE`", "`on`, `off`", "", "`on`", "", ""],
      ["`inner.token`", "`PLINTH_SHOP_INNER_TOKEN`", "secret text", "not empty", "", "yes", "For the door."],
    ]);
  });
});

describe("findMetrics", () => {
  const metricsOf = (text: string): string[] =>
    findMetrics(toSource("pkg/shop/src/file.ts", text)).map(
      ({ kind, name, labels, help }) => `${kind} ${name} {${labels.join()}} ${help}`,
    );

  it("reads the declarations that are written out", () => {
    const text = `own?.counter({ name: "sold_total", help: "Sold.", labels: ["kind", "shop"] });
      metrics.gauge({ collect(gauge) { gauge.set({}, 1); }, name: "open", help: "Open." })`;
    assert.deepEqual(metricsOf(text), ["counter sold_total {kind,shop} Sold.", "gauge open {} Open."]);
  });

  it("reads those of a loop over a literal table", () => {
    const text = `const rows = [["a", "A."], ["b", "B.", f(1, 2)]] as const;
      for (const [name, help] of rows) { metrics.gauge({ name, help, labels: ["x"] }); }`;
    assert.deepEqual(metricsOf(text), ["gauge a {x} A.", "gauge b {x} B."]);
  });

  it("reads how workers' values become one, exemplars, and buckets, also those of lists in the same file", () => {
    const text = `const sizes = [1_024, 4_096];
      own.gauge({ name: "open", help: "Open.", aggregate: "max" });
      own.histogram({ name: "took", help: "Took.", exemplars: true });
      own.histogram({ name: "size", help: "Size.", buckets: sizes });
      own.histogram({ name: "long", help: "Long.", buckets: [...durationBucketsSeconds, 30, 60] });`;
    const found = findMetrics(toSource("pkg/shop/src/file.ts", text));
    assert.deepEqual(
      found.map(({ aggregate, exemplars, buckets }) => [aggregate, exemplars, buckets]),
      [
        ["max", false, undefined],
        [undefined, true, undefined],
        [undefined, false, "1024, 4096"],
        [undefined, false, "the usual ones, 30, 60"],
      ],
    );
  });

  it("refuses one whose name is computed, and says where", () => {
    assert.throws(() => metricsOf('metrics.counter({ name: `${prefix}_total`, help: "Sold." })'), {
      message: /^pkg\/shop\/src\/file\.ts:1: .* this counter/,
    });
  });
});

describe("LabelValues", () => {
  it("puts labels with the same values in one row, and those with others in another", () => {
    const rows = new LabelValues().rowsOf([
      { name: "http_server_request_duration_seconds", labels: ["method"] },
      { name: "grpc_server_messages_total", labels: ["method"] },
      { name: "grpc_server_call_duration_seconds", labels: ["method"] },
    ]);
    assert.deepEqual(
      rows.map(([label, of]) => [label, of]),
      [
        ["`method`", "`http_server_request_duration_seconds`"],
        ["`method`", "`grpc_server_call_duration_seconds`, `grpc_server_messages_total`"],
      ],
    );
  });

  it("refuses a label that nothing is said of, and words that are of no label", () => {
    const labelValues = new LabelValues();
    assert.throws(() => labelValues.rowsOf([{ name: "http_server_shed_total", labels: ["mood"] }]), {
      message: /label-values\.ts: say what values mood of http_server_shed_total has/,
    });
    assert.throws(() => labelValues.requireAllUsed(), { message: /no metric has .*app_state: state.*; remove it/ });
  });
});
