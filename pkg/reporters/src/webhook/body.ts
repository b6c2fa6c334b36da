import type { ErrorReport, SerializedError } from "@plinth/kernel";
import { toWebhookReport, type WebhookPayload, type WebhookReport, type WebhookSource } from "./payload.ts";

/** The most that one report takes in the shortest of its forms, in bytes. */
export const minReportBytes = 2_048;
/** The most that a body takes beside its reports, in bytes. */
export const maxFrameBytes = 1_024;

/** Of a name or an id, once a report has to be cut. */
const nameBytes = 128;
/** What is kept of a report that has to be cut, each time less; the last of them fits in {@link minReportBytes}. */
const cuts: readonly Cut[] = [
  { textBytes: 4_096, attributes: 50, errors: 5, depth: 6 },
  { textBytes: 1_024, attributes: 20, errors: 2, depth: 3 },
  { textBytes: 256, attributes: 5, errors: 0, depth: 1 },
  { textBytes: 128, attributes: 0, errors: 0, depth: 0 },
];

interface Cut {
  /** Of one text, as JSON. */
  readonly textBytes: number;
  readonly attributes: number;
  /** Of one aggregate. */
  readonly errors: number;
  /** Levels of causes. */
  readonly depth: number;
}

/**
 * A batch as JSON of at most `maxBytes`. What does not fit is cut from the largest reports first, which then say so.
 *
 * @param maxBytes - {@link maxFrameBytes} and {@link minReportBytes} for each report, or more.
 */
export function toBody(
  {
    id,
    source,
    reports,
  }: { readonly id: string; readonly source: WebhookSource; readonly reports: readonly ErrorReport[] },
  maxBytes: number,
): string {
  const frame: WebhookPayload = { version: 1, id, source: clipTexts({ ...source }, 2, nameBytes), reports: [] };
  const wholes = reports.map(toWebhookReport);
  const texts = wholes.map((report) => JSON.stringify(report));
  const commas = reports.length - 1;
  const shareBytes = fairShare(texts.map(bytesOf), maxBytes - bytesOf(JSON.stringify(frame)) - commas);
  const parts = wholes.map((whole, at) => fit(whole, texts[at] ?? "", shareBytes));
  return JSON.stringify(frame).replace(/\]\}$/, () => `${parts.join(",")}]}`);
}

/** The largest share with which all fit: whoever needs less leaves the rest to the others. */
function fairShare(sizes: readonly number[], room: number): number {
  let left = room;
  for (const [at, size] of sizes.toSorted((a, b) => a - b).entries()) {
    const share = left / (sizes.length - at);
    if (size > share) return share;
    left -= size;
  }
  return Infinity;
}

function fit(report: WebhookReport, whole: string, maxBytes: number): string {
  let text = whole;
  for (const cut of cuts) {
    if (bytesOf(text) <= maxBytes) break;
    text = JSON.stringify(shorten(report, cut));
  }
  return text;
}

function shorten(report: WebhookReport, cut: Cut): WebhookReport {
  const { service, fingerprint, traceId, spanId, requestId, attributes, error } = report;
  const kept = Object.entries(attributes).slice(0, cut.attributes);
  return {
    ...report,
    service: clip(service, nameBytes),
    fingerprint: clip(fingerprint, nameBytes),
    ...(traceId === undefined ? {} : { traceId: clip(traceId, nameBytes) }),
    ...(spanId === undefined ? {} : { spanId: clip(spanId, nameBytes) }),
    ...(requestId === undefined ? {} : { requestId: clip(requestId, nameBytes) }),
    attributes: Object.fromEntries(
      kept.map(([key, value]) => [
        clip(key, nameBytes),
        typeof value === "string" ? clip(value, cut.textBytes) : value,
      ]),
    ),
    error: shortenError(error, cut),
    truncated: true,
  };
}

function shortenError(error: SerializedError, cut: Cut): SerializedError {
  const { type, message, code, status, stack, metadata, cause, errors } = error;
  const head = {
    type: clip(type, nameBytes),
    message: clip(message, cut.textBytes),
    ...(code === undefined ? {} : { code: clip(code, nameBytes) }),
    ...(status === undefined ? {} : { status }),
  };
  if (cut.depth === 0) return head;
  const inner = { ...cut, depth: cut.depth - 1 };
  return {
    ...head,
    ...(stack === undefined ? {} : { stack: clip(stack, cut.textBytes) }),
    ...(metadata === undefined ? {} : { metadata: clipTexts(metadata, cut.attributes, cut.textBytes) }),
    ...(cause === undefined ? {} : { cause: shortenError(cause, inner) }),
    ...(errors === undefined ? {} : { errors: errors.slice(0, cut.errors).map((one) => shortenError(one, inner)) }),
  };
}

function clipTexts(texts: Readonly<Record<string, string>>, max: number, textBytes: number): Record<string, string> {
  const kept = Object.entries(texts).slice(0, max);
  return Object.fromEntries(kept.map(([key, text]) => [clip(key, nameBytes), clip(text, textBytes)]));
}

/** The beginning of a text, of at most `maxBytes` as JSON, its quotes aside. */
function clip(text: string, maxBytes: number): string {
  let kept = text.slice(0, maxBytes);
  // one character takes up to six bytes
  while (bytesOf(JSON.stringify(kept)) > maxBytes + 2) kept = kept.slice(0, Math.floor(kept.length * 0.7));
  return kept;
}

function bytesOf(text: string): number {
  return Buffer.byteLength(text);
}
