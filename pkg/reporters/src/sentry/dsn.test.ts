import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isDsn } from "./dsn.ts";

describe("isDsn", () => {
  for (const dsn of [
    "https://0123abcd@o1.ingest.sentry.io/42",
    "http://key@127.0.0.1:9000/1",
    "https://key:secret@sentry.example.org/a/path/7",
    "https://key@[::1]:9000/1",
  ]) {
    it(`takes ${dsn}`, () => assert.equal(isDsn(dsn), true));
  }

  for (const dsn of [
    "",
    "key",
    "https://o1.ingest.sentry.io/42",
    "https://key@host/",
    "https://key@host/project",
    "https://key@host/42x",
    "https://key@host/42?x=1",
    "https://key@host:99999/42",
    "ftp://key@host/42",
    "https://k y@host/42",
    "https://key@host/42\n",
  ]) {
    it(`refuses ${JSON.stringify(dsn)}`, () => assert.equal(isDsn(dsn), false));
  }
});
