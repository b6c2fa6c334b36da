import { measurePolicy } from "./policy.ts";

await measurePolicy("round-robin");
