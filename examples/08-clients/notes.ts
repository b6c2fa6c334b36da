import { AppError, coreModule, createApp, defineModule, provider, z } from "@plinth/kernel";
import { authzClient, serviceClientsModule } from "@plinth/services";
import { httpModule, httpRoutes } from "@plinth/transport";
import { sharedRegistry } from "./shared-registry.ts";

const notesRoutes = provider({
  provides: httpRoutes,
  needs: { authz: authzClient },
  create:
    ({ authz }) =>
    (http) =>
      void http.get(
        "/notes/:id",
        { schema: { params: z.object({ id: z.string() }), querystring: z.object({ as: z.string() }) } },
        async ({ params, query }) => {
          const { allowed } = await authz.check({
            subject: { type: "user", id: query.as },
            resource: { type: "note", id: params.id },
            permission: "notes.read",
          });
          if (!allowed) throw new AppError("ERR_NOTES_FORBIDDEN", "permission_denied", `${query.as} may not read it`);
          return { id: params.id, text: "buy milk" };
        },
      ),
});

/** A service that asks Authz who may read; over which wire, and how patiently, its section `services.authz` says. */
export function createNotes(port: number, transport: "grpc" | "http" = "grpc") {
  return createApp({
    name: "notes",
    modules: [coreModule, httpModule, sharedRegistry, serviceClientsModule, defineModule("notes", [notesRoutes])],
    config: { defaults: { http: { port }, services: { authz: { transport, timeoutMs: 1_000 } } } },
  });
}
