// A gateway whose ops port has `/revoke?subject=…`: the code of the worker that answers revokes, and the others are to follow.
import { gateway, gatewayModule, gatewayOpsModule, gatewayPrimaryModuleOf } from "@plinth/gateway";
import { coreModule, createApp, defineModule, provider, token, type WorkersTeam } from "@plinth/kernel";
import { registryModule } from "@plinth/registry";
import { opsModule, opsRoutes } from "@plinth/transport";

const revokeModule = defineModule("revoke", [
  provider({
    provides: token("revoke").of<() => void>(),
    needs: { own: gateway, opsRoutes },
    create:
      ({ own, opsRoutes: routes }) =>
      () =>
        void routes.add({
          path: "/revoke",
          answer: (query) => {
            own.revocations.add({ subject: query.get("subject") ?? "" });
            return { pid: process.pid };
          },
        }),
    start: (add) => add(),
  }),
]);

const [, , , routes = ""] = process.argv;
const config = { environment: process.env, arguments: [], overrides: { gateway: { routes } } };
const modules = [coreModule, opsModule, registryModule, gatewayModule, gatewayOpsModule, revokeModule] as const;
const primary = (team: WorkersTeam) =>
  createApp({ name: "gateway", modules: [coreModule, registryModule, gatewayPrimaryModuleOf(team)], config });
const count = Number(process.env["PLINTH_GATEWAY_WORKERS"]);
process.exitCode = await createApp({ name: "gateway", modules, config }).run({ workers: { count, primary } });
