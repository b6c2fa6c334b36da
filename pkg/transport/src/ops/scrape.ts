import type { Metrics } from "@plinth/kernel";
import type { OpsReply } from "./handler.ts";

/** `/metrics`: every metric of the app as text. */
export async function scrape(metrics: Metrics): Promise<OpsReply> {
  const { contentType, body } = await metrics.expose();
  return { status: 200, headers: { "content-type": contentType }, body };
}
