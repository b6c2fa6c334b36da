import { measurePolicy } from "./policy.ts";

await measurePolicy("consistent-hash");
