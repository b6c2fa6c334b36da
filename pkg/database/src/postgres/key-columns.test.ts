import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { keyColumns } from "./key-columns.ts";

describe("keyColumns", () => {
  const cases: readonly [string, string | undefined, readonly string[] | undefined][] = [
    ["one column", "Key (text)=(hunter2) already exists.", ["text"]],
    ["several, in order", "Key (tenant, email)=(7, hunter2) already exists.", ["tenant", "email"]],
    ["another language", "Schlüssel »(tenant, email)=(7, hunter2)« existiert bereits.", ["tenant", "email"]],
    [
      "an expression",
      "Key (tenant, lower(email || ','::text))=(7, hunter2) already exists.",
      ["tenant", "lower(email || ','::text)"],
    ],
    ["quoted names", 'Key ("Order, No", "a""b")=(hunter2, 1) already exists.', ["Order, No", 'a"b']],
    ["values that look like a key", "Key (text)=((hunter2)=(hunter2)) already exists.", ["text"]],
    ["a range that conflicts", "Key (during)=([1,5)) conflicts with existing key (during)=([2,3)).", ["during"]],
    ["a foreign key", 'Key (parent)=(99) is not present in table "notes".', ["parent"]],
    ["a detail without a key", "Failing row contains (1, hunter2).", undefined],
    ["no detail", undefined, undefined],
  ];
  for (const [what, detail, columns] of cases) {
    it(`reads ${what}`, () => {
      assert.deepEqual(keyColumns(detail), columns);
      assert.doesNotMatch(JSON.stringify(keyColumns(detail) ?? ""), /hunter2/);
    });
  }
});
