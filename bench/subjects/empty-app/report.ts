import { costOf } from "../cost.ts";

/** Times one start and stop and prints the figures. The length of the window is this program's argument. */
export async function reportEmptyApp(startAndStop: () => Promise<void>): Promise<void> {
  const { micros, bytes } = await costOf(startAndStop, Number(process.argv[2]) * 1_000);
  process.stdout.write(JSON.stringify({ micros, kib: bytes / 1_024 }));
}
