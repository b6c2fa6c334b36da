import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { findServer } from "./find.ts";

const main = join(import.meta.dirname, "main.ts");

describe("findServer", () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "plinth-find-"));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  async function makeProgram(path: string): Promise<string> {
    await mkdir(join(path, ".."), { recursive: true });
    await writeFile(path, "#!/bin/sh\n");
    await chmod(path, 0o755);
    return path;
  }

  it("takes the program that the variable names before any other", async () => {
    const bin = await makeProgram(join(folder, "own/my-consul"));
    const path = join(await makeProgram(join(folder, "bin/consul")), "..");
    assert.deepEqual(await findServer("consul", { env: { CONSUL_BIN: bin, PATH: path } }), { bin, env: {} });
  });

  it("refuses a variable that names no program, rather than looking elsewhere", async () => {
    const path = join(await makeProgram(join(folder, "bin/consul")), "..");
    const looking = findServer("consul", { env: { CONSUL_BIN: "/nowhere/consul", PATH: path } });
    await assert.rejects(looking, { code: "ERR_SERVER_OVERRIDE", message: /^CONSUL_BIN is "\/nowhere\/consul"/ });
  });

  it("takes the program on PATH", async () => {
    const bin = await makeProgram(join(folder, "bin/consul"));
    assert.deepEqual(await findServer("consul", { env: { PATH: `/nowhere:${join(bin, "..")}` } }), { bin, env: {} });
  });

  it("takes what was fetched before, with the folders of its libraries", async () => {
    const cache = join(folder, "cache");
    const bin = await makeProgram(join(cache, "consul/usr/bin/consul"));
    const libraries = join(cache, "consul/usr/lib/x86_64-linux-gnu");
    await mkdir(libraries, { recursive: true });
    const found = await findServer("consul", { env: { PATH: "", PLINTH_SERVERS_DIR: cache } });
    assert.deepEqual(found, { bin, env: { LD_LIBRARY_PATH: libraries } });
  });

  it("takes programs of one package from the same folder", async () => {
    const cache = join(folder, "shared");
    const options = { env: { PATH: "", PLINTH_SERVERS_DIR: cache } };
    const bins = [];
    for (const name of ["prometheus", "promtool"] as const) {
      bins.push(await makeProgram(join(cache, "prometheus/usr/bin", name)));
    }
    assert.equal((await findServer("prometheus", options)).bin, bins[0]);
    assert.equal((await findServer("promtool", options)).bin, bins[1]);
  });

  it("says what to install and which variable to set where the program cannot be had, and leaves nothing behind", async () => {
    const cache = join(folder, "empty");
    const looking = promisify(execFile)(process.execPath, [main, "consul"], {
      env: { PATH: join(folder, "no-apt-here"), PLINTH_SERVERS_DIR: cache },
    });
    await assert.rejects(looking, {
      code: 1,
      stderr: /there is no consul: .*could not be fetched \(.+\); install consul, or set CONSUL_BIN to its program\n$/s,
    });
    assert.deepEqual(await readdir(cache), []);
  });

  it("finds a Consul that runs on this machine, by however many callers at once", async () => {
    const found = await Promise.all([1, 2, 3].map(() => findServer("consul")));
    const { stdout } = await promisify(execFile)(found[0]!.bin, ["version"], {
      env: { ...process.env, ...found[0]!.env },
    });
    assert.match(stdout, /^Consul v\d+\.\d+/);
    assert.equal(new Set(found).size, 1);
  });
});
