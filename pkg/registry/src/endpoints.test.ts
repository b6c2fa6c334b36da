import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { advertisedHost, type Endpoint, type Interfaces, portsOf } from "./endpoints.ts";
import { addressTowards } from "./route.ts";

function endpoint(host: string, protocol: Endpoint["protocol"] = "http", port = 3_000): Endpoint {
  return { protocol, host, port: () => port };
}

function address(text: string, internal = false): NonNullable<Interfaces[string]>[number] {
  const rest = { address: text, netmask: "", mac: "", internal, cidr: null };
  return text.includes(":") ? { ...rest, family: "IPv6", scopeid: 0 } : { ...rest, family: "IPv4" };
}

const loopback = [address("127.0.0.1", true), address("::1", true)];
const machine = (): Interfaces => ({
  lo: loopback,
  eth0: [address("fe80::1"), address("fd00::7"), address("10.1.2.3")],
});
const onlyIpv6 = (): Interfaces => ({ lo: loopback, eth0: [address("fe80::1"), address("fd00::7")] });
const alone = (): Interfaces => ({ lo: loopback });

describe("advertisedHost", () => {
  const cases: readonly (readonly [hosts: readonly string[], interfaces: () => Interfaces, expected: string])[] = [
    [["127.0.0.1"], machine, "127.0.0.1"],
    [["localhost"], machine, "localhost"],
    [["[::1]"], machine, "::1"],
    [["10.9.9.9"], machine, "10.9.9.9"],
    [["0.0.0.0"], machine, "10.1.2.3"],
    [["::"], machine, "10.1.2.3"],
    [["0.0.0.0", "0.0.0.0"], machine, "10.1.2.3"],
    [["127.0.0.1", "0.0.0.0"], machine, "127.0.0.1"],
    [["::"], onlyIpv6, "fd00::7"],
    [["0:0:0:0:0:0:0:0"], onlyIpv6, "fd00::7"],
    [["0.0.0.0"], onlyIpv6, "127.0.0.1"],
    [["0.0.0.0"], alone, "127.0.0.1"],
  ];
  for (const [hosts, interfaces, expected] of cases) {
    it(`is ${expected} for ${hosts.join(" and ")} on ${interfaces.name}`, () => {
      assert.equal(
        advertisedHost(
          hosts.map((host) => endpoint(host)),
          undefined,
          { interfaces },
        ),
        expected,
      );
    });
  }

  it("is the given one, whatever the endpoints listen on", () => {
    assert.equal(
      advertisedHost([endpoint("127.0.0.1"), endpoint("::1")], "notes.example", { interfaces: machine }),
      "notes.example",
    );
  });

  const chosen: readonly (readonly [given: string, expected: string])[] = [
    ["eth0", "10.1.2.3"],
    ["lo", "127.0.0.1"],
    ["10.0.0.0/8", "10.1.2.3"],
    ["10.1.2.3/32", "10.1.2.3"],
    ["fd00::/8", "fd00::7"],
    ["eth7", "eth7"],
  ];
  for (const [given, expected] of chosen) {
    it(`is ${expected} when ${given} is asked for`, () => {
      assert.equal(advertisedHost([endpoint("0.0.0.0")], given, { interfaces: machine }), expected);
    });
  }

  for (const [given, message] of [
    [
      "192.168.0.0/16",
      /no address of this machine is in 192\.168\.0\.0\/16.*there are lo 127\.0\.0\.1, .*eth0 10\.1\.2\.3$/,
    ],
    ["10.0.0.0/33", /"10\.0\.0\.0\/33" is no network/],
    ["host/8", /"host\/8" is no network/],
  ] as const) {
    it(`refuses ${given}, saying what there is`, () => {
      assert.throws(() => advertisedHost([endpoint("0.0.0.0")], given, { interfaces: machine }), {
        code: "ERR_REGISTRY_HOST",
        message,
      });
    });
  }

  it("is the address towards the agent when it listens on all of them, and on none in particular", () => {
    const known = { interfaces: machine, towardsAgent: "10.7.7.7" };
    assert.equal(advertisedHost([endpoint("0.0.0.0")], undefined, known), "10.7.7.7");
    assert.equal(advertisedHost([endpoint("10.9.9.9")], undefined, known), "10.9.9.9");
    assert.equal(advertisedHost([endpoint("::")], "eth0", known), "10.1.2.3");
  });

  it("finds no route to tell of towards this machine itself, a name that is none, and one that is given up", async () => {
    assert.equal(await addressTowards("127.0.0.1"), undefined);
    assert.equal(await addressTowards("no-such-host.invalid"), undefined);
    await assert.rejects(addressTowards("127.0.0.1", AbortSignal.abort(new Error("given up"))), {
      message: "given up",
    });
  });

  it("cannot be two", () => {
    assert.throws(
      () => advertisedHost([endpoint("127.0.0.1"), endpoint("::1", "grpc")], undefined, { interfaces: machine }),
      {
        code: "ERR_REGISTRY_HOST",
        message: /127\.0\.0\.1 and ::1.*set registry\.advertiseHost$/,
      },
    );
  });
});

describe("portsOf", () => {
  it("takes one port for each protocol", () => {
    assert.deepEqual(portsOf([endpoint("127.0.0.1", "grpc", 2), endpoint("127.0.0.1", "http", 1)]), {
      http: 1,
      grpc: 2,
    });
  });

  it("refuses two of one protocol", () => {
    assert.throws(() => portsOf([endpoint("127.0.0.1", "http", 1), endpoint("127.0.0.1", "http", 2)]), {
      code: "ERR_REGISTRY_ENDPOINT",
      message: /http, on ports 1 and 2/,
    });
  });
});
