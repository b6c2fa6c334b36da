// How a real agent is reached: by TLS, with a certificate of ours, on a socket, and with tokens that are replaced.
import assert from "node:assert/strict";
import { copyFile, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import {
  type ConsulClient,
  type ConsulConnectionOptions,
  consulConfig,
  createConsulClient,
  createConsulKv,
  createConsulRegistry,
} from "@plinth/registry";
import { makeCertificate } from "../../pkg/transport/src/testing/certificates.ts";
import { type ConsulAgent, findFreePorts, startConsul } from "../../scripts/servers/index.ts";

const masterToken = "11111111-2222-4333-8444-555555555555";
const unknownToken = "99999999-2222-4333-8444-555555555555";

describe("a real agent with TLS, a socket and tokens", { timeout: 60_000 }, () => {
  let folder = "";
  let agent: ConsulAgent;
  let https = 0;
  const at = (name: string): string => join(folder, name);
  const authority = makeCertificate({ name: "consul-ca" });
  const server = makeCertificate({ name: "server.dc1.consul", issuer: authority });
  const ours = makeCertificate({ name: "plinth", issuer: authority });
  const strangers = makeCertificate({ name: "stranger" });

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "plinth-consul-tls-"));
    const files: Readonly<Record<string, string>> = {
      "ca.pem": authority.cert,
      "server.pem": server.cert,
      "server.key": server.key,
      "ours.pem": ours.cert,
      "ours.key": ours.key,
      "stranger.pem": strangers.cert,
      "stranger.key": strangers.key,
      "garbage.pem": "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n",
    };
    for (const [name, text] of Object.entries(files)) await writeFile(at(name), text);
    await mkdir(at("authorities"));
    await writeFile(at("authorities/a.pem"), authority.cert);
    [https = 0] = await findFreePorts(1);
    const hcl = [
      `ports { https = ${https} }`,
      `addresses { http = "127.0.0.1 unix://${at("agent.sock")}" }`,
      `ca_file = "${at("ca.pem")}"`,
      `cert_file = "${at("server.pem")}"`,
      `key_file = "${at("server.key")}"`,
      `verify_incoming_https = true`,
      `acl { enabled = true default_policy = "allow" tokens { master = "${masterToken}" } }`,
    ];
    agent = await startConsul({ args: hcl.map((line) => `-hcl=${line}`) });
  });
  after(async () => {
    await agent?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function asked<T>(options: ConsulConnectionOptions, ask: (consul: ConsulClient) => Promise<T>): Promise<T> {
    const consul = createConsulClient({ environment: {}, ...options });
    try {
      return await ask(consul);
    } finally {
      await consul.close();
    }
  }
  const leader = (consul: ConsulClient): Promise<string | undefined> => consul.leader();
  const mutual = () => ({ caFile: at("ca.pem"), certFile: at("ours.pem"), keyFile: at("ours.key") });
  const secure = (): string => `https://127.0.0.1:${https}`;

  it("is reached with a certificate of ours, by its address, and by the name in its certificate", async () => {
    for (const tls of [
      mutual(),
      { ...mutual(), serverName: "server.dc1.consul" },
      { ...mutual(), caFile: undefined, caPath: at("authorities") },
      { ...mutual(), caFile: undefined, verify: false },
    ]) {
      assert.ok(await asked({ address: secure(), tls }, leader), JSON.stringify(tls));
    }
  });

  it("is reached by Consul's own variables alone", async () => {
    const environment = {
      CONSUL_HTTP_ADDR: `127.0.0.1:${https}`,
      CONSUL_HTTP_SSL: "true",
      CONSUL_CACERT: at("ca.pem"),
      CONSUL_CLIENT_CERT: at("ours.pem"),
      CONSUL_CLIENT_KEY: at("ours.key"),
      CONSUL_TLS_SERVER_NAME: "server.dc1.consul",
      CONSUL_HTTP_TOKEN: masterToken,
    };
    assert.ok(await asked({ environment }, leader));
    const kv = createConsulKv({ environment });
    await kv.put("config/notes", "a: 1");
    await kv.close();
    const { signal } = new AbortController();
    const document = await consulConfig({ key: "config/notes", environment }).load({ signal });
    assert.equal(Reflect.get(Object(document.data), "a"), 1);
    const registry = createConsulRegistry({ environment });
    assert.deepEqual((await registry.resolve("notes")).instances, []);
    await registry.close();
  });

  const refused: readonly (readonly [what: string, tls: () => object, message: RegExp])[] = [
    [
      "an authority that is not trusted",
      () => ({ ...mutual(), caFile: at("stranger.pem") }),
      /not trusted here|TLS with/,
    ],
    ["none that is trusted but Node's own", () => ({ ...mutual(), caFile: undefined }), /tls\.caFile or tls\.caPath/],
    ["another name", () => ({ ...mutual(), serverName: "other.dc1.consul" }), /another name .*tls\.serverName/],
    ["a key of another certificate", () => ({ ...mutual(), keyFile: at("stranger.key") }), /cannot be used together/],
    [
      "a file that is not there",
      () => ({ ...mutual(), caFile: at("none.pem") }),
      /tls\.caFile, .*none\.pem, cannot be/,
    ],
    ["a file of something else", () => ({ ...mutual(), caFile: at("garbage.pem") }), /holds no certificate in PEM/],
    ["a folder that is not there", () => ({ ...mutual(), caPath: at("none") }), /tls\.caPath, .*none, cannot be read/],
  ];
  for (const [what, tls, message] of refused) {
    it(`is not spoken to, and it is said why: ${what}`, async () => {
      await assert.rejects(asked({ address: secure(), tls: tls() }, leader), { code: "ERR_REGISTRY_TLS", message });
    });
  }

  for (const [what, tls] of [
    ["none", () => ({ caFile: at("ca.pem") })],
    ["one of a stranger", () => ({ ...mutual(), certFile: at("stranger.pem"), keyFile: at("stranger.key") })],
  ] as const) {
    it(`refuses us without a certificate that it takes, and it is said where to look: ${what}`, async () => {
      // depends on which comes first, the refusal or the end of the connection
      await assert.rejects(asked({ address: secure(), tls: tls() }, leader), {
        code: /^ERR_REGISTRY_(?:TLS|UNAVAILABLE)$/,
        message: /certificate \(tls\.certFile/,
      });
    });
  }

  it("is reached with certificates that were replaced, and with the last good ones while they are not whole", async () => {
    const put = async (name: string): Promise<void> => {
      await copyFile(at(`${name}.pem`), at("rotated.pem"));
      await copyFile(at(`${name}.key`), at("rotated.key"));
    };
    const tls = { caFile: at("ca.pem"), certFile: at("rotated.pem"), keyFile: at("rotated.key") };
    const clock = new FakeClock();
    await put("stranger");
    await asked({ address: secure(), tls, clock }, async (consul) => {
      await assert.rejects(consul.leader());
      await put("ours");
      await clock.advance(1_000);
      assert.ok(await consul.leader());
      await copyFile(at("garbage.pem"), at("rotated.pem"));
      await clock.advance(1_000);
      // several at a time need new connections
      for (const answer of await Promise.all([1, 2, 3].map(() => consul.leader()))) assert.ok(answer);
    });
  });

  it("tells TLS and its absence apart where they meet", async () => {
    const plain = agent.address.replace("http:", "https:");
    await assert.rejects(asked({ address: plain, tls: mutual() }, leader), {
      code: "ERR_REGISTRY_TLS",
      message: /does not speak TLS .*http:\/\//,
    });
    await assert.rejects(asked({ address: secure().replace("https:", "http:") }, leader), {
      code: "ERR_REGISTRY_REJECTED",
      message: /write the address as https:\/\//,
    });
    assert.throws(() => createConsulClient({ address: agent.address, tls: mutual(), environment: {} }), {
      code: "ERR_OPTION_RANGE",
      message: /^tls is given, but http:/,
    });
  });

  it("is reached on its socket, by whoever connects", async () => {
    const address = `unix://${at("agent.sock")}`;
    assert.ok(await asked({ address }, leader));
    const registry = createConsulRegistry({ address, token: masterToken, environment: {} });
    await registry.register({ service: "socket", id: "socket-1", host: "127.0.0.1", ports: { http: 3_000 } });
    const { items } = await asked({ address, token: masterToken }, (consul) => consul.services());
    assert.deepEqual(
      items.map(({ id }) => id),
      ["socket-1"],
    );
    await registry.close();
    await assert.rejects(asked({ address: `unix://${at("none.sock")}` }, leader), {
      code: "ERR_REGISTRY_UNAVAILABLE",
      message: /at unix:\/\/.*none\.sock failed: .*ENOENT/,
    });
  });

  it("is asked again with the token that the file holds by then, once, and not with the same", async () => {
    const tokenFile = at("token");
    await writeFile(tokenFile, `${unknownToken}\n`);
    const events: string[] = [];
    const onEvent: ConsulConnectionOptions["onEvent"] = (event) => {
      events.push(event.type === "request_ended" ? event.outcome : "begun");
    };
    const replace = async (text: string): Promise<void> => {
      await writeFile(`${tokenFile}.new`, text);
      await rename(`${tokenFile}.new`, tokenFile);
    };
    await asked({ address: agent.address, tokenFile, onEvent }, async (consul) => {
      await assert.rejects(consul.services(), { code: "ERR_REGISTRY_DENIED", message: /answered 403: ACL not found/ });
      await replace(masterToken);
      await consul.services();
      await rm(tokenFile);
      await consul.services(); // with what was read last
      await replace("");
      await consul.services();
      await replace(unknownToken);
      await assert.rejects(consul.services(), { code: "ERR_REGISTRY_DENIED" });
    });
    assert.deepEqual(
      events.filter((event) => event !== "begun"),
      ["denied", "ok", "ok", "ok", "denied"],
    );
  });

  it("keeps a registration through the rotation of its token", async () => {
    const tokenFile = at("rotated");
    await writeFile(tokenFile, unknownToken);
    const registered = Promise.withResolvers<void>();
    const registry = createConsulRegistry({
      address: agent.address,
      tokenFile,
      environment: {},
      ttlMs: 400,
      onEvent: (event) => {
        if (event.type === "registration" && event.state === "registered") registered.resolve();
      },
    });
    const registration = await registry.register({
      service: "rotating",
      id: "rotating-1",
      host: "127.0.0.1",
      ports: { http: 3_000 },
    });
    assert.deepEqual([registration.state, registration.error?.code], ["pending", "ERR_REGISTRY_DENIED"]);
    await writeFile(tokenFile, masterToken);
    await registered.promise;
    await registry.close();
  });
});
