// As many routes as a small gateway has.
import { measureTable } from "./measure.ts";

await measureTable(10);
