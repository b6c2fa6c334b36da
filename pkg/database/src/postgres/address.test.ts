import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { nameOf, parseDatabaseUrl } from "./address.ts";

const hostsOf = (url: string): readonly string[] => parseDatabaseUrl(url).hosts.map(nameOf);

describe("parseDatabaseUrl", () => {
  for (const [url, hosts] of [
    ["postgres://db/x", ["db:5432"]],
    ["postgresql://u:p@db:6432/x", ["db:6432"]],
    ["postgres://u:p@a:1,b,c:3/x", ["a:1", "b:5432", "c:3"]],
    ["postgres://u@[::1]:7,[fe80::1]/x", ["[::1]:7", "[fe80::1]:5432"]],
    ["postgres://%2Fvar%2Frun/x", ["/var/run:5432"]],
    ["postgres:///x?host=/var/run&port=7", ["/var/run:7"]],
    ["postgres://ignored/x?host=a,b&port=1,2", ["a:1", "b:2"]],
    ["postgres://a,b/x?port=9", ["a:9", "b:9"]],
    ["postgres:///x", ["localhost:5432"]],
  ] as const) {
    it(`finds ${hosts.join(" and ")} in ${url}`, () => assert.deepEqual(hostsOf(url), hosts));
  }

  it("decodes user, password and database, and takes the last @ for the one before the host", () => {
    const url = parseDatabaseUrl("postgres://u%40x:p%3A%2F@q@db/d%20b?application_name=a%20b&options=-c%20x%3D1");
    assert.partialDeepStrictEqual(url, { user: "u@x", password: "p:/@q", database: "d b", options: "-c x=1" });
    assert.equal(url.applicationName, "a b");
  });

  it("takes the user for the database when none is named, and no password for an empty one", () => {
    assert.partialDeepStrictEqual(parseDatabaseUrl("postgres://u:@db"), { database: "u", password: undefined });
  });

  for (const [query, expected] of [
    ["", { tlsMode: undefined, wants: undefined }],
    ["?sslmode=disable", { tlsMode: "off" }],
    ["?sslmode=require", { tlsMode: "unverified" }],
    ["?sslmode=require&sslrootcert=/ca", { tlsMode: "verify-ca", caFile: "/ca" }],
    ["?sslmode=verify-ca&sslrootcert=/ca", { tlsMode: "verify-ca", caFile: "/ca" }],
    ["?sslmode=verify-full&sslcert=/c&sslkey=/k", { tlsMode: "verify-full", certFile: "/c", keyFile: "/k" }],
    ["?target_session_attrs=any", { wants: "any" }],
    ["?target_session_attrs=primary", { wants: "writable" }],
    ["?target_session_attrs=read-write", { wants: "writable" }],
  ] as const) {
    it(`reads ${query || "no parameters"} as libpq does`, () =>
      assert.partialDeepStrictEqual(parseDatabaseUrl(`postgres://db/x${query}`), expected));
  }

  for (const [url, message] of [
    ["mysql://u:hunter2@db/x", /^url must be of the form postgres:/],
    ["postgres://u:hunter2@a:b:c/x", /^url must be of the form/],
    ["postgres://u:hunter2%zz@db/x", /^url must be of the form/],
    ["postgres://u:hunter2@db:0/x", /^url has the port "0"; expected 1 to 65535/],
    ["postgres://u:hunter2@db:70000/x", /^url has the port "70000"/],
    ["postgres://u:hunter2@a,b,c/x?port=1,2", /^url names 3 hosts and 2 ports/],
    ["postgres://u:hunter2@db/x?sslmode=prefer", /^url has sslmode="prefer", .* one of disable, require/],
    ["postgres://u:hunter2@db/x?sslmode=toString", /^url has sslmode="toString"/],
    ["postgres://u:hunter2@db/x?target_session_attrs=standby", /^url has target_session_attrs="standby"/],
    ["postgres://u:hunter2@db/x?schema=notes", /^url has the parameter "schema", which is not known here/],
    ["postgres://u:hunter2@db/x?connect_timeout=3", /which is the setting connectTimeoutMs here/],
    ["postgres://u:hunter2@db/x?__proto__=3", /^url has the parameter "__proto__", which is not known here/],
    ["postgres://u:pa?hunter2@db/x", /^url must be of the form/],
    ["postgres://u:5432/hunter2@db/x", /^url must be of the form/],
    ["postgres://u:pa#hunter2@db/x", /^url must be of the form/],
  ] as const) {
    it(`refuses ${url} without repeating the password`, () => {
      assert.throws(
        () => parseDatabaseUrl(url),
        (error: Error) => {
          assert.match(error.message, message);
          assert.doesNotMatch(error.message, /hunter2/);
          return "code" in error && error.code === "ERR_OPTION_TYPE";
        },
      );
    });
  }
});
