import { type ConfigFault, ConfigError, parseConfig, readConfigFile } from "@plinth/kernel";
import { GatewayConfigError } from "../errors.ts";
import { proofFaults } from "../proof/prove-document.ts";
import { faultAt, type Places, schemaFaults } from "./faults.ts";
import { meaningFaults, partOf, partsOf } from "./meaning.ts";
import { type KnownPlugins, pluginProblems } from "./schema-plugins.ts";
import { type GatewayDocument, gatewayDocument, type ParsedDocument, type RouteConfig } from "./schema.ts";

/**
 * Reads a gateway's document from a YAML or JSON file.
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` with every fault and its line.
 */
export function readGatewayDocument(file: string, plugins: KnownPlugins = []): ParsedDocument {
  try {
    const { data, places } = readConfigFile(file);
    return parseDocument(data, { name: file, places }, plugins);
  } catch (error) {
    if (error instanceof ConfigError) throw new GatewayConfigError(error.faults, error);
    throw error;
  }
}

/**
 * Checks a document written in code and fills in its defaults.
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` with every fault.
 */
export function parseGatewayDocument(document: GatewayDocument, plugins: KnownPlugins = []): ParsedDocument {
  return parseDocument(document, { name: "code", places: new Map() }, plugins);
}

/**
 * Checks a document of unknown origin and fills in its defaults. One from {@link vouchFor} is taken as it is.
 * @param places - Where its parts stand, for the faults.
 * @param plugins - Those that it may name. Default: none.
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` with every fault.
 */
export function parseDocument(document: unknown, places: Places, plugins: KnownPlugins = []): ParsedDocument {
  return isVouchedFor(document) ? document : accepted(checkDocument(document, places), plugins);
}

/** Those that were checked, and that nobody has had in hand since. */
const checkedOnes = new WeakSet<object>();

/** Has {@link parseDocument} not check a document again, the next time that it gets it. @returns The document. */
export function vouchFor(document: ParsedDocument): ParsedDocument {
  checkedOnes.add(document);
  return document;
}

/** True once: whoever gets it then may change it. */
function isVouchedFor(document: unknown): document is ParsedDocument {
  return typeof document === "object" && document !== null && checkedOnes.delete(document);
}

/**
 * Knows a document that another process of this gateway has checked: its form is looked at, and whether there are its plugins. All is
 * checked again where it depends on a file of contracts, which may be another by now.
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` with every fault.
 */
export function knownDocument(given: unknown, plugins: KnownPlugins): ParsedDocument {
  const { data } = gatewayDocument.safeParse(given);
  const places = { name: "primary", places: new Map() };
  if (!data || data.routes.some(({ grpc }) => grpc !== undefined))
    return vouchFor(parseDocument(given, places, plugins));
  return vouchFor(
    accepted({ faults: [], document: data, plugins: pluginPartsOf(data, data.routes.entries(), places) }, plugins),
  );
}

/** What is known of a document before its plugins have said what is wrong with their parts. It can be sent between threads. */
export interface CheckedDocument {
  readonly faults: readonly ConfigFault[];
  /** Undefined where its form has faults. */
  readonly document: ParsedDocument | undefined;
  readonly plugins: readonly PluginPart[];
}

/** The `plugins` of a document or of one of its routes. */
interface PluginPart {
  readonly place: "document" | "route";
  readonly given: unknown;
  readonly path: readonly PropertyKey[];
  /** Of what is in it. */
  readonly places: Places;
}

/** The text of a document. */
export interface DocumentText {
  readonly text: string;
  /** Of the place that it is from, as it stands in faults. */
  readonly name: string;
}

/** Reads and checks the text of a document. */
export function checkText({ text, name }: DocumentText): CheckedDocument {
  try {
    const { data, places } = parseConfig(text, name);
    return checkDocument(data, { name, places });
  } catch (error) {
    if (error instanceof ConfigError) return { faults: error.faults, document: undefined, plugins: [] };
    throw error;
  }
}

/** Checks a document but for what its plugins take. */
export function checkDocument(given: unknown, places: Places): CheckedDocument {
  const { success, data, error } = gatewayDocument.safeParse(given);
  const faults = success ? [] : schemaFaults(error, given, gatewayDocument, places);
  const routes = success ? [...data.routes.entries()] : [...goodRoutes(given)];
  faults.push(...meaningFaults(given, routes, places));
  if (faults.length === 0 && success) faults.push(...proofFaults(data, places));
  return { faults, document: data, plugins: pluginPartsOf(given, routes, places) };
}

/** The document, once its plugins have no fault to find either. @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` with every fault. */
export function accepted({ faults, document, plugins }: CheckedDocument, known: KnownPlugins): ParsedDocument {
  const all = [...faults];
  for (const { place, given, path, places } of plugins)
    pluginProblems(given, place, known, (below, problem) => all.push(faultAt([...path, ...below], problem, places)));
  if (all.length > 0 || !document) throw new GatewayConfigError(all);
  return document;
}

/** The routes that fit the schema, by their place. */
function* goodRoutes(document: unknown): Generator<readonly [number, RouteConfig]> {
  for (const [index, given] of partsOf(document, "routes")) {
    const parsed = gatewayDocument.shape.routes.element.safeParse(given);
    if (parsed.success) yield [Number(index), parsed.data];
  }
}

function pluginPartsOf(
  document: unknown,
  routes: Iterable<readonly [number, RouteConfig]>,
  { name, places }: Places,
): PluginPart[] {
  const parts: Omit<PluginPart, "places">[] = [
    { place: "document", given: partOf(document, "plugins"), path: ["plugins"] },
  ];
  for (const [index, { plugins }] of routes)
    parts.push({ place: "route", given: plugins, path: ["routes", index, "plugins"] });
  const known = parts.filter(({ given }) => given !== undefined);
  if (known.length === 0) return [];
  const own = new Map([...places].filter(([path]) => pluginPath.test(path)));
  return known.map((part) => ({ ...part, places: { name, places: own } }));
}

const pluginPath = /^(?:routes\.\d+\.)?plugins(?:\.|$)/;
