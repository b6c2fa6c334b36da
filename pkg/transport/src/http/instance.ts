import { instanceHeader, requireMeant } from "../instance.ts";
import type { StageMaker } from "./stages.ts";

/** The layer `instance`: one look at one header. */
export const instanceStage: StageMaker = ({ instanceId }) => {
  if (instanceId === undefined) return undefined;
  return (exchange) => {
    requireMeant(exchange.header(instanceHeader), instanceId);
    return undefined;
  };
};
