import { measurePolicy } from "./policy.ts";

await measurePolicy("p2c-ewma");
