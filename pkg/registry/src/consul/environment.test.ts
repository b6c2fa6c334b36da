import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Secret } from "@plinth/kernel";
import { firstOf } from "./connection.ts";
import { consulOptionsFrom, type ConsulVariables, plinthOptionsFrom } from "./environment.ts";

/** Secrets in the clear, to be compared. */
function plain(options: ConsulVariables): unknown {
  return JSON.parse(
    JSON.stringify({ ...options }, (_key, value: unknown) => (value instanceof Secret ? undefined : value)),
  );
}

const reveal = (given: Secret | string | undefined): string | undefined =>
  given instanceof Secret ? given.reveal() : given;

describe("Consul's own variables", () => {
  it("say all of a connection", () => {
    const options = consulOptionsFrom({
      CONSUL_HTTP_ADDR: "consul.internal:8501",
      CONSUL_HTTP_TOKEN: "t0ken",
      CONSUL_HTTP_AUTH: "ops:s3cret",
      CONSUL_HTTP_SSL: "true",
      CONSUL_HTTP_SSL_VERIFY: "false",
      CONSUL_CACERT: "/ca.pem",
      CONSUL_CAPATH: "/ca",
      CONSUL_CLIENT_CERT: "/cert.pem",
      CONSUL_CLIENT_KEY: "/key.pem",
      CONSUL_TLS_SERVER_NAME: "server.dc1.consul",
      CONSUL_NAMESPACE: "blue",
      CONSUL_PARTITION: "west",
      CONSUL_GRPC_ADDR: "127.0.0.1:8502",
      CONSUL_GRPC_CACERT: "/grpc.pem",
    });
    assert.deepEqual(
      { ...options, token: reveal(options.token), httpAuth: reveal(options.httpAuth) },
      {
        address: "https://consul.internal:8501",
        token: "t0ken",
        httpAuth: "ops:s3cret",
        namespace: "blue",
        partition: "west",
        tls: {
          caFile: "/ca.pem",
          caPath: "/ca",
          certFile: "/cert.pem",
          keyFile: "/key.pem",
          serverName: "server.dc1.consul",
          verify: false,
        },
      },
    );
  });

  const cases: readonly (readonly [what: string, variables: Record<string, string>, options: object])[] = [
    ["nothing when none is set", {}, {}],
    ["nothing where they are empty", { CONSUL_HTTP_ADDR: "", CONSUL_HTTP_SSL: "", CONSUL_CACERT: "" }, {}],
    ["TLS to the agent of this machine", { CONSUL_HTTP_SSL: "1" }, { address: "https://127.0.0.1:8500" }],
    ["TLS in spite of http://", { CONSUL_HTTP_SSL: "T", CONSUL_HTTP_ADDR: "http://a:1" }, { address: "https://a:1" }],
    [
      "the address before a false CONSUL_HTTP_SSL",
      { CONSUL_HTTP_SSL: "0", CONSUL_HTTP_ADDR: "https://a" },
      { address: "https://a" },
    ],
    ["a socket", { CONSUL_HTTP_ADDR: "unix:///run/consul.sock" }, { address: "unix:///run/consul.sock" }],
    [
      "the file of the token before the token",
      { CONSUL_HTTP_TOKEN: "x", CONSUL_HTTP_TOKEN_FILE: "/token" },
      { tokenFile: "/token" },
    ],
  ];
  for (const [what, variables, options] of cases) {
    it(`say ${what}`, () => assert.deepEqual(plain(consulOptionsFrom(variables)), options));
  }

  const faults: readonly (readonly [variables: Record<string, string>, message: RegExp])[] = [
    [
      { CONSUL_HTTP_ADDR: "a b" },
      /^CONSUL_HTTP_ADDR "a b" cannot be used: it cannot be read as one; write it as host:port/,
    ],
    [{ CONSUL_HTTP_ADDR: "http://ops:s3cret@a" }, /^CONSUL_HTTP_ADDR "\(hidden\)" .* httpAuth/],
    [{ CONSUL_HTTP_ADDR: "unix:///a", CONSUL_HTTP_SSL: "true" }, /^CONSUL_HTTP_SSL with CONSUL_HTTP_ADDR .*TLS is not/],
    [{ CONSUL_HTTP_SSL: "yes" }, /^CONSUL_HTTP_SSL must be true or false, not "yes"$/],
    [{ CONSUL_HTTP_SSL_VERIFY: "off" }, /^CONSUL_HTTP_SSL_VERIFY must be true or false/],
    [{ CONSUL_CLIENT_CERT: "/c" }, /^CONSUL_CLIENT_CERT needs CONSUL_CLIENT_KEY beside it/],
    [{ CONSUL_CLIENT_KEY: "/k" }, /^CONSUL_CLIENT_KEY needs CONSUL_CLIENT_CERT beside it/],
  ];
  for (const [variables, message] of faults) {
    it(`are refused by name: ${Object.entries(variables).join(" ")}`, () => {
      assert.throws(() => consulOptionsFrom(variables), { message });
    });
  }
});

describe("the variables of the settings, read before there are settings", () => {
  it("say all of a connection, the token also as a file", () => {
    const options = plinthOptionsFrom({
      PLINTH_CONSUL_ADDR: "a:1",
      PLINTH_CONSUL_TOKEN: "file:/run/secrets/token",
      PLINTH_CONSUL_DATACENTER: "eu",
      PLINTH_CONSUL_NAMESPACE: "blue",
      PLINTH_CONSUL_PARTITION: "west",
      PLINTH_CONSUL_TLS_CA_FILE: "/ca.pem",
      PLINTH_CONSUL_TLS_VERIFY: "true",
    });
    assert.deepEqual(options, {
      address: "http://a:1",
      tokenFile: "/run/secrets/token",
      datacenter: "eu",
      namespace: "blue",
      partition: "west",
      tls: { caFile: "/ca.pem", verify: true },
    });
  });

  it("are refused by name", () => {
    const read = () => plinthOptionsFrom({ PLINTH_CONSUL_ADDR: "ftp://a" });
    assert.throws(read, { code: "ERR_REGISTRY_ADDRESS", message: /^PLINTH_CONSUL_ADDR / });
    const tls = () => plinthOptionsFrom({ PLINTH_CONSUL_TLS_KEY_FILE: "/k" });
    assert.throws(tls, { message: /^PLINTH_CONSUL_TLS_KEY_FILE needs PLINTH_CONSUL_TLS_CERT_FILE/ });
  });
});

describe("of what several say of a connection", () => {
  it("the first that says something counts, a token with its file, and TLS as a whole", () => {
    const first = { address: "a", tokenFile: "/t", tls: { verify: undefined } };
    const second = { address: "b", token: "x", datacenter: "eu", tls: { caFile: "/second.pem" } };
    const third = { datacenter: "us", namespace: "blue", tls: { caFile: "/third.pem", verify: false } };
    const { address, token, tokenFile, datacenter, namespace, tls } = firstOf(first, second, third);
    assert.deepEqual(
      [address, token, tokenFile, datacenter, namespace, tls],
      ["a", undefined, "/t", "eu", "blue", { caFile: "/second.pem" }],
    );
  });
});
