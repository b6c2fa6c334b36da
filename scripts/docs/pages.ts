// The pages of docs/ that are made from the code.
import { configPage, configSchemaFile } from "./config.ts";
import { gatewayConfigPage } from "./gateway.ts";
import { metricsPage } from "./metrics.ts";
import { reasonsPage } from "./reasons.ts";
import { readSources } from "./sources.ts";

/** Each page's text, by its path from the repository's root. */
export async function makePages(root: string): Promise<ReadonlyMap<string, string>> {
  const sources = readSources(root);
  return new Map([
    ["docs/config.md", await configPage(root, sources)],
    ["docs/config.schema.json", await configSchemaFile(root)],
    ["docs/metrics.md", metricsPage(sources)],
    ["docs/reasons.md", reasonsPage()],
    ["docs/reference/gateway-config.md", gatewayConfigPage()],
  ]);
}
