// More routes than a gateway has.
import { measureTable } from "./measure.ts";

await measureTable(10_000);
