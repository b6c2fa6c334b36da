import type { ExpositionFormat } from "./render.ts";

export const contentTypes: Readonly<Record<ExpositionFormat, string>> = {
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/**
 * The format that a scraper likes best; Prometheus text where it names neither, and where both are equal to it.
 *
 * @param accept - The `Accept` header. Each type with its `q`; a `version` other than ours is another format.
 */
export function chooseFormat(accept: string | undefined): ExpositionFormat {
  const ranges = (accept ?? "").slice(0, maxAcceptLength).split(",").map(toRange);
  const openmetrics = qualityOf(ranges, "application/openmetrics-text", /^1\.0\.\d+$/);
  const prometheus = qualityOf(ranges, "text/plain", /^0\.0\.4$/);
  return openmetrics > 0 && openmetrics > prometheus ? "openmetrics" : "prometheus";
}

/** In characters; what Prometheus sends has about 200. */
const maxAcceptLength = 2_048;

interface Range {
  readonly type: string;
  readonly version: string | undefined;
  readonly quality: number;
}

function toRange(text: string): Range {
  const [type = "", ...given] = text.split(";").map((part) => part.trim().toLowerCase());
  const parameters = new Map(
    given.map((part) => [part.split("=")[0]?.trim(), unquoted(part.slice(part.indexOf("=") + 1))]),
  );
  const q = Number(parameters.get("q") ?? 1);
  return { type, version: parameters.get("version"), quality: q >= 0 && q <= 1 ? q : 0 };
}

function unquoted(text: string): string {
  return text.trim().replaceAll('"', "");
}

/** Of the most exact range that covers it, as RFC 9110 says; 0 when none does. */
function qualityOf(ranges: readonly Range[], wanted: string, version: RegExp): number {
  const exact = ranges.filter(
    (range) => range.type === wanted && (range.version === undefined || version.test(range.version)),
  );
  const family = ranges.filter(({ type }) => type === `${wanted.split("/")[0]}/*`);
  const all = ranges.filter(({ type }) => type === "*/*");
  const best = [exact, family, all].find((covering) => covering.length > 0) ?? [];
  return Math.max(0, ...best.map(({ quality }) => quality));
}
