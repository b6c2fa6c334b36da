import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { auditErrors, authErrors, authzErrors, identityErrors } from "./index.ts";

const root = join(import.meta.dirname, "../../..");
const contracts = join(root, "pkg/services/proto");
const landed = join(contracts, "landed.binpb");

/** What buf says, and whether it is content. It asks nobody: the contracts stand on nothing that has to be fetched. */
function buf(args: readonly string[], cwd = root): Promise<{ readonly ok: boolean; readonly text: string }> {
  return new Promise((resolve) => {
    execFile(join(root, "node_modules/.bin/buf"), args, { cwd }, (error, stdout, stderr) =>
      resolve({ ok: error === null, text: stdout + stderr }),
    );
  });
}

/** What buf says of the contracts with one text of one file replaced. */
async function breakingWith(file: string, before: string | RegExp, after: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "plinth-contracts-"));
  try {
    await cp(contracts, folder, { recursive: true });
    const text = await readFile(join(folder, file), "utf8");
    assert.notEqual(text.replace(before, after), text);
    await writeFile(join(folder, file), text.replace(before, after));
    return (await buf(["breaking", folder, "--against", landed], folder)).text;
  } finally {
    await rm(folder, { recursive: true });
  }
}

describe("the contracts", { concurrency: true }, () => {
  it("are as buf's rules want them", async () => {
    assert.deepEqual(await buf(["lint", "pkg/services/proto"]), { ok: true, text: "" });
  });

  it("break nothing that has landed", async () => {
    assert.deepEqual(await buf(["breaking", "pkg/services/proto", "--against", landed]), { ok: true, text: "" });
  });

  it("are told of when a field is gone, has another type, or a method streams no more", async () => {
    const identity = "plinth/identity/v1/identity.proto";
    assert.match(await breakingWith(identity, /  string etag = 11;\n/, ""), /field "11".*"etag".*"User" was deleted/);
    assert.match(await breakingWith(identity, "string locale = 5;", "bytes locale = 5;"), /changed type/);
    const stream = await breakingWith(
      "plinth/audit/v1/audit.proto",
      "returns (stream TailResponse)",
      "returns (TailResponse)",
    );
    assert.match(stream, /"Tail".*streaming/);
  });

  it("may get more", async () => {
    const more = "string etag = 11;\n  // A picture.\n  string picture_url = 12;";
    assert.equal(await breakingWith("plinth/identity/v1/identity.proto", "string etag = 11;", more), "");
  });
});

describe("the errors of a contract", () => {
  const named = { audit: auditErrors, auth: authErrors, authz: authzErrors, identity: identityErrors };
  for (const [service, errors] of Object.entries(named)) {
    it(`of ${service} are those that its comments name`, async () => {
      const text = await readFile(join(contracts, `plinth/${service}/v1/${service}.proto`), "utf8");
      const found = new Set(text.match(/ERR_[A-Z_]+/g));
      found.delete("ERR_REQUEST_INVALID"); // of the servers
      assert.deepEqual([...found].toSorted(), errors.map(({ code }) => code).toSorted());
    });
  }
});
