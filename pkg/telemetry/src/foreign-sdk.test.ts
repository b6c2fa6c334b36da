import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { describeForeignSdk } from "./foreign-sdk.ts";

const hostWith = (major: number, registered: unknown): object => ({
  [Symbol.for(`opentelemetry.js.api.${major}`)]: registered,
});
/** As the API registers the provider of an SDK. */
const proxied = (provider: object): object => ({ _delegate: provider, getDelegate: () => provider });
const sdk2 = proxied({ _resource: { _attributes: { "telemetry.sdk.version": "2.12.1" } } });
const sdk1 = proxied({ resource: { attributes: { "telemetry.sdk.version": "1.30.0" } } });

describe("describeForeignSdk", () => {
  const told: Readonly<Record<string, readonly [host: object, expected: RegExp]>> = {
    "of SDK 2": [
      hostWith(1, { version: "1.9.0", trace: sdk2 }),
      /SDK 2\.12\.1 is registered .* @opentelemetry\/api 1\.9\.0: its spans and those that Plinth makes stand in different traces\. Take that SDK out/,
    ],
    "of SDK 1": [hostWith(1, { version: "1.4.1", trace: sdk1 }), /SDK 1\.30\.0 is registered/],
    "of a provider that says nothing of itself": [
      hostWith(1, { version: "1.10.0", trace: { getTracer: () => {} } }),
      /another OpenTelemetry SDK is registered/,
    ],
    "of another major version of the API": [
      hostWith(2, { version: "2.0.0", trace: sdk2 }),
      /major version 1 of the API, so both can never share a trace/,
    ],
  };
  for (const [what, [host, expected]] of Object.entries(told)) {
    it(`tells ${what}, and what to do`, () => {
      assert.match(describeForeignSdk("http://127.0.0.1:4318", host) ?? "", expected);
    });
  }

  it("says that Plinth's own spans go nowhere where no exporter is set", () => {
    assert.match(
      describeForeignSdk(undefined, hostWith(1, { version: "1.9.0", trace: sdk2 })) ?? "",
      /does not see the spans that Plinth makes/,
    );
  });

  const quiet: Readonly<Record<string, object>> = {
    "where nothing is registered": {},
    "where only metrics are": hostWith(1, { version: "1.10.0", metrics: {} }),
    "where the API was only asked for a tracer": hostWith(1, { version: "1.10.0", trace: { getDelegate: () => ({}) } }),
    "where the preload has registered it": hostWith(1, {
      version: "1.10.0",
      trace: { [Symbol.for("plinth.telemetry.preload")]: true },
    }),
    "where looking at it throws": hostWith(1, new Proxy({}, { get: () => assert.fail("looked") })),
  };
  for (const [what, host] of Object.entries(quiet)) {
    it(`is quiet ${what}`, () => assert.equal(describeForeignSdk(undefined, host), undefined));
  }
});
