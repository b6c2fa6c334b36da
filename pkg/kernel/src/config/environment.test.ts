import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { z } from "zod";
import { declare } from "./declared.ts";
import { type Environment, readEnvironment } from "./environment.ts";
import { secretString } from "./secret.ts";
import { defineSettings, type SettingsToken } from "./settings.ts";

const server = z.strictObject({
  port: z.int().default(80),
  host: z.string().default("a"),
  tls: z.strictObject({ keyFile: z.string().optional() }).prefault({}),
});
const http = defineSettings("http", server);
const admin = defineSettings("http-admin", server);
const consul = defineSettings(
  "consul",
  z.strictObject({ addr: z.string().optional(), token: secretString("t").optional() }),
);

function read(sections: readonly SettingsToken[], environment: Environment): readonly string[] {
  const { faults } = readEnvironment(declare(sections), environment);
  return faults.map(({ key, problem, source }) => `${key}: ${problem} (${source})`);
}

describe("variables", () => {
  it("that are none of a declared section are faults with the nearest one", () => {
    assert.deepEqual(
      read([http, consul], { PLINTH_HTTP_PROT: "1", PLINTH_HTTP_TLS_KEYFILE: "x", PLINTH_CONSUL_XYZ: "1" }),
      [
        'http: no key of it has this variable; did you mean "PLINTH_HTTP_PORT"? (PLINTH_HTTP_PROT)',
        'http: no key of it has this variable; did you mean "PLINTH_HTTP_TLS_KEY_FILE"? (PLINTH_HTTP_TLS_KEYFILE)',
        "consul: no key of it has this variable (PLINTH_CONSUL_XYZ)",
      ],
    );
  });

  it("of sections that nobody declares, of other programs, and the two that name the config are silent", () => {
    const environment = {
      PLINTH_CONFIG: "x.yaml",
      PLINTH_PROFILE: "live",
      PLINTH_DATABASE_URL: "x",
      PLINTH_HTTPS_PORT: "1",
      PLINTH___PROTO__: "1",
      PLINTH___PROTO___ADMIN: "1",
      PLINTH_: "1",
      HTTP_PORT: "x",
    };
    assert.deepEqual(read([http, consul], environment), []);
  });

  it("that are empty count as not set, known or not", () => {
    assert.deepEqual(read([http], { PLINTH_HTTP_PORT: "", PLINTH_HTTP_PROT: "" }), []);
  });

  it("belong to the section with the longest name", () => {
    assert.deepEqual(read([http, admin], { PLINTH_HTTP_ADMIN_PORT: "1", PLINTH_HTTP_PORT: "2" }), []);
    assert.deepEqual(read([http, admin], { PLINTH_HTTP_ADMIN_PROT: "1" }), [
      'http-admin: no key of it has this variable; did you mean "PLINTH_HTTP_ADMIN_PORT"? (PLINTH_HTTP_ADMIN_PROT)',
    ]);
  });

  it("that two keys would share are a fault of the code", () => {
    const twin = defineSettings("twin", z.strictObject({ aB: z.string().optional(), a_b: z.string().optional() }));
    assert.deepEqual(declare([twin]).faults, [
      {
        key: "twin.a_b",
        problem: "its variable PLINTH_TWIN_A_B is that of twin.aB as well; rename it",
        source: "code",
      },
    ]);
    const tls = defineSettings("http-tls", z.strictObject({ keyFile: z.string().optional() }));
    assert.match(
      declare([http, tls]).faults[0]?.problem ?? "",
      /PLINTH_HTTP_TLS_KEY_FILE is that of http\.tls\.keyFile/,
    );
    const config = defineSettings("config", z.string().optional());
    assert.match(declare([config]).faults[0]?.problem ?? "", /PLINTH_CONFIG is that of the place of the config/);
  });

  it("that no schema tells of are faults: none of them could set anything", () => {
    const own = defineSettings("own", {
      "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) },
    });
    assert.deepEqual(read([own], { PLINTH_OWN_KEY: "1" }), ["own: no key of it has this variable (PLINTH_OWN_KEY)"]);
  });

  it("with a secret show nothing of it", () => {
    const environment = { PLINTH_CONSUL_TOKN: "hunter2", PLINTH_CONSUL_TOKEN: "a\uFFFDhunter2" };
    const faults = read([consul], environment);
    assert.equal(faults.length, 2);
    assert.doesNotMatch(faults.join("\n"), /hunter2/);
  });
});

describe("variables that Kubernetes sets for a service", () => {
  it("are silent where the name leaves no doubt", () => {
    const links = {
      PLINTH_HTTP_SERVICE_HOST: "10.0.0.1",
      PLINTH_HTTP_SERVICE_PORT: "80",
      PLINTH_HTTP_SERVICE_PORT_GRPC_WEB: "80",
      PLINTH_HTTP_PORT_80_TCP: "tcp://10.0.0.1:80",
      PLINTH_HTTP_PORT_80_TCP_PROTO: "tcp",
      PLINTH_HTTP_PORT_80_TCP_PORT: "80",
      PLINTH_HTTP_PORT_80_TCP_ADDR: "10.0.0.1",
      PLINTH_HTTP_PORT_53_UDP: "udp://10.0.0.1:53",
    };
    assert.deepEqual(read([http], links), []);
  });

  const hint =
    "a variable like this comes from Kubernetes, which sets it for a service of that name; set `enableServiceLinks: false` in the pod's spec";

  it("are faults that say so where they stand in the place of a key", () => {
    assert.deepEqual(read([http], { PLINTH_HTTP_PORT: "tcp://10.0.0.1:80" }), [
      `http.port: expected a number, got "tcp://10.0.0.1:80"; ${hint} (PLINTH_HTTP_PORT)`,
    ]);
  });

  it("are faults that say so where they look like a key", () => {
    assert.deepEqual(read([http], { PLINTH_HTTP_ADMIN_PORT: "tcp://10.0.0.1:80" }), [
      `http: no key of it has this variable; ${hint} (PLINTH_HTTP_ADMIN_PORT)`,
    ]);
  });

  it("lose against a key that has such a name", () => {
    const discovery = defineSettings("discovery", z.strictObject({ serviceHost: z.string().optional() }));
    const { data } = readEnvironment(declare([discovery]), { PLINTH_DISCOVERY_SERVICE_HOST: "a" });
    assert.deepEqual(structuredClone(data), { discovery: { serviceHost: "a" } });
  });
});
