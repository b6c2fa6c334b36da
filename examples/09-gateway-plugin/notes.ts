import { coreModule, createApp, defineModule, provider } from "@plinth/kernel";
import { httpModule, httpRoutes } from "@plinth/transport";
import { sharedRegistry } from "./shared-registry.ts";

const notesRoutes = provider({
  provides: httpRoutes,
  needs: {},
  create: () => (http) => {
    http.get("/notes", ({ headers }) => ({ of: headers["plinth-plugin-api-key-owner"] }));
    http.get("/health", () => ({ ok: true }));
  },
});

/** A service that believes its gateway who asks. */
export function createNotes() {
  return createApp({
    name: "notes",
    modules: [coreModule, httpModule, sharedRegistry, defineModule("notes", [notesRoutes])],
    config: { defaults: { http: { port: 0 } } },
  });
}
