import { type Clock, type ConfigSource, ConfigError, readConfigFile, watchFiles } from "@plinth/kernel";
import { GatewayConfigError } from "../errors.ts";
import { parseDocument } from "./document.ts";
import type { ParsedDocument } from "./schema.ts";

/** A YAML or JSON file as the place of a gateway's document. */
export function documentFile(file: string, clock: Clock): ConfigSource {
  return {
    name: file,
    load: async () => readConfigFile(file, { namedBy: "gateway.routes" }),
    watch: (onChange, { signal }) => watchFiles([file], { clock, onChange, signal }),
  };
}

/**
 * The document as its place has it now.
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` with every fault and its line; and what the place itself throws.
 */
export async function loadDocument(source: ConfigSource, signal: AbortSignal): Promise<ParsedDocument> {
  try {
    const { data, places } = await source.load({ signal });
    return parseDocument(data, { name: source.name, places });
  } catch (error) {
    if (error instanceof ConfigError) throw new GatewayConfigError(error.faults, error);
    throw error;
  }
}
