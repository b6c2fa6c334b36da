import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { keySetUrlProblem } from "./provider.ts";

describe("keySetUrlProblem", () => {
  for (const url of [
    "https://issuer.example/jwks",
    "http://127.0.0.1:8082/jwks",
    "http://localhost/x",
    "http://[::1]:1/x",
    "http://127.9.9.9/",
  ]) {
    it(`takes ${url}`, () => assert.equal(keySetUrlProblem(url), undefined));
  }
  for (const url of [
    "http://issuer.example/jwks",
    "http://10.0.0.1/",
    "file:///etc/keys",
    "http://127.0.0.1.evil.example/",
    "http://169.254.169.254/",
    "https://u:p@x/",
    "nonsense",
  ]) {
    it(`refuses ${url}`, () => assert.equal(typeof keySetUrlProblem(url), "string"));
  }
});
