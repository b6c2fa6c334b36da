// Units as names of metrics hold them, and what the linter of Prometheus says against others.
// https://prometheus.io/docs/practices/naming/#base-units

const baseUnits: ReadonlySet<string> = new Set([
  "amperes",
  "bytes",
  "celsius",
  "grams",
  "joules",
  "kelvin",
  "meters",
  "ratio",
  "seconds",
  "volts",
]);

/** The unit that a name without `_total` ends in; undefined when it counts things. */
export function unitOf(name: string): string | undefined {
  const last = name.slice(name.lastIndexOf("_") + 1);
  return baseUnits.has(last) ? last : undefined;
}

const otherUnits: Readonly<Record<string, string>> = {
  bits: "bytes",
  calories: "joules",
  days: "seconds",
  fahrenheit: "celsius",
  hours: "seconds",
  inches: "meters",
  miles: "meters",
  minutes: "seconds",
  ounces: "grams",
  percent: "ratio",
  percentage: "ratio",
  pounds: "grams",
  weeks: "seconds",
  yards: "meters",
  s: "seconds",
  ms: "seconds",
  us: "seconds",
  ns: "seconds",
  sec: "seconds",
  m: "seconds",
  h: "seconds",
  d: "seconds",
  b: "bytes",
  kb: "bytes",
  mb: "bytes",
  gb: "bytes",
  tb: "bytes",
  pb: "bytes",
};

const prefixed =
  /^(?:pico|nano|micro|milli|centi|deci|deca|hecto|kilo|kibi|mega|mebi|giga|gibi|tera|tebi|peta|pebi)(amperes|bytes|celsius|grams|joules|kelvin|meters|seconds|volts)$/;

/** A word of `name` that is a unit though no base unit, and the base unit to use. */
export function foreignUnitIn(name: string): { readonly word: string; readonly instead: string } | undefined {
  for (const word of name.split("_")) {
    const instead = Object.hasOwn(otherUnits, word) ? otherUnits[word] : prefixed.exec(word)?.[1];
    if (instead !== undefined) return { word, instead };
  }
  return undefined;
}
