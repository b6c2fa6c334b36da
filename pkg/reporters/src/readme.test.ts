import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { Receiver } from "./testing/receiver.ts";
import type { WebhookPayload } from "./webhook/payload.ts";

const folder = join(import.meta.dirname, "..");

/** What stands in the README in blocks of a language. */
async function blocks(language: string): Promise<readonly string[]> {
  const text = await readFile(join(folder, "README.md"), "utf8");
  return [...text.matchAll(new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, "gs"))].map(([, block = ""]) => block);
}

async function run(example: string, environment: Record<string, string>): Promise<void> {
  const flags = ["--conditions=plinth-source", "--input-type=module-typescript", "--eval", example];
  await promisify(execFile)(process.execPath, flags, { cwd: folder, env: { ...process.env, ...environment } });
}

describe("the README", () => {
  it("has an example that posts to a webhook what its JSON shows", { timeout: 30_000 }, async () => {
    await using receiver = await Receiver.start();
    const [example = ""] = await blocks("ts");
    await run(example, { PLINTH_WEBHOOK_URL: receiver.url });
    const payload = receiver.bodies[0] as WebhookPayload;
    const [shown = ""] = await blocks("json");
    const { reports, ...documented }: WebhookPayload = JSON.parse(shown);
    assert.deepEqual(Object.keys(payload).toSorted(), [...Object.keys(documented), "reports"].toSorted());
    const [report, promised] = [payload.reports[0]!, reports[0]!];
    const absent = new Set(["traceId", "spanId", "requestId"]); // outside a request
    assert.deepEqual(
      Object.keys(report),
      Object.keys(promised).filter((key) => !absent.has(key)),
    );
    assert.deepEqual([report.attributes, report.error.message], [promised.attributes, promised.error.message]);
    const keys = new Set(Object.keys(promised.error));
    for (const key of Object.keys(report.error)) assert.ok(keys.has(key), key);
  });

  it("has an example that sends to Sentry", { timeout: 30_000 }, async () => {
    await using server = await Receiver.start();
    const [, example = "", ...more] = await blocks("ts");
    assert.deepEqual(more, [], "each example has a test");
    await run(example, { PLINTH_SENTRY_DSN: `${server.url.replace("//", "//key@")}/42` });
    const event = JSON.parse(server.requests[0]?.body.split("\n")[2] ?? "");
    assert.deepEqual([event.release, event.exception.values[0].type], ["notes@1.2.3", "TypeError"]);
  });

  it("names every setting with its default", async () => {
    const text = await readFile(join(folder, "README.md"), "utf8");
    const { webhookDefaults } = await import("./webhook/options.ts");
    const { sentryDefaults } = await import("./sentry/options.ts");
    for (const [key, value] of Object.entries({ ...webhookDefaults, ...sentryDefaults })) {
      if (key === "maxBodyBytes" || key === "timeoutMs") continue; // in KiB; in both tables
      assert.match(text.replaceAll("_", ""), new RegExp(`\\| \`${key}\` \\| \`${value}\` \\|`), key);
    }
  });
});
