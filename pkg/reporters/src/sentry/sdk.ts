import { messageOf } from "@plinth/kernel";
import type {
  createStackParser,
  isRateLimited,
  Scope,
  SDK_VERSION,
  serializeEnvelope,
  updateRateLimits,
} from "@sentry/core";
import type { nodeStackLineParser, ServerRuntimeClient } from "@sentry/core/server";
import { ReporterError } from "../errors.ts";

/** What is used of Sentry's SDK. Its 10.x has all of it in one module, 11.x in two. */
export interface SentrySdk {
  readonly SDK_VERSION: typeof SDK_VERSION;
  readonly Scope: typeof Scope;
  readonly ServerRuntimeClient: typeof ServerRuntimeClient;
  readonly createStackParser: typeof createStackParser;
  readonly nodeStackLineParser: typeof nodeStackLineParser;
  readonly isRateLimited: typeof isRateLimited;
  readonly updateRateLimits: typeof updateRateLimits;
  readonly serializeEnvelope: typeof serializeEnvelope;
}

const names = [
  "SDK_VERSION",
  "Scope",
  "ServerRuntimeClient",
  "createStackParser",
  "nodeStackLineParser",
  "isRateLimited",
  "updateRateLimits",
  "serializeEnvelope",
] as const satisfies readonly (keyof SentrySdk)[];

/** How the modules of the SDK are loaded. */
export interface SentryImports {
  readonly core: () => Promise<object>;
  readonly server: () => Promise<object>;
}

const installed: SentryImports = {
  core: () => import("@sentry/core"),
  server: () => import("@sentry/core/server"),
};

/**
 * Sentry's SDK, loaded by this call and not before.
 * @throws {@link ReporterError} `ERR_REPORTER_PEER` when it is not installed, or not of a version that is known.
 */
export async function loadSentrySdk(imports: SentryImports = installed): Promise<SentrySdk> {
  try {
    const core = { ...(await imports.core()) };
    const sdk = "ServerRuntimeClient" in core ? core : { ...core, ...(await imports.server()) };
    if (isSdk(sdk)) return sdk;
    throw new Error(`it has no ${names.filter((name) => !(name in sdk)).join(", no ")}`);
  } catch (cause) {
    throw new ReporterError(
      "ERR_REPORTER_PEER",
      "failed_precondition",
      `the package @sentry/core, which reports to Sentry need, cannot be used: ${messageOf(cause)}; run: npm install @sentry/core@11`,
      { cause },
    );
  }
}

function isSdk(module: object): module is SentrySdk {
  return names.every((name) => name in module);
}
