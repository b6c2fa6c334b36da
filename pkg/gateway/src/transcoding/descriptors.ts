import { readFileSync } from "node:fs";
import { createFileRegistry, type FileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

interface Known {
  readonly bytes: Buffer;
  readonly registry: FileRegistry | string;
}

/** The latest of each file: a document is read several times on its way into use. */
const known = new Map<string, Known>();
const maxKnown = 64;

/**
 * The contracts in a file that `buf build -o` or `protoc --include_imports --descriptor_set_out` has written.
 * @returns What is wrong, as text, when there are none to be had.
 */
export function readDescriptors(file: string): FileRegistry | string {
  const bytes = read(file);
  if (typeof bytes === "string") return bytes;
  const before = known.get(file);
  if (before?.bytes.equals(bytes) === true) return before.registry;
  const registry = parse(bytes);
  if (known.size >= maxKnown) known.clear();
  known.set(file, { bytes, registry });
  return registry;
}

function read(file: string): Buffer | string {
  try {
    return readFileSync(file);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    return `${file} cannot be read${code === "" ? "" : `: ${code}`}; expected a file that "buf build -o ${file}" writes`;
  }
}

function parse(bytes: Buffer): FileRegistry | string {
  try {
    const set = fromBinary(FileDescriptorSetSchema, bytes);
    if (set.file.length === 0) return "it holds no file of a contract; expected a FileDescriptorSet";
    return createFileRegistry(set);
  } catch (error) {
    const why = error instanceof Error ? error.message : "";
    return `it is no FileDescriptorSet with all that its files import (buf build -o, or protoc --include_imports): ${why}`;
  }
}
