// For `node --import @plinth/telemetry/preload`: spans of other libraries' instrumentations land in the traces of Plinth's apps.
// This, and nothing else of Plinth, registers something for the whole process.
import { createRequire } from "node:module";
import { join } from "node:path";
import { context, propagation, trace } from "@opentelemetry/api";
import { TelemetryError } from "../errors.ts";
import { describeForeignSdk, preloadMark } from "../foreign-sdk.ts";
import { PreloadLink } from "../preload-link.ts";
import { RequestContextManager } from "./context-manager.ts";
import { W3cPropagator } from "./propagator.ts";
import { AppTracerProvider } from "./tracer-provider.ts";

/**
 * Registers Plinth's context, tracer and propagation with the OpenTelemetry API. Done once by the import of this module.
 * @returns False when it was done before.
 * @throws {@link TelemetryError} `ERR_TELEMETRY_PRELOAD` when another SDK has registered itself.
 */
export function registerPreload(): boolean {
  if (Reflect.has(globalThis, preloadMark)) return false;
  const link = new PreloadLink();
  const registered =
    trace.setGlobalTracerProvider(new AppTracerProvider(link)) &&
    context.setGlobalContextManager(new RequestContextManager()) &&
    propagation.setGlobalPropagator(new W3cPropagator());
  if (!registered) {
    throw new TelemetryError(
      "ERR_TELEMETRY_PRELOAD",
      "failed_precondition",
      `@plinth/telemetry/preload cannot register with @opentelemetry/api: ${describeForeignSdk(undefined) ?? "something else has"}. Put it before every other --import, and take the other SDK out`,
    );
  }
  Reflect.set(globalThis, preloadMark, link);
  return true;
}

/** Has ES modules seen by instrumentations, if the project has any: what they patch is theirs, Plinth patches nothing. */
function registerHooks(): void {
  const project = createRequire(join(process.cwd(), "preload.js"));
  let path: string;
  try {
    path = createRequire(project.resolve("@opentelemetry/instrumentation")).resolve(
      "import-in-the-middle/register-hooks.mjs",
    );
  } catch {
    return; // no instrumentation here
  }
  const hooks: unknown = project(path);
  if (isHooks(hooks)) hooks.register({ exclude: [/\/@plinth\//, /\/@opentelemetry\//] });
}

interface Hooks {
  register(options: { readonly exclude: readonly RegExp[] }): void;
}

function isHooks(value: unknown): value is Hooks {
  return typeof value === "object" && value !== null && "register" in value && typeof value.register === "function";
}

if (registerPreload()) registerHooks();
