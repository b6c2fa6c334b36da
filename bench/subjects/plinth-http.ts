// A service on Plinth's HTTP server with everything on. Its settings come from the environment, its log goes to standard
// output, as in production.
import { coreModule, createApp, defineModule, provider } from "@plinth/kernel";
import { telemetryModule } from "@plinth/telemetry";
import { httpModule, httpRoutes } from "@plinth/transport";
import { reply, replySchema } from "./reply.ts";

const itemModule = defineModule("item", [
  provider({
    provides: httpRoutes,
    create: () => (app) => {
      app.get("/item", { schema: { response: { 200: replySchema } } }, async () => reply);
    },
  }),
]);

const app = createApp({ name: "bench", modules: [coreModule, telemetryModule, httpModule, itemModule] });
process.exitCode = await app.run();
