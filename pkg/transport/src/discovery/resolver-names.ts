import type { Clock } from "@plinth/kernel";
import type { InstanceFilter, Registry } from "@plinth/registry";
import { TransportError } from "../errors.ts";

/** Where the instances of a target are asked for. */
export interface InstanceSource {
  readonly registry: Pick<Registry, "watch">;
  readonly filter?: InstanceFilter | undefined;
  readonly clock?: Clock | undefined;
  readonly firstAnswerMs?: number | undefined;
}

/** Under which names a registry is found in targets. */
export interface ResolverName {
  /** `plinth://NAME/service`; several may have one name, and then nobody is found by it. */
  readonly names: readonly string[];
  readonly source: InstanceSource;
}

/**
 * For targets that are text alone. The library has one table of schemes for each process, so that this is one as well; it holds only what has
 * been put there and not been taken out again, and channels that are given a registry do not look at it.
 */
const entries = new Set<ResolverName>();

/** @returns How to take it out again; safe to call twice. */
export function addResolverName(entry: ResolverName): () => void {
  entries.add(entry);
  return () => void entries.delete(entry);
}

/**
 * The source that a target means: by name, or without one the only one there is.
 * @throws {@link TransportError} `ERR_SERVICE_URL`.
 */
export function sourceOf(authority: string | undefined): InstanceSource {
  const named = authority !== undefined && authority !== "";
  const found = [...entries].filter(({ names }) => !named || names.includes(authority));
  const [only] = found;
  if (only && found.length === 1) return only.source;
  const who = named ? `by the name "${authority}"` : "without a name";
  const why =
    found.length === 0
      ? "no registry is there; register it, and keep the app that did so running"
      : `${found.length} registries are meant; name one, as in plinth://INSTANCE-ID/service, or give the channel its registry`;
  throw new TransportError("ERR_SERVICE_URL", "internal", `a target ${who} finds no registry: ${why}`);
}
