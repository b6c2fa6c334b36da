import { placeOf } from "../app/place.ts";
import { OptionError, requireWhole } from "../errors/option-error.ts";
import { MetricError } from "./errors.ts";
import { toLabelValue } from "./label-value.ts";
import type { MetricOptions } from "./metrics.ts";
import { foreignUnitIn } from "./unit.ts";

export type MetricKind = "counter" | "gauge" | "histogram";

const namePattern = /^[a-z][a-z0-9]*(_[a-z0-9]+)+$/;
const labelPattern = /^[a-z][a-z0-9]*(_[a-z0-9]+)*$/;
/** What Prometheus itself puts after the names of histograms, and OpenMetrics after those of others. */
const reservedEndings = ["bucket", "count", "created", "sum"];
const reservedLabels = new Set(["le", "quantile"]);
const kinds: readonly MetricKind[] = ["counter", "gauge", "histogram"];

/**
 * Refuses what Prometheus, its linter or a reader would stumble over.
 *
 * @throws {@link MetricError} `ERR_METRIC_NAME`, `ERR_METRIC_LABEL`; {@link OptionError} for the rest.
 */
export function requireDeclarable(kind: MetricKind, options: MetricOptions<string>): void {
  const { name, help, labels = [], maxSeries = 1 } = options;
  requireName(kind, name);
  if (typeof help !== "string" || help.trim() === "") {
    throw new OptionError("ERR_OPTION_TYPE", "invalid_argument", `help of metric ${name} must say what it shows`);
  }
  requireWhole(`maxSeries of metric ${name}`, maxSeries, { min: 1 });
  requireLabels(name, labels);
}

function requireName(kind: MetricKind, name: unknown): asserts name is string {
  const refuse = (problem: string): never => {
    throw new MetricError("ERR_METRIC_NAME", `metric name "${toLabelValue(name)}" ${problem}`);
  };
  if (typeof name !== "string" || !namePattern.test(name)) {
    return refuse(
      "must be words of a-z and 0-9 joined by _, as <package>_<what>_<unit>: http_request_duration_seconds",
    );
  }
  const words = name.split("_");
  const last = words.at(-1) ?? "";
  if (kind === "counter" && last !== "total") return refuse("must end in _total, as it is a counter's");
  if (kind !== "counter" && last === "total") return refuse(`must not end in _total, as it is a ${kind}'s`);
  const ending = reservedEndings.find((reserved) => reserved === last);
  if (ending !== undefined)
    return refuse(`must not end in _${ending}, which Prometheus puts after the names of histograms`);
  const type = kinds.find((kind) => words.includes(kind));
  if (type !== undefined) return refuse(`must not say "${type}": the type stands beside it`);
  const unit = foreignUnitIn(name);
  if (unit !== undefined) return refuse(`has the unit "${unit.word}"; use the base unit ${unit.instead}`);
}

function requireLabels(metric: string, labels: readonly unknown[]): void {
  const refuse = (label: unknown, problem: string): never => {
    throw new MetricError("ERR_METRIC_LABEL", `label name "${toLabelValue(label)}" of metric ${metric} ${problem}`);
  };
  for (const [index, label] of labels.entries()) {
    if (typeof label !== "string" || !labelPattern.test(label)) {
      refuse(label, "must be words of a-z and 0-9 joined by _: status_class");
    } else if (reservedLabels.has(label)) refuse(label, "is what Prometheus calls its own");
    else if (labels.indexOf(label) < index) refuse(label, "is declared twice");
  }
}

/** Names in use, with the place of each declaration. */
export class DeclaredNames {
  readonly #first = new Map<string, Declaration>();

  /** @throws {@link MetricError} `ERR_METRIC_DECLARED` also where OpenMetrics alone would take two for one. */
  add(declaration: Declaration): void {
    const { name } = declaration;
    const family = name.replace(/_total$/, "");
    const first = this.#first.get(family);
    if (first) {
      const as = first.name === name ? "" : ` as ${first.name}, which has the same name in OpenMetrics,`;
      throw new MetricError(
        "ERR_METRIC_DECLARED",
        `metric ${name} is declared already${as} at ${placeOf(first)}; declare it once and hand it on`,
      );
    }
    this.#first.set(family, declaration);
  }
}

export interface Declaration {
  readonly name: string;
  /** Its stack begins with whoever declares it. */
  readonly origin: { readonly stack?: string | undefined };
}
