// docs/how-to/gateway-*.md as a reader takes them: every document is checked, and the gateway of the first page is asked what the page asks.
import assert from "node:assert/strict";
import { globSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { checkGatewayDocument, createGateway, gatewaySettings } from "@plinth/gateway";
import { readConfigFile } from "@plinth/kernel";
import { createMemoryRegistry } from "@plinth/registry";
import { parseArguments } from "../../cmd/plinth/src/arguments.ts";
import { askGateway } from "../../cmd/plinth/src/gateway.ts";
import { fieldsOf } from "../../scripts/fields.ts";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { startProgram, userEnvironment } from "../support/program.ts";
import { markedBlocks, runLines } from "../support/shell.ts";
import { until } from "../support/until.ts";

const root = join(import.meta.dirname, "../..");
let folder = "";

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "plinth-how-to-gateway-"));
});
after(() => rm(folder, { recursive: true }));

/** Texts of the blocks of one language. */
function blocksOf(page: string, language: string): readonly string[] {
  return Array.from(page.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, "gm")), ([, text = ""]) => text);
}

/** What is wrong with a block: settings are read as settings, anything else as a document, which gets a route where the page shows none. */
async function faultsOf(text: string): Promise<readonly string[]> {
  const file = join(folder, "block.yaml");
  await writeFile(file, text);
  const { gateway, routes, services, revocations } = fieldsOf(readConfigFile(file).data);
  if (revocations !== undefined) return [];
  if (gateway !== undefined) {
    const { issues } = await gatewaySettings.schema["~standard"].validate(gateway);
    return (issues ?? []).map(({ message }) => message);
  }
  if (routes === undefined) {
    const shown = Object.keys(fieldsOf(services));
    const lines = (shown.length === 0 ? ["any"] : shown).map(
      (name) => `  - { name: ${name}, match: { path: "/${name}/**" }, service: ${name}, anonymous: true }\n`,
    );
    await writeFile(file, `${text}\nroutes:\n${lines.join("")}`);
  }
  return checkGatewayDocument(file, { proof: "start" }).faults.map(({ key, problem }) => `${key}: ${problem}`);
}

describe("docs/how-to/gateway-*.md", () => {
  it("show documents and settings that a gateway takes", async () => {
    const pages = globSync("docs/how-to/gateway-*.md", { cwd: root });
    let count = 0;
    for (const name of pages) {
      const page = await readFile(join(root, name), "utf8");
      for (const [index, text] of blocksOf(page, "yaml").entries()) {
        assert.deepEqual(await faultsOf(text), [], `${name}, block ${index + 1}`);
        count += 1;
      }
    }
    assert.ok(pages.length >= 10 && count >= 20, `${count} blocks on ${pages.length} pages`);
    assert.deepEqual(await faultsOf("gateway: { http2: { clear: true } }"), ['Unrecognized key: "clear"']);
    assert.match((await faultsOf("compress: { level: most }"))[0] ?? "", /^compress/);
  });
});

describe("docs/how-to/gateway-start.md", () => {
  it("sets up a gateway that answers as it shows", { timeout: 60_000 }, async () => {
    const page = await readFile(join(root, "docs/how-to/gateway-start.md"), "utf8");
    const [orders = 0, catalog = 0] = await findFreePorts(2);
    const files = [...blocksOf(page, "ts"), ...blocksOf(page, "yaml")];
    for (const text of files) {
      const [, name = ""] = /^(?:\/\/|#) (\S+)\n/.exec(text) ?? [];
      await writeFile(join(folder, name), text.replaceAll("9001", `${orders}`).replaceAll("9002", `${catalog}`));
    }
    const document = join(folder, "gateway.yaml");

    const printed: string[] = [];
    const commands = blocksOf(page, "sh").flatMap((text) => text.match(/(?<=^npx plinth ).*/gm) ?? []);
    for (const command of commands) {
      const question = parseArguments(command.split(" "));
      assert.ok(question.kind === "gateway");
      assert.equal(await askGateway({ ...question, file: document }, (line) => void printed.push(line)), 0);
    }
    assert.match(printed[0] ?? "", /: 2 routes, \d+ request targets put through every stage: no faults$/);
    assert.equal(`${printed.slice(1).join("\n")}\n`, blocksOf(page, "text")[0]);

    await using _services = await startProgram(process.execPath, ["services.ts"], {
      folder,
      environment: userEnvironment(),
    });
    for (const port of [orders, catalog]) await until(() => answers(port), `a service on port ${port}`, 20_000);
    const registry = createMemoryRegistry();
    const { document: checked } = checkGatewayDocument(document, { proof: "start" });
    assert.ok(checked);
    const gateway = createGateway({ registry, document: checked, settings: { port: 0 } });
    try {
      await gateway.listen();
      const blocks = markedBlocks(page.replaceAll(":8080", `:${gateway.port}`));
      assert.equal(blocks.length, 2);
      for (const { lines, output } of blocks) {
        const [{ output: said } = { output: "" }] = await runLines(lines, folder);
        assert.equal(said.trim(), output);
      }
    } finally {
      await gateway.close();
      await registry.close();
    }
  });
});

async function answers(port: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${port}/`)).ok;
  } catch {
    return false; // not up yet
  }
}
