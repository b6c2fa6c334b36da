import type { AppEvents } from "@plinth/kernel";

/** How the API keeps what is registered for the whole process, of any major version of it. */
const globalPrefix = "opentelemetry.js.api.";
/** The major version of the API that this package stands on. */
const ownMajor = "1";
/** Set on the provider that the preload registers. */
export const preloadMark = Symbol.for("plinth.telemetry.preload");

/**
 * What to tell of another OpenTelemetry SDK that is registered for the whole process, if one is. Nothing of the SDK is loaded for it.
 *
 * @param exportsTo - The collector that this app exports to; undefined: none.
 * @param host - Where the API keeps it. Default `globalThis`.
 */
export function describeForeignSdk(exportsTo: string | undefined, host: object = globalThis): string | undefined {
  for (const key of Object.getOwnPropertySymbols(host)) {
    const name = key.description ?? "";
    if (!name.startsWith(globalPrefix)) continue;
    const registered: unknown = Reflect.get(host, key);
    const provider = delegateOf(fieldOf(registered, "trace"));
    if (provider === undefined || fieldOf(provider, preloadMark) !== undefined) continue;
    const major = name.slice(globalPrefix.length);
    const api = text(fieldOf(registered, "version"));
    const what = `another OpenTelemetry SDK${versionOf(provider)} is registered for the whole process, by @opentelemetry/api${api}`;
    const effect =
      exportsTo === undefined
        ? "it does not see the spans that Plinth makes, and @plinth/telemetry exports nothing"
        : "its spans and those that Plinth makes stand in different traces";
    const versions =
      major === ownMajor
        ? ""
        : `; Plinth stands on major version ${ownMajor} of the API, so both can never share a trace`;
    return `${what}: ${effect}${versions}. Take that SDK out, set OTEL_EXPORTER_OTLP_ENDPOINT, and start with \`node --import @plinth/telemetry/preload\` to have other libraries' spans in the same traces`;
  }
  return undefined;
}

/** Tells of such an SDK once: where it is there already, or else when the app is ready, by which all that the app loads has been. */
export function watchForeignSdk(events: AppEvents, exportsTo: string | undefined, tell: (what: string) => void): void {
  const look = (): boolean => {
    const what = describeForeignSdk(exportsTo);
    if (what !== undefined) tell(what);
    return what !== undefined;
  };
  if (look()) return;
  const end = events.subscribe((event) => {
    if (event.type !== "state" || event.state === "starting" || event.state === "created") return;
    end();
    if (event.state === "ready") look();
  });
}

/** What a stand-in for a provider stands for, which is nothing until one is set. */
function delegateOf(provider: unknown): unknown {
  const own = fieldOf(provider, "_delegate");
  return own ?? (typeof fieldOf(provider, "getDelegate") === "function" ? undefined : (provider ?? undefined));
}

/** Of 1.x and of 2.x, by the resource that each of them describes itself in. */
function versionOf(provider: unknown): string {
  const resource = fieldOf(provider, "_resource") ?? fieldOf(provider, "resource");
  const attributes = fieldOf(resource, "_attributes") ?? fieldOf(resource, "attributes");
  return text(fieldOf(attributes, "telemetry.sdk.version"));
}

function text(version: unknown): string {
  return typeof version === "string" && version.length < 64 ? ` ${version}` : "";
}

/** A field of something of another's; undefined where there is none, or where looking at it throws. */
function fieldOf(value: unknown, key: string | symbol): unknown {
  try {
    return typeof value === "object" && value !== null ? Reflect.get(value, key) : undefined;
  } catch {
    return undefined;
  }
}
