import assert from "node:assert/strict";
import { it } from "node:test";
import { findPeer } from "./peer-binary.ts";

it("a peer that is missing is a fault of the bench that says what to do", async (t) => {
  const before = process.env["NGINX_BIN"];
  t.after(() => {
    if (before === undefined) delete process.env["NGINX_BIN"];
    else process.env["NGINX_BIN"] = before;
  });
  process.env["NGINX_BIN"] = "/no/such/nginx";
  await assert.rejects(findPeer("nginx"), { name: "BenchError", code: "ERR_BENCH_PEER_MISSING", message: /NGINX_BIN/ });
});
