import { readFile } from "node:fs/promises";
import { messageOf, type Secret } from "@plinth/kernel";
import { readVariables, tracesUrlOf, type TelemetryVariables } from "./environment.ts";
import { TelemetryError } from "./errors.ts";
import type { SamplerOptions } from "./sampler.ts";
import type { TelemetrySettings } from "./settings.ts";

/** All that an export needs, from the settings, the environment and the defaults. */
export interface ExportOptions extends SamplerOptions {
  /** Where spans are sent to, as it is. */
  readonly url: string;
  readonly headers: Readonly<Record<string, Secret>>;
  readonly compression: "gzip" | "none";
  /** PEM texts for TLS with the collector. Without a `ca`, the runtime's own list vouches for it. */
  readonly tls: {
    readonly ca?: Buffer | undefined;
    readonly cert?: Buffer | undefined;
    readonly key?: Buffer | undefined;
  };
  readonly exportTimeoutMs: number;
  readonly exportIntervalMs: number;
  readonly maxQueuedSpans: number;
  /** Spans of one export. */
  readonly maxBatchSpans: number;
  /** Of the resource. */
  readonly attributes: Readonly<Record<string, string>>;
  readonly limits: TelemetryVariables["limits"];
  /** Names of variables that are set and do nothing here. */
  readonly ignored: readonly string[];
}

/** What holds where neither a setting nor a variable says otherwise. */
export const exportDefaults = Object.freeze({
  sampleRatio: 1,
  trustCallerSampling: "trusted",
  maxQueuedSpans: 2_048,
  maxBatchSpans: 512,
  exportIntervalMs: 1_000,
  exportTimeoutMs: 3_000,
  compression: "none",
  attributeValueLengthLimit: 8_192,
} as const);

/**
 * A setting wins over a variable, and that over the default.
 * @returns Undefined when nothing is to be exported.
 * @throws {@link TelemetryError} `ERR_TELEMETRY_VARIABLE`, with every fault of the variables.
 */
export async function exportOptionsOf(
  settings: TelemetrySettings,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<ExportOptions | undefined> {
  const variables = readVariables(environment);
  const url = settings.endpoint === undefined ? variables.url : tracesUrlOf(settings.endpoint);
  if (variables.isOff || url === undefined) return undefined;
  const maxQueuedSpans = settings.maxQueuedSpans ?? variables.maxQueuedSpans ?? exportDefaults.maxQueuedSpans;
  const { attributeValueLengthLimit = exportDefaults.attributeValueLengthLimit, ...limits } = variables.limits;
  return {
    url,
    headers: { ...variables.headers, ...settings.headers },
    compression: variables.compression ?? exportDefaults.compression,
    tls: await readTls(variables.tls),
    exportTimeoutMs: settings.exportTimeoutMs ?? variables.exportTimeoutMs ?? exportDefaults.exportTimeoutMs,
    exportIntervalMs: settings.exportIntervalMs ?? variables.exportIntervalMs ?? exportDefaults.exportIntervalMs,
    maxQueuedSpans,
    maxBatchSpans: Math.min(variables.maxBatchSpans ?? exportDefaults.maxBatchSpans, maxQueuedSpans),
    sampleRatio: settings.sampleRatio ?? variables.sampleRatio ?? exportDefaults.sampleRatio,
    trustCallerSampling:
      settings.trustCallerSampling ?? variables.trustCallerSampling ?? exportDefaults.trustCallerSampling,
    attributes: variables.attributes,
    limits: { ...limits, attributeValueLengthLimit },
    ignored: variables.ignored,
  };
}

async function readTls({ ca, cert, key }: TelemetryVariables["tls"]): Promise<ExportOptions["tls"]> {
  const [caText, certText, keyText] = await Promise.all([
    readPem("CERTIFICATE", ca),
    readPem("CLIENT_CERTIFICATE", cert),
    readPem("CLIENT_KEY", key),
  ]);
  return { ca: caText, cert: certText, key: keyText };
}

async function readPem(name: string, path: string | undefined): Promise<Buffer | undefined> {
  if (path === undefined) return undefined;
  try {
    return await readFile(path);
  } catch (cause) {
    throw new TelemetryError(
      "ERR_TELEMETRY_VARIABLE",
      "failed_precondition",
      `OTEL_EXPORTER_OTLP_${name} names a file that cannot be read: ${messageOf(cause)}; give the path of one in PEM`,
      { cause },
    );
  }
}
