import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { chooseFormat } from "./format.ts";

const prometheus2 =
  "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const prometheus3 =
  "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

describe("chooseFormat", () => {
  const openmetrics = [
    prometheus2,
    prometheus3,
    "application/openmetrics-text",
    'Application/OpenMetrics-Text; Version="1.0.0"',
    "text/plain;q=0.5, application/openmetrics-text;q=0.6",
    "application/openmetrics-text, */*;q=0.1",
    "application/*;q=0.9, text/*;q=0.1",
  ];
  for (const accept of openmetrics) {
    it(`takes OpenMetrics for ${accept}`, () => assert.equal(chooseFormat(accept), "openmetrics"));
  }

  const text = [
    undefined,
    "",
    "*/*",
    "text/plain",
    "text/plain;version=0.0.4",
    "text/html,application/xhtml+xml,*/*;q=0.8",
    "application/openmetrics-text;q=0.5, text/plain;q=0.5",
    "application/openmetrics-text;q=0.4, */*;q=0.5",
    "application/openmetrics-text;q=0",
    "application/openmetrics-text;q=0, */*",
    "application/openmetrics-text;version=0.0.1",
    "application/openmetrics-text;version=2.0.0",
    "application/openmetrics-text;q=much",
    "application/openmetrics-text;q=7",
    "application/json",
    "text/plain;q=0",
    ",,;;=;q",
    `${"text/plain,".repeat(100_000)}application/openmetrics-text`,
  ];
  for (const accept of text) {
    it(`takes text for ${accept?.slice(0, 80)}`, () => assert.equal(chooseFormat(accept), "prometheus"));
  }
});
