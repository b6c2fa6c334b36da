import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ClientAddresses, createPeerTrust, networks, peerOf, plainAddress } from "./client-address.ts";

const proxies = ["10.0.0.0/8", "fd00::/8"];

function originOf(
  headers: Readonly<Record<string, string>>,
  { peer = "10.0.0.1", forwardedBy = "x-forwarded-for" as const, trustedProxies = proxies }: Partial<Given> = {},
) {
  return new ClientAddresses({ trustedProxies, forwardedBy }).originOf(peer, (name) => headers[name]);
}

interface Given {
  readonly peer: string;
  readonly forwardedBy: "x-forwarded-for" | "forwarded";
  readonly trustedProxies: readonly string[];
}

describe("ClientAddresses with x-forwarded-for", () => {
  const cases: readonly (readonly [list: string, address: string, why: string])[] = [
    ["203.0.113.7", "203.0.113.7", "the one entry"],
    ["127.0.0.1, 203.0.113.7", "203.0.113.7", "what the caller wrote itself stands to the left and is hearsay"],
    ["1.1.1.1, 203.0.113.7, 10.0.0.2, 10.0.0.3", "203.0.113.7", "trusted hops are walked past"],
    ["10.0.0.3, 10.0.0.2", "10.0.0.3", "nobody but proxies: the leftmost"],
    ["203.0.113.7:4711", "203.0.113.7", "a port"],
    ["[2001:db8::1]:4711", "2001:db8::1", "IPv6 with a port"],
    ["[2001:db8::1]", "2001:db8::1", "IPv6 in brackets"],
    ["2001:DB8:0:0::1", "2001:db8::1", "IPv6 in its shortest form"],
    ["fe80::1%eth0", "fe80::1", "a zone is of another machine"],
    ["::ffff:203.0.113.7", "203.0.113.7", "IPv4 in IPv6"],
    ["::ffff:cb00:7107", "203.0.113.7", "the same in hexadecimal"],
    ["203.0.113.7, ::ffff:10.0.0.2", "203.0.113.7", "a trusted proxy in IPv6 form"],
    ["203.0.113.7, unknown", "10.0.0.1", "an entry that is no address ends the walk"],
    ["203.0.113.7, 10.0.0.2 , _hidden, 10.0.0.3", "10.0.0.3", "and what was known before it holds"],
    ["203.0.113.7,", "10.0.0.1", "an empty entry is none"],
    ["", "10.0.0.1", "an empty header"],
    [" , , ", "10.0.0.1", "nothing but commas"],
    ["999.1.1.1", "10.0.0.1", "no IPv4 address"],
    ["1.2.3.4.5", "10.0.0.1", "neither"],
    ["010.0.0.7", "10.0.0.1", "a leading zero is octal to some"],
    ["[10.0.0.7]", "10.0.0.1", "IPv4 in brackets"],
    ["203.0.113.7:99999999", "10.0.0.1", "no port"],
    ["203.0.113.7\u0000", "10.0.0.1", "a control character"],
    ["1".repeat(10_000), "10.0.0.1", "a long entry"],
  ];
  for (const [list, address, why] of cases) {
    it(`takes ${JSON.stringify(list.slice(0, 60))} for ${address}: ${why}`, () => {
      assert.equal(originOf({ "x-forwarded-for": list }).address, address);
    });
  }

  it("looks at no more than 32 entries, however many proxies there seem to be", () => {
    const list = ["203.0.113.7", ...Array.from({ length: 200 }, (_, at) => `10.1.0.${at}`)].join(", ");
    assert.equal(originOf({ "x-forwarded-for": list }).address, "10.1.0.168");
  });

  it("ignores every forwarding header of a peer that is no trusted proxy, and of all by default", () => {
    const headers = {
      "x-forwarded-for": "127.0.0.1",
      forwarded: "for=127.0.0.1;proto=https",
      "x-forwarded-proto": "https",
      "x-forwarded-host": "evil.example",
      "x-real-ip": "127.0.0.1",
    };
    const nothing = { scheme: undefined, host: undefined };
    assert.deepEqual(originOf(headers, { peer: "203.0.113.9" }), { address: "203.0.113.9", ...nothing });
    assert.deepEqual(originOf(headers, { trustedProxies: [] }), { address: "10.0.0.1", ...nothing });
  });

  it("takes scheme and host that the nearest proxy wrote, the last ones", () => {
    const headers = { "x-forwarded-proto": "http, HTTPS", "x-forwarded-host": "evil.example, shop.example:8443" };
    assert.deepEqual(originOf(headers), { address: "10.0.0.1", scheme: "https", host: "shop.example:8443" });
  });

  for (const host of ["a/b", "a b", "a@b", 'a"', "<x>", "a:b", "a\r\nx: y", ""]) {
    it(`takes no host ${JSON.stringify(host)}`, () => {
      assert.equal(originOf({ "x-forwarded-host": host }).host, undefined);
    });
  }

  it("takes no scheme but http and https", () => {
    assert.equal(originOf({ "x-forwarded-proto": "javascript" }).scheme, undefined);
  });

  it("does not look at forwarded, which the caller may have sent through a proxy that writes the other one", () => {
    const headers = { forwarded: "for=127.0.0.1;proto=https;host=evil.example" };
    assert.deepEqual(originOf(headers), { address: "10.0.0.1", scheme: undefined, host: undefined });
  });
});

describe("ClientAddresses with forwarded", () => {
  const forwarded = (text: string) => originOf({ forwarded: text }, { forwardedBy: "forwarded" });
  const cases: readonly (readonly [text: string, address: string, scheme?: string, host?: string])[] = [
    ["for=203.0.113.7;proto=https;host=shop.example", "203.0.113.7", "https", "shop.example"],
    ['For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"],
    ['for="203.0.113.7, 1.1.1.1"', "10.0.0.1"],
    ["for=127.0.0.1, for=203.0.113.7;proto=https, for=10.0.0.2;proto=http", "203.0.113.7", "https"],
    ["for=127.0.0.1, for=unknown", "10.0.0.1"],
    ["for=127.0.0.1, for=_secret, for=10.0.0.2", "10.0.0.2"],
    ["for=203.0.113.7;for=127.0.0.1", "10.0.0.1"],
    ['for=203.0.113.7, by="open', "10.0.0.1"],
    ['for="203.0.113.7\\', "10.0.0.1"],
    ["for=203.0.113.7;;proto=https", "203.0.113.7", "https"],
    ["nonsense", "10.0.0.1"],
    ["", "10.0.0.1"],
    ["proto=https", "10.0.0.1", "https"],
    [`${" ".repeat(8_000)}!`, "10.0.0.1"],
  ];
  for (const [text, address, scheme, host] of cases) {
    it(`takes ${JSON.stringify(text.slice(0, 70))} for ${address}`, () => {
      assert.deepEqual(forwarded(text), { address, scheme, host });
    });
  }

  it("does not look at x-forwarded-for", () => {
    assert.equal(originOf({ "x-forwarded-for": "127.0.0.1" }, { forwardedBy: "forwarded" }).address, "10.0.0.1");
  });
});

describe("createPeerTrust", () => {
  it("trusts what its networks hold, in whichever form it is written", () => {
    const { isTrustedPeer } = createPeerTrust(["loopback", "192.0.2.7", "2001:db8::/32"]);
    for (const address of ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "192.0.2.7", "2001:db8::5"])
      assert.ok(isTrustedPeer(address), address);
    for (const address of ["128.0.0.1", "192.0.2.8", "2001:db9::", "unix", "unknown", "", "localhost", "127.0.0.1 "])
      assert.ok(!isTrustedPeer(address), address);
  });

  it("knows private networks by name, and nobody outside of them", () => {
    const { isTrustedPeer } = createPeerTrust(["private"]);
    for (const address of ["10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fd12::1", "fe80::1%eth0"])
      assert.ok(isTrustedPeer(address), address);
    for (const address of ["172.32.0.1", "11.0.0.1", "100.64.0.1", "127.0.0.1", "2001:db8::1"])
      assert.ok(!isTrustedPeer(address), address);
  });

  it("trusts nobody without networks, and Unix sockets only by name", () => {
    assert.ok(!createPeerTrust([]).isTrustedPeer("unix"));
    assert.ok(!createPeerTrust([]).isTrustedPeer("127.0.0.1"));
    assert.ok(createPeerTrust(["unix"]).isTrustedPeer("unix"));
  });

  it("says the same when asked again, and after a thousand others", () => {
    const { isTrustedPeer } = createPeerTrust(["10.0.0.0/8"]);
    for (let at = 0; at < 3_000; at++) {
      assert.ok(isTrustedPeer(`10.0.${at >> 8}.${at & 255}`));
      assert.ok(!isTrustedPeer(`11.0.${at >> 8}.${at & 255}`));
    }
    assert.ok(isTrustedPeer("10.0.0.0"));
  });

  for (const network of [
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "10/8",
    "::/129",
    "example.com",
    "",
    "toString",
  ]) {
    it(`refuses ${JSON.stringify(network)}`, () => {
      assert.throws(() => createPeerTrust([network]), {
        name: "RangeError",
        message: /^".*" is no address, CIDR range/,
      });
      assert.equal(networks.safeParse([network]).success, false);
    });
  }
});

describe("peerOf", () => {
  it("tells a Unix socket from a connection that has gone", () => {
    assert.equal(peerOf({ remoteAddress: "::ffff:10.0.0.1", localAddress: "::" }), "10.0.0.1");
    assert.equal(peerOf({}), "unix");
    assert.equal(peerOf({ destroyed: true }), "unknown");
    assert.equal(peerOf({ localAddress: "127.0.0.1" }), "unknown");
  });
});

describe("plainAddress", () => {
  it("has one form for each address", () => {
    assert.equal(plainAddress("::FFFF:10.0.0.1"), "10.0.0.1");
    assert.equal(plainAddress("0:0:0:0:0:ffff:10.0.0.1"), "10.0.0.1");
    assert.equal(plainAddress("1::0:1"), "1::1");
    assert.equal(plainAddress("example.com"), undefined);
  });
});

describe("ClientAddresses with a number of hops", () => {
  const origin = (proxyHops: number, headers: Readonly<Record<string, string>>) =>
    new ClientAddresses({ trustedProxies: proxies, forwardedBy: "x-forwarded-for", proxyHops }).originOf(
      "10.0.0.1",
      (name) => headers[name],
    );

  it("counts from the right, be the entries trusted or not, and falls back to the peer", () => {
    const list = "1.1.1.1, 203.0.113.7, 10.0.0.3";
    assert.equal(origin(1, { "x-forwarded-for": list }).address, "10.0.0.3");
    assert.equal(origin(2, { "x-forwarded-for": list }).address, "203.0.113.7");
    assert.equal(origin(3, { "x-forwarded-for": list }).address, "1.1.1.1");
    assert.equal(origin(4, { "x-forwarded-for": list }).address, "10.0.0.1");
    assert.equal(origin(1, {}).address, "10.0.0.1");
    assert.equal(origin(2, { "x-forwarded-for": "203.0.113.7, unknown" }).address, "203.0.113.7");
    assert.equal(origin(1, { "x-forwarded-for": "203.0.113.7, unknown" }).address, "10.0.0.1");
  });

  it("counts the elements of Forwarded in the same way", () => {
    const forwarded = 'for=1.1.1.1, for="[2001:db8::7]:80";proto=https;host=a.example, for=10.0.0.3;proto=http';
    const standard = { trustedProxies: proxies, forwardedBy: "forwarded", proxyHops: 2 } as const;
    assert.deepEqual(
      new ClientAddresses(standard).originOf("10.0.0.1", () => forwarded),
      {
        address: "2001:db8::7",
        scheme: "https",
        host: "a.example",
      },
    );
    assert.equal(new ClientAddresses(standard).originOf("203.0.113.9", () => forwarded).address, "203.0.113.9");
    assert.equal(new ClientAddresses(standard).originOf("10.0.0.1", () => 'for="').address, "10.0.0.1");
  });
});
