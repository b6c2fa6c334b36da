import assert from "node:assert/strict";
import { posix } from "node:path";
import { after, before, describe, it } from "node:test";
import { canonicalPath } from "../path.ts";
import { signingKey, startIssuer, type TestIssuer } from "../testing/issuer.ts";
import { exchangeRaw, httpInstance, openRoute, type Scripted, startGateway, type TestGateway } from "../testing/kit.ts";

/** Spellings that have got around the rules of other gateways. */
const corpus = [
  "/admin",
  "/admin/",
  "/admin/x",
  "//admin",
  "/./admin",
  "/admin/.",
  "/x/../admin",
  "/public/../admin",
  "/public/..%2fadmin",
  "/public/%2e%2e/admin",
  "/public/%2e%2e%2fadmin",
  "/%2e%2e/admin",
  "/%2E/admin",
  "/admin%2f..%2fpublic",
  "/adm%69n",
  "/%61dmin",
  "/%61%64%6d%69%6e/x",
  "/admin%252f",
  "/%2561dmin",
  "/admin%00",
  "/admin%20",
  "/admin%09",
  "/admin;x=1",
  "/admin%3bx",
  "/admin\\",
  "/admin%5c",
  "/public\\..\\admin",
  "/public/..;/admin",
  "/public/..;x/admin",
  "/public/.;/../admin",
  "/public/%2e%2e;/admin",
  "/ADMIN",
  "/Admin",
  "/admin?x",
  "/admin%3fx",
  "/admin#x",
  "/%ff/../admin",
  "/%c0%af/admin",
  "/%c0%ae%c0%ae/admin",
  "/%",
  "/%zz",
  "/public../admin",
  "/public%2e%2e/admin",
  "/public/...//admin",
  "/public/./././../admin/",
  "/public/x/../../admin",
  "///admin///x",
  "/%EF%BC%8Fadmin",
  "/public/%252e%252e/admin",
  "http://a/admin",
  "http://a//admin",
  "http://a/public/../admin",
  "http://b/admin",
  "/admin/../public/../admin",
  "/a/b/c/../../../admin",
  "/public/%C3%A9/../../admin",
  "/admin%",
  "/admin~",
  "/admin.json",
  "/admin/..",
  "/admin/../x",
];

describe("a path that is spelled in another way", () => {
  let issuer: TestIssuer;
  let instance: Scripted;
  let running: TestGateway;
  const forwarded: string[] = [];
  before(async () => {
    issuer = await startIssuer(signingKey("k"));
    instance = await httpInstance((request, response) => {
      forwarded.push(request.url ?? "");
      response.end();
    });
    const guarded = { service: "s", auth: {} };
    running = await startGateway({
      document: {
        jwt: { test: { issuer: "test-issuer", audiences: ["test"], jwks: issuer.url } },
        routes: [
          openRoute({ name: "open" }),
          { name: "admin", match: { path: "/admin/**" }, ...guarded },
          openRoute({ name: "public", match: { path: "/public/**" }, rewrite: { prefix: "/pub" } }),
        ],
      },
    });
    await running.add(instance);
  });
  after(async () => {
    await running[Symbol.asyncDispose]();
    await instance.close();
    await issuer.close();
  });

  for (const target of corpus) {
    it(`${target} is refused, guarded, or something that no server reads as /admin`, async () => {
      forwarded.length = 0;
      const reply = await exchangeRaw(
        running.gateway.port,
        `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
      );
      assert.match(reply, /^HTTP\/1\.1 (?:200|400|401) /);
      for (const url of forwarded) {
        const [path = ""] = url.split("?");
        assert.equal(canonicalPath(path), path, "what is forwarded is canonical");
        for (const seen of readings(path))
          assert.doesNotMatch(seen, /^\/admin(?:\/|$)/, `${target} was forwarded as ${url}`);
      }
    });
  }
});

/** What servers make of a path: as it is, decoded once, and with dot segments and double slashes resolved after that. */
function readings(path: string): string[] {
  const decoded = decodeURIComponent(path);
  return [path, decoded, posix.normalize(decoded)];
}
