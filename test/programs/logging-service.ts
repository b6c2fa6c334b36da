// A service that does nothing but log, for the tests of full disks, stuck readers and lost collectors.
import { coreModule, createApp, defineModule, logger, provider } from "@plinth/kernel";
import { telemetryModule } from "@plinth/telemetry";
import { httpModule, httpRoutes } from "@plinth/transport";

const line = "x".repeat(16_000);

const loggingModule = defineModule("logging", [
  provider({
    provides: httpRoutes,
    needs: { log: logger },
    create:
      ({ log }) =>
      (app) => {
        app.get("/work", () => {
          log.info("worked");
          return { ok: true };
        });
        app.get("/flood", () => {
          for (let count = 0; count < 100; count++) log.info("flood", { line });
          return { ok: true };
        });
      },
  }),
]);

const modules = [coreModule, telemetryModule, httpModule, loggingModule];
process.exitCode = await createApp({ name: "logging", modules }).run();
