import { appControl, clock, healthChecks, primaryLink, provider, token } from "@plinth/kernel";
import { knownDocument } from "../config/document.ts";
import type { GatewayPlugin } from "../plugins/define.ts";
import { WorkerTeam } from "./worker-team.ts";

/** What a worker has with the others; undefined in a process that is none. */
export const gatewayTeam = token("gateway.team").of<WorkerTeam | undefined>();

export const provideTeamWith = (plugins: readonly GatewayPlugin[]) =>
  provider({
    provides: gatewayTeam,
    needs: { link: primaryLink, clock, control: appControl },
    create: async ({ link, control, ...seams }) =>
      link &&
      WorkerTeam.open({
        link,
        ...seams,
        toDocument: (document) => knownDocument(document, plugins),
        onLost: (error) => control.fail(error, "lifecycle"),
      }),
    stop: (team) => team?.close(),
  });

/** The gateway serves with fewer: it only tells. */
export const provideTeamCheck = provider({
  provides: healthChecks,
  needs: { team: gatewayTeam },
  create: ({ team }) => ({
    name: "gateway.workers",
    critical: false,
    run: () => {
      const state = team?.state;
      if (!state?.wasWhole) return; // they are about to start
      const ready = state.workers.filter(({ isReady }) => isReady).length;
      if (ready < state.configured) throw new Error(`${ready} of ${state.configured} workers are ready`);
    },
  }),
});
