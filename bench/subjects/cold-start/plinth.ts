// A small Plinth app: the core, an HTTP server with the ops endpoints, one module with a route and a setting. Its port comes
// from the environment, its log goes to standard output.
import { coreModule, createApp, defineModule, defineSettings, provider, z } from "@plinth/kernel";
import { httpModule, httpRoutes } from "@plinth/transport";

const greetingSettings = defineSettings("greeting", z.strictObject({ text: z.string().min(1).default("hello") }));

const greetingModule = defineModule("greeting", [
  provider({
    provides: httpRoutes,
    needs: { settings: greetingSettings },
    create:
      ({ settings }) =>
      (app) => {
        app.get("/greeting", async () => ({ text: settings.text }));
      },
  }),
]);

const app = createApp({ name: "bench", modules: [coreModule, httpModule, greetingModule] });
process.exitCode = await app.run();
