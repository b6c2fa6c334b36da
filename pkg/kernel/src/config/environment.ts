import { type Declared, fileVariable, profileVariable, sectionPrefix } from "./declared.ts";
import type { ConfigFault } from "./errors.ts";
import { variablePrefix } from "./leaves.ts";
import { didYouMean } from "./nearest.ts";
import { layerOfTexts, type TextLayer } from "./texts.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * What the variables set. An empty one counts as not set. One that begins as those of a section of this app do, and is none
 * of its keys, is a fault; those of other sections are silent, since the apps of a machine share an environment.
 */
export function readEnvironment({ sections, leaves }: Declared, environment: Environment): TextLayer {
  const known = new Map(leaves.map((leaf) => [leaf.variable, leaf]));
  const texts = leaves.flatMap((leaf) => {
    const text = environment[leaf.variable];
    return text === undefined || text === "" ? [] : [{ leaf, text, source: leaf.variable }];
  });
  const layer = layerOfTexts(texts, (fault, text) =>
    isLinkAddress(text) ? { ...fault, problem: `${fault.problem}; ${linkHint}` } : fault,
  );
  // the longest first: the variables of `http-admin` begin as those of `http` do
  const prefixes = [...sections.keys()]
    .map((section) => ({ section, prefix: sectionPrefix(section) }))
    .toSorted((a, b) => b.prefix.length - a.prefix.length);
  const faults: ConfigFault[] = [...layer.faults];
  for (const [variable, text] of Object.entries(environment)) {
    if (!variable.startsWith(variablePrefix) || text === undefined || text === "") continue;
    if (known.has(variable) || variable === fileVariable || variable === profileVariable) continue;
    const owner = prefixes.find(({ prefix }) => variable.startsWith(prefix));
    if (!owner || isServiceLink(variable)) continue;
    const hint = isLinkAddress(text) ? `; ${linkHint}` : meant(variable, owner.prefix, known.keys());
    faults.push({ key: owner.section, problem: `no key of it has this variable${hint}`, source: variable });
  }
  return { ...layer, faults };
}

/** The nearest by what follows the section's name, which they all begin with. */
function meant(variable: string, prefix: string, known: Iterable<string>): string {
  const ends = [...known].filter((each) => each.startsWith(prefix)).map((each) => each.slice(prefix.length));
  return didYouMean(variable.slice(prefix.length), ends, prefix);
}

const linkHint =
  "a variable like this comes from Kubernetes, which sets it for a service of that name; set `enableServiceLinks: false` in the pod's spec";

/** Names that Kubernetes alone gives: `…_SERVICE_HOST`, `…_SERVICE_PORT_GRPC`, `…_PORT_8080_TCP_ADDR`. */
function isServiceLink(variable: string): boolean {
  return /_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/.test(variable);
}

/** `tcp://10.0.0.1:80`, which is what Kubernetes sets `…_PORT` to. */
function isLinkAddress(text: string): boolean {
  return /^(tcp|udp|sctp):\/\/\S+:\d+$/.test(text);
}
