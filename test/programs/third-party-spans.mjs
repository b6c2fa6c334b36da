// What a user preloads beside Plinth's own preload: `node --import ./third-party-spans.mjs main.js`.
// oxlint-disable-next-line import/no-unassigned-import -- it registers itself
import "@plinth/telemetry/preload";
import { registerInstrumentations } from "@opentelemetry/instrumentation";
import { HttpInstrumentation } from "@opentelemetry/instrumentation-http";

registerInstrumentations({ instrumentations: [new HttpInstrumentation()] });
