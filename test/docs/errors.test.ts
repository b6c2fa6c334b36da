import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { findErrorCodes } from "../../scripts/docs/error-codes.ts";
import { checkErrorsPage } from "../../scripts/docs/errors-page.ts";
import { readSources, toSource } from "../../scripts/docs/sources.ts";

const root = join(import.meta.dirname, "../..");

describe("docs/errors.md", () => {
  it("has every code of the packages, with its statuses, and no other", () => {
    const page = readFileSync(join(root, "docs/errors.md"), "utf8");
    const faults = checkErrorsPage(page, findErrorCodes(readSources(root)));
    assert.ok(faults.length === 0, `docs/errors.md and the code differ:\n${faults.join("\n")}\n`);
  });
});

/** The codes of one file of a package, as `code: statuses`. */
function codesOf(text: string): string[] {
  const codes = findErrorCodes([toSource("pkg/shop/src/file.ts", text)]);
  return codes.map(({ code, statuses }) => `${code}: ${statuses.join(", ")}`);
}

describe("findErrorCodes", () => {
  const shopError = `class ShopError extends AppError<ShopErrorCode> {}\n`;

  it("reads code and status of errors of our classes, and of no others", () => {
    const text = `${shopError} throw new ShopError("ERR_SHOP_SHUT", "unavailable", "come back"); new Error("ERR_X", "internal");`;
    assert.deepEqual(codesOf(text), ["ERR_SHOP_SHUT: unavailable", "ERR_X: "]);
  });

  it("collects every status that a condition chooses, and not what it compares with", () => {
    const inPlace = `new ShopError("ERR_A", error.status === "internal" ? "aborted" : "cancelled", "")`;
    const before = `const status = late ? "deadline_exceeded" : "cancelled"; new ShopError("ERR_B", status, "")`;
    assert.deepEqual(codesOf(shopError + inPlace), ["ERR_A: aborted, cancelled"]);
    assert.deepEqual(codesOf(shopError + before), ["ERR_B: cancelled, deadline_exceeded"]);
  });

  it("takes the status from a class that gives one to all its errors", () => {
    const text = `class LostError extends AppError { constructor(code) { super(code, "not_found", ""); } } new LostError("ERR_LOST", [1, 2]);`;
    assert.deepEqual(codesOf(text), ["ERR_LOST: not_found"]);
  });

  it("reads the status from the name of a constructor of AppError, and of nobody else's", () => {
    const text = `AppError.failedPrecondition("ERR_EARLY", "not yet"); AppError.from("ERR_X"); Shop.notFound("ERR_Y", "");`;
    assert.deepEqual(codesOf(text), ["ERR_EARLY: failed_precondition", "ERR_X: ", "ERR_Y: "]);
  });

  it("takes a status that is that of another error for one that others decide", () => {
    assert.deepEqual(codesOf(`{ code: "ERR_ALL", status: first.status }`), ["ERR_ALL: others"]);
  });

  it("reads tables that errors are made of, with an HTTP status that is not the usual one", () => {
    assert.deepEqual(codesOf(`{ code: "ERR_BIG", httpStatus: 413 }`), ["ERR_BIG: resource_exhausted 413"]);
    assert.deepEqual(codesOf(`{ code: "ERR_BAD", httpStatus: 400 }`), ["ERR_BAD: invalid_argument"]);
    assert.deepEqual(codesOf(`{ code: "ERR_ANY", httpStatus: given }`), ["ERR_ANY: others"]);
    assert.deepEqual(codesOf(`{ code: "ERR_GONE", status: "not_found" }`), ["ERR_GONE: not_found"]);
  });

  it("gives a code without statuses that a type names and no error has", () => {
    assert.deepEqual(codesOf(`export type ShopErrorCode = "ERR_A" | "ERR_B";`), ["ERR_A: ", "ERR_B: "]);
  });

  it("passes over codes of others that something is compared with", () => {
    assert.deepEqual(codesOf(`if (error.code === "ERR_X") switch (code) { case "ERR_Y": }`), []);
  });

  it("refuses a status that it cannot read, and says where", () => {
    assert.throws(() => codesOf(`${shopError} new ShopError("ERR_A", statusOf(error), "")`), {
      message: /^pkg\/shop\/src\/file\.ts:2: the status of ERR_A /,
    });
  });
});

describe("checkErrorsPage", () => {
  const shut = { owner: "shop", code: "ERR_SHUT", statuses: ["internal", "unavailable 418"], place: "pkg/shop/a.ts:1" };
  const page = (...rows: string[]): string =>
    ["## shop", "| code | status | means |", "| --- | --- | --- |", ...rows].join("\n");
  const row = "| `ERR_SHUT` | `internal`, `unavailable` (418) | closed |";

  it("says nothing of a page that is right", () => assert.deepEqual(checkErrorsPage(page(row), [shut]), []));

  it("names a code that the page lacks, and the row to add", () => {
    const [fault = ""] = checkErrorsPage(page(), [shut]);
    assert.match(
      fault,
      /^ERR_SHUT \(pkg\/shop\/a\.ts:1\): no row under "## shop"; add \| `ERR_SHUT` \| `internal`, `unavailable` \(418\) \|/,
    );
  });

  it("names a code that the page has and the package has not, or has twice", () => {
    assert.match(checkErrorsPage(page(row), [])[0] ?? "", /^ERR_SHUT: pkg\/shop has no such code; remove its row/);
    assert.match(checkErrorsPage(page(row, row), [shut])[0] ?? "", /^ERR_SHUT: two rows/);
  });

  it("names a status that differs, and what it must be", () => {
    const faults = checkErrorsPage(page("| `ERR_SHUT` | `internal` | closed |"), [shut]);
    assert.deepEqual(faults, [
      'ERR_SHUT (pkg/shop/a.ts:1): its status under "## shop" must be `internal`, `unavailable` (418)',
    ]);
  });

  it("wants a meaning, and a code that some error has", () => {
    assert.match(checkErrorsPage(page("| `ERR_SHUT` | x | |"), [shut])[0] ?? "", /does not say what it means$/);
    assert.match(checkErrorsPage(page(), [{ ...shut, statuses: [] }])[0] ?? "", /: named, but given to no error/);
  });
});
