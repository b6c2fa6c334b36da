import { basename, dirname, extname, join } from "node:path";
import { messageOf } from "../errors/app-error.ts";
import { isRecord, nearestAbove } from "./data.ts";
import { ConfigError, type ConfigErrorCode, type ConfigFault } from "./errors.ts";
import { type ConfigDocument, readConfigFile } from "./file.ts";
import type { Layer } from "./merge.ts";
import type { FileState } from "./read-text.ts";
import type { ConfigSource } from "./source.ts";
import { show } from "./validate.ts";

/** Documents in the order in which they win over each other, or why some are not there. */
export interface Documents {
  readonly layers: readonly Layer[];
  readonly faults: readonly ConfigFault[];
  /** The code that the faults come with. */
  readonly code: ConfigErrorCode | undefined;
  readonly cause: unknown;
}

/** A file, or a profile, and who named it. */
export interface Named {
  readonly name: string;
  /** `config.file`, `--config`, `PLINTH_CONFIG`; of a profile likewise. */
  readonly by: string;
}

export interface DocumentPlaces {
  readonly file: Named | undefined;
  readonly profile: Named | undefined;
  readonly sources: readonly ConfigSource[];
  /** Takes what tells later whether a file has changed. */
  readonly files: Map<string, FileState>;
  readonly signal: AbortSignal;
}

/**
 * Reads the config file, the one of the profile, and all other sources at the same time.
 * @throws the signal's reason when it aborts.
 */
export async function readDocuments({ file, profile, sources, files, signal }: DocumentPlaces): Promise<Documents> {
  const read = async (name: string, load: () => ConfigDocument | Promise<ConfigDocument>): Promise<Attempt> => {
    try {
      return { layer: toLayer(await load(), name) };
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ConfigError) return { error };
      const fault = { key: name, problem: `cannot be read: ${messageOf(error)}`, source: "config source" };
      return { error: new ConfigError("ERR_CONFIG_SOURCE", [fault], error) };
    }
  };
  const local: Promise<Attempt>[] = [];
  if (file) local.push(read(file.name, () => readConfigFile(file.name, { namedBy: file.by, files })));
  if (profile) {
    const load = (): ConfigDocument => readConfigFile(profilePath(file?.name, profile), { namedBy: profile.by, files });
    local.push(read(file?.name ?? "", load));
  }
  const remote = sources.map((source) => read(source.name, () => source.load({ signal })));
  const attempts = await Promise.all([...local, ...remote]);
  const errors = attempts.flatMap((attempt) => ("error" in attempt ? [attempt.error] : []));
  return {
    layers: attempts.flatMap((attempt) => ("layer" in attempt ? [attempt.layer] : [])),
    faults: errors.flatMap(({ faults }) => faults),
    code: errors[0]?.code,
    cause: errors[0]?.cause,
  };
}

type Attempt = { readonly layer: Layer } | { readonly error: ConfigError };

/** `config.yaml` and `production` → `config.production.yaml`. */
function profilePath(file: string | undefined, { name: profile, by }: Named): string {
  const refuse = (problem: string): never => {
    throw new ConfigError("ERR_CONFIG_FILE", [
      { key: "profile", problem: `${problem}, got ${show(profile)}`, source: by },
    ]);
  };
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]*$/.test(profile)) refuse("expected letters, digits, - and _");
  if (file === undefined) {
    return refuse("stands beside a config file, and none is named; set PLINTH_CONFIG or --config");
  }
  const ending = extname(file);
  return join(dirname(file), `${basename(file, ending)}.${profile}${ending}`);
}

/** @throws Error when a source gave something else than its type says. */
function toLayer({ data, places }: ConfigDocument, name: string): Layer {
  const isMap: boolean = places instanceof Map;
  if (!isRecord(data) || !isMap) throw new Error("it gave no document, as parseConfig makes one");
  // what names the schema to an editor, in JSON, which has no comments
  const { $schema, ...rest } = data;
  const sourceOf = (key: string): string => nearestAbove(places, key) ?? name;
  return { data: typeof $schema === "string" ? rest : data, sourceOf };
}
