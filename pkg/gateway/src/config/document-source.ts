import { type Clock, type ConfigSource, ConfigError, readConfigFile, readConfigText, watchFiles } from "@plinth/kernel";
import { GatewayConfigError } from "../errors.ts";
import { accepted, checkDocument, type CheckedDocument, checkText, type DocumentText, vouchFor } from "./document.ts";
import type { KnownPlugins } from "./schema-plugins.ts";
import type { ParsedDocument } from "./schema.ts";

const namedBy = "gateway.routes";

/** A YAML or JSON file as the place of a gateway's document. */
export function documentFile(file: string, clock: Clock): ConfigSource {
  return {
    name: file,
    load: async () => readConfigFile(file, { namedBy }),
    readText: async () => readConfigText(file, { namedBy }),
    watch: (onChange, { signal }) => watchFiles([file], { clock, onChange, signal }),
  };
}

export interface LoadOptions {
  readonly signal: AbortSignal;
  /** Those that the document may name. Default: none. */
  readonly plugins?: KnownPlugins | undefined;
  /** Reads and checks its text. Default: here and now. */
  readonly check?: (document: DocumentText, signal: AbortSignal) => CheckedDocument | Promise<CheckedDocument>;
}

/**
 * The document as its place has it now. It is not checked again by the first gateway that gets it.
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` with every fault and its line; and what the place itself throws.
 */
export async function loadDocument(
  source: ConfigSource,
  { signal, plugins = [], check = checkText }: LoadOptions,
): Promise<ParsedDocument> {
  try {
    const text = await source.readText?.({ signal });
    if (text !== undefined) return vouchFor(accepted(await check({ text, name: source.name }, signal), plugins));
    const { data, places } = await source.load({ signal });
    return vouchFor(accepted(checkDocument(data, { name: source.name, places }), plugins));
  } catch (error) {
    if (error instanceof ConfigError) throw new GatewayConfigError(error.faults, error);
    throw error;
  }
}
