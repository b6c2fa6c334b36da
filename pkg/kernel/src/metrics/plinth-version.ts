import { readFileSync } from "node:fs";
import { findPackageJSON } from "node:module";

/** Of this package, by its own manifest; `unknown` where it was put into a bundle. */
export function plinthVersion(): string {
  try {
    const manifest: unknown = JSON.parse(readFileSync(findPackageJSON(import.meta.url) ?? "", "utf8"));
    return isOwn(manifest) ? manifest.version : unknown;
  } catch {
    return unknown; // no manifest beside it
  }
}

const unknown = "unknown";

function isOwn(manifest: unknown): manifest is { readonly version: string } {
  if (typeof manifest !== "object" || manifest === null || !("name" in manifest) || !("version" in manifest))
    return false;
  return manifest.name === "@plinth/kernel" && typeof manifest.version === "string";
}
