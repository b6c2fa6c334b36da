import { setImmediate } from "node:timers/promises";
import { z } from "zod";
import type { MetricsSnapshot } from "../metrics/snapshot.ts";
import { maxSnapshotLength } from "./messages.ts";

/** A snapshot is written in pieces of about so many characters, between which everything else gets its turn. */
const pieceLength = 65_536;

/** As JSON, for another process; undefined when it is too large to be sent. */
export async function writeSnapshot({ families }: MetricsSnapshot): Promise<string | undefined> {
  const texts: string[] = [];
  let length = 0;
  let written = 0;
  for (const family of families) {
    const text = JSON.stringify(family);
    texts.push(text);
    length += text.length + 1;
    written += text.length;
    if (length > maxSnapshotLength) return undefined;
    if (written < pieceLength) continue;
    written = 0;
    await setImmediate();
  }
  return `{"families":[${texts.join(",")}]}`;
}

const value = z.union([z.number(), z.enum(["NaN", "+Inf", "-Inf"])]);
const values = z.array(z.string());
const family = { name: z.string(), help: z.string(), labels: z.array(z.string()) };
const exemplar = z.object({ traceId: z.string(), spanId: z.string(), value: z.number(), atMs: z.number() });
const snapshot = z.object({
  families: z.array(
    z.discriminatedUnion("type", [
      z.object({
        ...family,
        type: z.enum(["counter", "gauge"]),
        aggregate: z.enum(["sum", "max", "min", "average", "first"]),
        series: z.array(z.object({ values, value })),
      }),
      z.object({
        ...family,
        type: z.literal("histogram"),
        bounds: z.array(z.number()),
        series: z.array(
          z.object({
            values,
            counts: z.array(z.number()),
            sum: value,
            exemplars: z.array(exemplar.nullable()).exactOptional(),
          }),
        ),
      }),
    ]),
  ),
});

/** @throws Error when it is none. */
export function readSnapshot(text: string): MetricsSnapshot {
  return snapshot.parse(JSON.parse(text));
}
