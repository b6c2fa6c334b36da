import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";

const script = join(import.meta.dirname, "install.mjs");
const stamp = "node_modules/.plinth-installed";

describe("install.mjs", () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "plinth-install-"));
    await write("package.json", { name: "fixture", version: "1.0.0", private: true, workspaces: ["pkg/*"] });
    await write("pkg/a/package.json", { name: "a", version: "1.0.0" });
    await write("pkg/b/package.json", { name: "b", version: "1.0.0", dependencies: { a: "1.0.0" } });
    await write("package-lock.json", lockfile({}));
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  async function write(file: string, content: object): Promise<void> {
    await mkdir(dirname(join(root, file)), { recursive: true });
    await writeFile(join(root, file), JSON.stringify(content));
  }

  function lockfile(more: object): object {
    return {
      name: "fixture",
      version: "1.0.0",
      lockfileVersion: 3,
      requires: true,
      packages: {
        "": { name: "fixture", version: "1.0.0", workspaces: ["pkg/*"] },
        "node_modules/a": { resolved: "pkg/a", link: true },
        "node_modules/b": { resolved: "pkg/b", link: true },
        "pkg/a": { version: "1.0.0" },
        "pkg/b": { version: "1.0.0", dependencies: { a: "1.0.0" } },
        ...more,
      },
    };
  }

  interface Outcome {
    readonly code: number;
    readonly stdout: string;
    readonly stderr: string;
  }

  function install(env: Record<string, string> = {}): Promise<Outcome> {
    return new Promise((done) => {
      const options = { env: { ...process.env, ...env } };
      const child = execFile(process.execPath, [script, root], options, (_error, stdout, stderr) => {
        done({ code: child.exitCode ?? -1, stdout, stderr });
      });
    });
  }

  it("installs once, in one line and a closing one, and is silent when nothing changed", async () => {
    const first = await install();
    assert.equal(first.code, 0, first.stderr);
    assert.equal(first.stdout, "");
    assert.match(
      first.stderr,
      /^Installing the packages of .*, once; this can take a minute\.\nPackages installed in \d+\.\d s\.\n$/,
    );
    assert.ok(existsSync(join(root, "node_modules/b")));
    assert.deepEqual(await install(), { code: 0, stdout: "", stderr: "" });
  });

  it("leaves an install by hand alone", async () => {
    await install();
    await rm(join(root, stamp));
    assert.deepEqual(await install(), { code: 0, stdout: "", stderr: "" });
    assert.ok(existsSync(join(root, stamp)));
  });

  it("leaves the lockfile as it is", async () => {
    const before = await readFile(join(root, "package-lock.json"), "utf8");
    await install();
    assert.equal(await readFile(join(root, "package-lock.json"), "utf8"), before);
  });

  it("puts back a package that somebody removed", async () => {
    await install();
    await rm(join(root, "node_modules/a"));
    assert.match((await install()).stderr, /Packages installed/);
    assert.ok(existsSync(join(root, "node_modules/a")));
  });

  it("lets a second one wait, and then find the work done", async () => {
    const outcomes = await Promise.all([install(), install(), install()]);
    assert.deepEqual(
      outcomes.map(({ code }) => code),
      [0, 0, 0],
    );
    const installed = outcomes.filter(({ stderr }) => stderr.includes("Packages installed"));
    assert.equal(installed.length, 1);
  });

  it("refuses a lockfile that does not fit a package.json, and says where and what to do", async () => {
    await install();
    await write("pkg/b/package.json", { name: "b", version: "1.0.0", dependencies: { a: "1.0.0", zod: "4.0.0" } });
    const { code, stderr } = await install();
    assert.equal(code, 1);
    assert.match(stderr, /pkg\/b\/package\.json has zod 4\.0\.0 in dependencies, package-lock\.json has none/);
    assert.match(stderr, /Run `npm install` to bring the lockfile up to date, and commit both\.\n$/);
  });

  it("says which package.json a lockfile does not know", async () => {
    await write("pkg/c/package.json", { name: "c", version: "1.0.0" });
    const { code, stderr } = await install();
    assert.equal(code, 1);
    assert.match(stderr, /pkg\/c\/package\.json is not in package-lock\.json/);
  });

  it("passes npm's own words on when it fails, says what it needs, and tries again the next time", async () => {
    const missing = { version: "1.0.0", integrity: `sha512-${"A".repeat(86)}==` };
    await write("package.json", {
      name: "fixture",
      version: "1.0.0",
      workspaces: ["pkg/*"],
      dependencies: { gone: "1.0.0" },
    });
    const root = { name: "fixture", version: "1.0.0", workspaces: ["pkg/*"], dependencies: { gone: "1.0.0" } };
    await write("package-lock.json", lockfile({ "": root, "node_modules/gone": missing }));
    // Nobody listens on port 1, so this is a machine without a network.
    const offline = { npm_config_registry: "http://127.0.0.1:1", npm_config_fetch_retries: "0" };
    for (const attempt of [1, 2]) {
      const { code, stdout, stderr } = await install(offline);
      assert.equal(code, 1, `attempt ${attempt}`);
      assert.equal(stdout, "");
      assert.match(stderr, /npm error .*ECONNREFUSED/);
      assert.match(stderr, /Packages could not be installed: `npm install` in .* exited with code 1/);
      assert.match(
        stderr,
        /It needs the npm registry, or a full npm cache, and room on the disk\. Then run the same command again\.\n$/,
      );
    }
  });
});
