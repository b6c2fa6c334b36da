import { z } from "zod";

const description =
  "Processes of `plinth-gateway` that serve beside each other on its ports: a number, or `auto` for as many as there are processors. Read at the start alone; `PLINTH_GATEWAY_WORKERS` goes before it. Default 1.";

export const workersSchema = z.union([z.literal("auto"), z.int().min(1).max(1_024)]).meta({ description });
