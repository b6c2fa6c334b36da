import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readVariables, type TelemetryVariables } from "./environment.ts";
import { exportOptionsOf } from "./export-options.ts";

const endpoint = "http://127.0.0.1:4318";

/** With secrets in the clear. */
function read(environment: Record<string, string>): Partial<TelemetryVariables> & { readonly secrets: unknown } {
  const variables = readVariables(environment);
  const secrets = Object.fromEntries(Object.entries(variables.headers).map(([name, value]) => [name, value.reveal()]));
  return { ...variables, secrets };
}

describe("the variables of OpenTelemetry", () => {
  const honoured: readonly (readonly [environment: Record<string, string>, expected: Partial<TelemetryVariables>])[] = [
    [{}, { isOff: false, url: undefined, sampleRatio: undefined, trustCallerSampling: undefined, ignored: [] }],
    [{ OTEL_SDK_DISABLED: "TRUE" }, { isOff: true }],
    [{ OTEL_SDK_DISABLED: "false" }, { isOff: false }],
    [{ OTEL_SDK_DISABLED: "" }, { isOff: false }],
    [{ OTEL_TRACES_EXPORTER: "none" }, { isOff: true }],
    [{ OTEL_TRACES_EXPORTER: "otlp" }, { isOff: false }],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }, { url: `${endpoint}/v1/traces` }],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: `${endpoint}/a/` }, { url: `${endpoint}/a/v1/traces` }],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${endpoint}/x` }, { url: `${endpoint}/x` }],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://other", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: endpoint }, { url: endpoint }],
    [{ OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" }, {}],
    [{ OTEL_EXPORTER_OTLP_TIMEOUT: "250" }, { exportTimeoutMs: 250 }],
    [{ OTEL_EXPORTER_OTLP_TIMEOUT: "250", OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: "70" }, { exportTimeoutMs: 70 }],
    [{ OTEL_EXPORTER_OTLP_TIMEOUT: "250", OTEL_BSP_EXPORT_TIMEOUT: "100" }, { exportTimeoutMs: 100 }],
    [{ OTEL_EXPORTER_OTLP_COMPRESSION: "gzip" }, { compression: "gzip" }],
    [{ OTEL_EXPORTER_OTLP_CERTIFICATE: "/ca.pem" }, { tls: { ca: "/ca.pem", cert: undefined, key: undefined } }],
    [{ OTEL_TRACES_SAMPLER: "always_on" }, { sampleRatio: 1, trustCallerSampling: "never" }],
    [{ OTEL_TRACES_SAMPLER: "always_off" }, { sampleRatio: 0, trustCallerSampling: "never" }],
    [
      { OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "0.25" },
      { sampleRatio: 0.25, trustCallerSampling: "never" },
    ],
    [
      { OTEL_TRACES_SAMPLER: "parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG: "0.01" },
      { sampleRatio: 0.01, trustCallerSampling: "trusted" },
    ],
    [{ OTEL_TRACES_SAMPLER: "parentbased_traceidratio" }, { sampleRatio: 1, trustCallerSampling: "trusted" }],
    [{ OTEL_TRACES_SAMPLER: "parentbased_always_on" }, { sampleRatio: 1, trustCallerSampling: "trusted" }],
    [{ OTEL_TRACES_SAMPLER: "parentbased_always_off" }, { sampleRatio: 0, trustCallerSampling: "trusted" }],
    [{ OTEL_BSP_SCHEDULE_DELAY: "50" }, { exportIntervalMs: 50 }],
    [{ OTEL_BSP_MAX_QUEUE_SIZE: "10" }, { maxQueuedSpans: 10 }],
    [{ OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "5" }, { maxBatchSpans: 5 }],
    [{ OTEL_SERVICE_NAME: "shop" }, { attributes: { "service.name": "shop" } }],
    [
      {
        OTEL_RESOURCE_ATTRIBUTES: "service.name=a,deployment.environment.name=pr%6Fd%2C eu",
        OTEL_SERVICE_NAME: "shop",
      },
      { attributes: { "service.name": "shop", "deployment.environment.name": "prod, eu" } },
    ],
    [{ OTEL_PROPAGATORS: "tracecontext, baggage" }, {}],
    [
      { OTEL_ATTRIBUTE_COUNT_LIMIT: "64", OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT: "32", OTEL_SPAN_LINK_COUNT_LIMIT: "8" },
      {
        limits: {
          attributeCountLimit: 32,
          attributeValueLengthLimit: undefined,
          eventCountLimit: undefined,
          linkCountLimit: 8,
        },
      },
    ],
    [
      { OTEL_FANCY: "1", OTEL_METRICS_EXPORTER: "none", OTEL_BLRP_SCHEDULE_DELAY: "1", OTEL_EMPTY: "" },
      { ignored: ["OTEL_FANCY"] },
    ],
  ];
  for (const [environment, expected] of honoured) {
    const given = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    it(`honours ${given.join(" ") || "none of them"}`, () => {
      const variables: Partial<Record<string, unknown>> = read(environment);
      assert.deepEqual(Object.fromEntries(Object.keys(expected).map((key) => [key, variables[key]])), expected);
    });
  }

  it("reads headers, those for traces alone last, percent-decoded, and shows none of them", () => {
    const variables = read({
      OTEL_EXPORTER_OTLP_HEADERS: "api-key=s3cret,X-Org=1",
      OTEL_EXPORTER_OTLP_TRACES_HEADERS: "x-org=2, authorization=Bearer%20abc==",
    });
    assert.deepEqual(variables.secrets, { "api-key": "s3cret", "x-org": "2", authorization: "Bearer abc==" });
    assert.doesNotMatch(JSON.stringify(variables.headers), /s3cret|abc/);
  });

  const refused: readonly (readonly [environment: Record<string, string>, message: RegExp])[] = [
    [{ OTEL_SDK_DISABLED: "yes" }, /^OTEL_SDK_DISABLED is "yes", expected true, false$/],
    [{ OTEL_TRACES_EXPORTER: "zipkin" }, /^OTEL_TRACES_EXPORTER is "zipkin", expected otlp, none$/],
    [
      { OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" },
      /^OTEL_EXPORTER_OTLP_PROTOCOL is "grpc", expected http\/json; .*unset it$/,
    ],
    [{ OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/protobuf" }, /^OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is /],
    [{ OTEL_EXPORTER_OTLP_INSECURE: "true" }, /^OTEL_EXPORTER_OTLP_INSECURE .*scheme of the endpoint/],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "collector:4317" }, /^OTEL_EXPORTER_OTLP_ENDPOINT is no http or https URL/],
    [
      { OTEL_EXPORTER_OTLP_ENDPOINT: "http://u:s3cret@c" },
      /^OTEL_EXPORTER_OTLP_ENDPOINT .*OTEL_EXPORTER_OTLP_HEADERS$/,
    ],
    [{ OTEL_EXPORTER_OTLP_HEADERS: "s3cret" }, /^OTEL_EXPORTER_OTLP_HEADERS cannot be read at entry 1/],
    [{ OTEL_EXPORTER_OTLP_HEADERS: "a=1,b=%zs3cret" }, /^OTEL_EXPORTER_OTLP_HEADERS cannot be read at entry 2/],
    [{ OTEL_EXPORTER_OTLP_HEADERS: "a=%0d%0ax: s3cret" }, /entry 1/],
    [
      { OTEL_EXPORTER_OTLP_TIMEOUT: "10s" },
      /^OTEL_EXPORTER_OTLP_TIMEOUT is "10s", expected a whole number from 1 to 600000$/,
    ],
    [{ OTEL_EXPORTER_OTLP_TIMEOUT: "0" }, /^OTEL_EXPORTER_OTLP_TIMEOUT/],
    [{ OTEL_EXPORTER_OTLP_COMPRESSION: "br" }, /expected gzip, none$/],
    [{ OTEL_TRACES_SAMPLER: "jaeger_remote" }, /^OTEL_TRACES_SAMPLER is "jaeger_remote", expected always_on,/],
    [
      { OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "10%" },
      /^OTEL_TRACES_SAMPLER_ARG is "10%", expected a number from 0 to 1$/,
    ],
    [{ OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "2" }, /^OTEL_TRACES_SAMPLER_ARG/],
    [{ OTEL_PROPAGATORS: "tracecontext,b3" }, /^OTEL_PROPAGATORS names "b3", expected tracecontext,baggage/],
    [{ OTEL_BSP_SCHEDULE_DELAY: "-1" }, /^OTEL_BSP_SCHEDULE_DELAY/],
    [{ OTEL_BSP_MAX_QUEUE_SIZE: "1.5" }, /^OTEL_BSP_MAX_QUEUE_SIZE/],
    [{ OTEL_RESOURCE_ATTRIBUTES: "team" }, /^OTEL_RESOURCE_ATTRIBUTES cannot be read at entry 1/],
    [{ OTEL_SDK_DISABLED: "1", OTEL_TRACES_EXPORTER: "x" }, /^OTEL_SDK_DISABLED.*\nOTEL_TRACES_EXPORTER/],
  ];
  for (const [environment, message] of refused) {
    it(`refuses ${Object.entries(environment)
      .map(([name, value]) => `${name}=${value}`)
      .join(" ")}`, () => {
      assert.throws(
        () => readVariables(environment),
        (error: Error) => {
          assert.match(error.message, message);
          assert.equal(Reflect.get(error, "code"), "ERR_TELEMETRY_VARIABLE");
          assert.doesNotMatch(error.message, /s3cret/);
          return true;
        },
      );
    });
  }
});

describe("exportOptionsOf", () => {
  it("lets a setting win over a variable, and that over the default", async () => {
    const environment = {
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://other",
      OTEL_BSP_MAX_QUEUE_SIZE: "10",
      OTEL_BSP_SCHEDULE_DELAY: "70",
    };
    const options = await exportOptionsOf({ endpoint, maxQueuedSpans: 20 }, environment);
    assert.deepEqual(
      [
        options?.url,
        options?.maxQueuedSpans,
        options?.maxBatchSpans,
        options?.exportIntervalMs,
        options?.exportTimeoutMs,
      ],
      [`${endpoint}/v1/traces`, 20, 20, 70, 3_000],
    );
  });

  for (const environment of [
    {},
    { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_SDK_DISABLED: "true" },
    { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_TRACES_EXPORTER: "none" },
  ]) {
    it(`exports nothing with ${JSON.stringify(environment)}`, async () => {
      assert.equal(await exportOptionsOf({}, environment), undefined);
    });
  }

  it("refuses a file that is not there, by the variable that names it", async () => {
    const environment = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_EXPORTER_OTLP_CERTIFICATE: "/nowhere/ca.pem" };
    await assert.rejects(exportOptionsOf({}, environment), {
      code: "ERR_TELEMETRY_VARIABLE",
      message: /^OTEL_EXPORTER_OTLP_CERTIFICATE names a file that cannot be read: ENOENT/,
    });
  });
});
