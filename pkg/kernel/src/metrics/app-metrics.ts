import type { AppEvents } from "../app/events.ts";
import type { RequestScopes } from "../app/request-scope.ts";
import type { AppInfo } from "../app/tokens.ts";
import type { Metrics } from "./metrics.ts";
import { plinthVersion } from "./plinth-version.ts";

/** What an app tells of itself: who it is, its state, how long its hooks took, reloads of its config, open request scopes. */
export function collectAppMetrics(
  own: Metrics,
  { info, events, scopes }: { readonly info: AppInfo; readonly events: AppEvents; readonly scopes: RequestScopes },
): void {
  own
    .gauge({
      name: "app_info",
      help: "Constant 1; its labels say what runs: the service, its version and, from PLINTH_REVISION, its revision, and Node's and Plinth's version.",
      labels: ["service", "version", "revision", "node", "plinth"],
      aggregate: "max",
    })
    .set(
      {
        service: info.name,
        version: info.version,
        revision: info.environment.PLINTH_REVISION ?? "",
        node: process.versions.node,
        plinth: plinthVersion(),
      },
      1,
    );
  const seconds = own.gauge({
    name: "app_hook_duration_seconds",
    help: "How long the last run of a lifecycle hook took.",
    labels: ["provider", "hook"],
    aggregate: "max",
  });
  const state = own.gauge({ name: "app_state", help: "1 for the state that the app is in.", labels: ["state"] });
  const reloads = own.counter({
    name: "app_config_reloads_total",
    help: "Reloads of the config, by outcome: changed, unchanged, or refused for a fault.",
    labels: ["outcome"],
  });
  for (const outcome of ["changed", "unchanged", "refused"]) reloads.inc({ outcome }, 0);
  own.gauge({
    name: "app_request_scopes",
    help: "Requests for which something that lives as long as they do was asked for.",
    collect: (gauge) => gauge.set({}, scopes.openCount),
  });
  let current: string | undefined;
  events.subscribe((event) => {
    if (event.type === "config") reloads.inc({ outcome: event.outcome });
    if (event.type === "hook" && event.step !== "begun") {
      seconds.set({ provider: event.id, hook: event.hook }, event.tookMs / 1e3);
    }
    if (event.type !== "state") return;
    if (current !== undefined) state.set({ state: current }, 0);
    state.set({ state: event.state }, 1);
    current = event.state;
  });
}
