import { messageOf, Secret } from "@plinth/kernel";
import { TelemetryError } from "./errors.ts";

/** What the variables of OpenTelemetry say; what they do not is undefined. */
export interface TelemetryVariables {
  /** Nothing is to be exported, whatever else is set. */
  readonly isOff: boolean;
  /** Where spans are sent to, as it is. */
  readonly url: string | undefined;
  readonly headers: Readonly<Record<string, Secret>>;
  readonly exportTimeoutMs: number | undefined;
  readonly compression: "gzip" | "none" | undefined;
  /** Files in PEM for TLS with the collector. */
  readonly tls: {
    readonly ca?: string | undefined;
    readonly cert?: string | undefined;
    readonly key?: string | undefined;
  };
  readonly sampleRatio: number | undefined;
  readonly trustCallerSampling: "trusted" | "never" | undefined;
  readonly exportIntervalMs: number | undefined;
  readonly maxQueuedSpans: number | undefined;
  readonly maxBatchSpans: number | undefined;
  /** Of the resource, with the service's name if there is one. */
  readonly attributes: Readonly<Record<string, string>>;
  readonly limits: Readonly<Record<SpanLimit, number | undefined>>;
  /** Names of variables that are set and do nothing here. */
  readonly ignored: readonly string[];
}

type SpanLimit = "attributeCountLimit" | "attributeValueLengthLimit" | "eventCountLimit" | "linkCountLimit";

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads the variables of OpenTelemetry that concern traces. Empty ones count as absent.
 * @throws {@link TelemetryError} `ERR_TELEMETRY_VARIABLE`, with every fault: a value that is not understood, or that asks for what Plinth does not do.
 * @see https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 * @see https://opentelemetry.io/docs/specs/otel/protocol/exporter/
 */
export function readVariables(environment: Environment): TelemetryVariables {
  const source = new Variables(environment);
  const isDisabled = source.choice("OTEL_SDK_DISABLED", { true: true, false: false }) ?? false;
  const exporter = source.choice("OTEL_TRACES_EXPORTER", { otlp: "otlp", none: "none" });
  source.choice(
    otlp("PROTOCOL"),
    { "http/json": true },
    "Plinth sends http/json, which collectors take where they take http/protobuf: unset it",
  );
  source.choice(otlp("INSECURE"), { false: false }, "the scheme of the endpoint says whether there is TLS: unset it");
  source.list("OTEL_PROPAGATORS", ["tracecontext", "baggage"], "Plinth reads and writes these two");
  const sampler = readSampler(source);
  const base = source.url("OTEL_EXPORTER_OTLP_ENDPOINT");
  const own = source.url("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
  const variables: Omit<TelemetryVariables, "ignored"> = {
    isOff: isDisabled || exporter === "none",
    url: own ?? (base === undefined ? undefined : tracesUrlOf(base)),
    headers: readHeaders(source),
    exportTimeoutMs: smallest(
      source.number(otlp("TIMEOUT"), 1, 600_000),
      source.number("OTEL_BSP_EXPORT_TIMEOUT", 1, 600_000),
    ),
    compression: source.choice(otlp("COMPRESSION"), { gzip: "gzip", none: "none" }),
    tls: {
      ca: source.text(otlp("CERTIFICATE")),
      cert: source.text(otlp("CLIENT_CERTIFICATE")),
      key: source.text(otlp("CLIENT_KEY")),
    },
    ...sampler,
    exportIntervalMs: source.number("OTEL_BSP_SCHEDULE_DELAY", 1, 3_600_000),
    maxQueuedSpans: source.number("OTEL_BSP_MAX_QUEUE_SIZE", 1, 1_000_000),
    maxBatchSpans: source.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1, 1_000_000),
    attributes: readResource(source),
    limits: {
      attributeCountLimit: source.number(["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"], 0, 10_000),
      attributeValueLengthLimit: source.number(
        ["OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"],
        0,
        1_000_000,
      ),
      eventCountLimit: source.number("OTEL_SPAN_EVENT_COUNT_LIMIT", 0, 10_000),
      linkCountLimit: source.number("OTEL_SPAN_LINK_COUNT_LIMIT", 0, 10_000),
    },
  };
  source.check();
  return { ...variables, ignored: source.unread() };
}

/** Where a collector at this base takes traces. */
export function tracesUrlOf(base: string): string {
  return `${base.replace(/\/+$/, "")}/v1/traces`;
}

/** The one for traces alone before the one for all signals. */
function otlp(name: string): readonly string[] {
  return [`OTEL_EXPORTER_OTLP_TRACES_${name}`, `OTEL_EXPORTER_OTLP_${name}`];
}

const samplers = {
  always_on: { ratio: 1, asksParent: false },
  always_off: { ratio: 0, asksParent: false },
  traceidratio: { ratio: undefined, asksParent: false },
  parentbased_always_on: { ratio: 1, asksParent: true },
  parentbased_always_off: { ratio: 0, asksParent: true },
  parentbased_traceidratio: { ratio: undefined, asksParent: true },
} as const;

function readSampler(source: Variables): Pick<TelemetryVariables, "sampleRatio" | "trustCallerSampling"> {
  const sampler = source.choice("OTEL_TRACES_SAMPLER", samplers);
  const argument = source.number("OTEL_TRACES_SAMPLER_ARG", 0, 1, false);
  if (sampler === undefined) return { sampleRatio: undefined, trustCallerSampling: undefined };
  return { sampleRatio: sampler.ratio ?? argument ?? 1, trustCallerSampling: sampler.asksParent ? "trusted" : "never" };
}

function readHeaders(source: Variables): Readonly<Record<string, Secret>> {
  const all = Object.entries(source.pairs("OTEL_EXPORTER_OTLP_HEADERS", headerName, headerValue));
  const own = Object.entries(source.pairs("OTEL_EXPORTER_OTLP_TRACES_HEADERS", headerName, headerValue));
  return Object.fromEntries([...all, ...own].map(([name, value]) => [name.toLowerCase(), new Secret(value)]));
}

const headerName = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const headerValue = /^[\t\x20-\x7e\x80-\xff]*$/;

function readResource(source: Variables): Readonly<Record<string, string>> {
  const name = source.text("OTEL_SERVICE_NAME");
  const attributes = source.pairs("OTEL_RESOURCE_ATTRIBUTES", /^[\x21-\x7e]{1,255}$/, /^.{0,255}$/su);
  return { ...attributes, ...(name === undefined ? {} : { "service.name": name }) };
}

function smallest(...given: readonly (number | undefined)[]): number | undefined {
  const values = given.filter((value) => value !== undefined);
  return values.length === 0 ? undefined : Math.min(...values);
}

/** Reads variables one by one and keeps what is wrong with them, for one report. */
class Variables {
  readonly #environment: Environment;
  readonly #faults: string[] = [];
  readonly #read = new Set<string>();

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** @param names - The first that is set counts. */
  text(names: string | readonly string[]): string | undefined {
    return this.#find(names)?.text;
  }

  choice<T>(names: string | readonly string[], values: Readonly<Record<string, T>>, why = ""): T | undefined {
    const found = this.#find(names);
    if (found === undefined) return undefined;
    const key = found.text.toLowerCase();
    if (Object.hasOwn(values, key)) return values[key];
    const expected = Object.keys(values).join(", ");
    this.#fault(found.name, `is ${JSON.stringify(found.text)}, expected ${expected}${why === "" ? "" : `; ${why}`}`);
    return undefined;
  }

  list(name: string, values: readonly string[], why: string): void {
    const strange = (this.text(name) ?? "")
      .split(",")
      .map((part) => part.trim())
      .find((part) => part !== "" && !values.includes(part));
    if (strange !== undefined)
      this.#fault(name, `names ${JSON.stringify(strange)}, expected ${values.join(",")}; ${why}`);
  }

  number(names: string | readonly string[], min: number, max: number, whole = true): number | undefined {
    const found = this.#find(names);
    if (found === undefined) return undefined;
    const value = Number(found.text);
    if (value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
    this.#fault(
      found.name,
      `is ${JSON.stringify(found.text)}, expected a ${whole ? "whole " : ""}number from ${min} to ${max}`,
    );
    return undefined;
  }

  url(name: string): string | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const url = URL.parse(text);
    if (url && /^https?:$/.test(url.protocol) && url.username === "" && url.password === "") return text;
    this.#fault(name, "is no http or https URL without user and password; put a key into OTEL_EXPORTER_OTLP_HEADERS");
    return undefined;
  }

  /** `key=value,key=value`, each percent-encoded where it must be. Values stand in no message. */
  pairs(name: string, key: RegExp, value: RegExp): Readonly<Record<string, string>> {
    const entries: [string, string][] = [];
    for (const [index, part] of (this.text(name) ?? "").split(",").entries()) {
      if (part.trim() === "") continue;
      try {
        const equals = part.indexOf("=");
        const left = decodeURIComponent(part.slice(0, Math.max(0, equals)).trim());
        const right = decodeURIComponent(part.slice(equals + 1).trim());
        if (equals < 0 || !key.test(left) || !value.test(right)) throw new Error("it is no key=value");
        entries.push([left, right]);
      } catch (error) {
        this.#fault(
          name,
          `cannot be read at entry ${index + 1}: ${messageOf(error)}; expected key=value,key=value, percent-encoded`,
        );
      }
    }
    return Object.fromEntries(entries);
  }

  check(): void {
    if (this.#faults.length === 0) return;
    throw new TelemetryError("ERR_TELEMETRY_VARIABLE", "failed_precondition", this.#faults.join("\n"));
  }

  /** Those about metrics and logs are of others. */
  unread(): readonly string[] {
    const names = Object.keys(this.#environment).filter(
      (name) => name.startsWith("OTEL_") && this.#environment[name] !== "",
    );
    return names
      .filter((name) => !this.#read.has(name) && !/_(METRICS?|LOGS?|BLRP|LOGRECORD)_/.test(`${name}_`))
      .toSorted();
  }

  #find(names: string | readonly string[]): { readonly name: string; readonly text: string } | undefined {
    const all = typeof names === "string" ? [names] : names;
    for (const name of all) this.#read.add(name);
    for (const name of all) {
      const text = this.#environment[name]?.trim() ?? "";
      if (text !== "") return { name, text };
    }
    return undefined;
  }

  #fault(name: string, what: string): void {
    this.#faults.push(`${name} ${what}`);
  }
}
