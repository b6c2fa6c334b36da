import { appInfo, clock, defineModule, errorBus, metrics, provider, token } from "@plinth/kernel";
import { createAuditRecorder } from "./recorder.ts";
import type { AuditRecorder } from "./recorder-options.ts";
import { auditSettings } from "./settings.ts";
import type { AuditClient } from "./types.ts";

/** What calls Audit. */
export const auditClient = token("services.audit").of<AuditClient>();

/** Records what is done in the app: up before whatever records, flushed after it. */
export const auditRecorder = token("audit.recorder").of<AuditRecorder>();

const provideAuditRecorder = provider({
  provides: auditRecorder,
  needs: { client: auditClient, settings: auditSettings, app: appInfo, errors: errorBus, metrics, clock },
  create: ({ client, settings: { spillPath, spillMaxBytes, ...settings }, app, ...own }) =>
    createAuditRecorder({
      ...settings,
      ...own,
      client,
      source: { service: app.name },
      spill: spillPath === undefined ? undefined : { path: spillPath, maxBytes: spillMaxBytes },
    }),
  stop: (recorder, { signal }) => recorder.close({ signal }),
});

/** The recorder of an app that has a client of Audit. */
export const auditRecorderModule = defineModule("audit-recorder", [provideAuditRecorder]);
