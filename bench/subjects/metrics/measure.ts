// What counting and timing a request costs, and what a scrape costs and holds up.
import { setImmediate as nextTurn } from "node:timers/promises";
import { median } from "../../harness/statistics.ts";
import { costOf } from "../cost.ts";

export const labels = ["method", "route", "status"] as const;

/** The label values of one request. */
export type RequestLabels = Readonly<Record<(typeof labels)[number], string>>;

/** 250 sets: each is one line of the counter and 17 of the histogram, 4 500 together; 500 more are of a gauge. */
const requests: readonly RequestLabels[] = Array.from({ length: 250 }, (_, at) => ({
  method: at % 2 === 0 ? "GET" : "POST",
  route: `/notes/:id/part-${Math.floor(at / 10)}`,
  status: String(200 + (at % 10)),
}));
export const gaugeSeries = Array.from({ length: 500 }, (_, at) => `pool-${at}`);

export interface Subject {
  readonly count: (labels: RequestLabels) => void;
  readonly time: (labels: RequestLabels, seconds: number) => void;
  /** The text of all metrics. */
  readonly scrape: () => Promise<string>;
}

/** Times a subject and prints the figures. The length of the window is this program's argument. */
export async function measureMetrics({ count, time, scrape }: Subject): Promise<void> {
  const ms = Number(process.argv[2]) * 1_000;
  const counter = await costOf(async () => requests.forEach((request) => count(request)), ms / 4);
  const timer = await costOf(async () => requests.forEach((request, at) => time(request, at / 100)), ms / 4);
  const lines = (await scrape()).split("\n").filter((line) => line !== "" && !line.startsWith("#")).length;
  if (lines < 5_000) throw new Error(`only ${lines} series, 5 000 are the question`);
  const { cpuMs, blockedMs } = await scrapeCost(scrape, ms / 2);
  const reading = {
    countNanos: (counter.micros * 1_000) / requests.length,
    countBytes: counter.bytes / requests.length,
    timeNanos: (timer.micros * 1_000) / requests.length,
    timeBytes: timer.bytes / requests.length,
    scrapeMs: cpuMs,
    blockedMs,
  };
  process.stdout.write(JSON.stringify(reading));
}

/** CPU of one scrape, and the longest that nothing else got its turn. A third of the time is not counted, so that the code is compiled. */
async function scrapeCost(scrape: () => Promise<string>, ms: number) {
  const cpuMs: number[] = [];
  const blockedMs: number[] = [];
  const startedAt = performance.now();
  while (performance.now() < startedAt + ms) {
    await nextTurn();
    let longestMs = 0;
    const before = process.cpuUsage();
    const scraped = { isOver: false };
    const scraping = scrape().finally(() => (scraped.isOver = true));
    for (let turnAt = performance.now(); !scraped.isOver;) {
      await nextTurn();
      const now = performance.now();
      longestMs = Math.max(longestMs, now - turnAt);
      turnAt = now;
    }
    await scraping;
    const { user, system } = process.cpuUsage(before);
    if (performance.now() < startedAt + ms / 3) continue;
    cpuMs.push((user + system) / 1_000);
    blockedMs.push(longestMs);
  }
  return { cpuMs: median(cpuMs), blockedMs: median(blockedMs) };
}
