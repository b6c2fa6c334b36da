import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, it } from "node:test";

const root = join(import.meta.dirname, "../..");
const pages = ["*.md", "docs/**/*.md", "{pkg,cmd,examples}/*/README.md", "bench/README.md"].flatMap((pattern) =>
  globSync(pattern, { cwd: root }),
);

/** A page without its blocks of code, whose brackets are no links. */
function proseOf(page: string): string {
  return readFileSync(join(root, page), "utf8").replace(/^```[^]*?^```$/gm, "");
}

/** As GitHub names the headings of a page. */
function anchorsOf(page: string): Set<string> {
  const headings = [...proseOf(page).matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) => heading);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

function faultOf(page: string, target: string): string | undefined {
  const [path = "", anchor] = target.split("#");
  const file = path === "" ? page : relative(root, join(root, dirname(page), path));
  if (!existsSync(join(root, file))) return `${page}: there is no ${target}`;
  if (anchor === undefined || !file.endsWith(".md") || anchorsOf(file).has(anchor)) return undefined;
  return `${page}: ${file} has no heading for #${anchor}`;
}

describe("the documents", () => {
  it("link to files and headings that are there", () => {
    const faults = pages.flatMap((page) =>
      [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target = ""]) =>
        /^[a-z]+:/.test(target) ? [] : (faultOf(page, target) ?? []),
      ),
    );
    assert.deepEqual(faults, []);
  });

  it("name source files that are there", () => {
    const faults = pages.flatMap((page) =>
      [...proseOf(page).matchAll(/`((?:pkg|cmd|test|scripts|bench|examples)\/[\w./-]+\.\w+)`/g)].flatMap(
        ([, file = ""]) => (existsSync(join(root, file)) ? [] : [`${page}: there is no ${file}`]),
      ),
    );
    assert.deepEqual(faults, []);
  });
});
