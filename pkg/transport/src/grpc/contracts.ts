import { type DescFile, type DescMessage, type DescService, toBinary } from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";

/** What the contracts of some services declare, and where: their files, and all those that these import. */
export class Contracts {
  /** Full names, in order. */
  readonly services: readonly string[];
  readonly #files = new Map<string, DescFile>();
  readonly #symbols = new Map<string, DescFile>();
  /** By the message that is extended, then by number. */
  readonly #extensions = new Map<string, Map<number, DescFile>>();
  readonly #messages = new Set<string>();

  constructor(services: readonly DescService[]) {
    this.services = services.map(({ typeName }) => typeName).toSorted();
    for (const { file } of services) this.#add(file);
  }

  /** @param name - As it is imported: `package/file.proto`. */
  file(name: string): DescFile | undefined {
    return this.#files.get(name);
  }

  fileOfSymbol(fullName: string): DescFile | undefined {
    return this.#symbols.get(fullName);
  }

  fileOfExtension(message: string, number: number): DescFile | undefined {
    return this.#extensions.get(message)?.get(number);
  }

  /** Numbers in order; undefined for what is no message of these contracts. */
  extensionsOf(message: string): readonly number[] | undefined {
    if (!this.#messages.has(message)) return undefined;
    return [...(this.#extensions.get(message)?.keys() ?? [])].toSorted((one, other) => one - other);
  }

  #add(file: DescFile): void {
    if (this.#files.has(file.proto.name)) return;
    this.#files.set(file.proto.name, file);
    for (const dependency of file.dependencies) this.#add(dependency);
    const declare = (name: string): void => void this.#symbols.set(name, file);
    for (const type of nestedTypes(file)) {
      declare(type.typeName);
      if (type.kind === "service") for (const { name } of type.methods) declare(`${type.typeName}.${name}`);
      else if (type.kind === "message") this.#addMessage(type, declare);
      else if (type.kind === "enum") {
        // values are in the scope around their enum
        const scope = type.typeName.slice(0, type.typeName.lastIndexOf(".") + 1);
        for (const { name } of type.values) declare(`${scope}${name}`);
      } else {
        const known = this.#extensions.get(type.extendee.typeName) ?? new Map<number, DescFile>();
        this.#extensions.set(type.extendee.typeName, known.set(type.number, file));
      }
    }
  }

  #addMessage({ typeName, fields, oneofs }: DescMessage, declare: (name: string) => void): void {
    this.#messages.add(typeName);
    for (const { name } of [...fields, ...oneofs]) declare(`${typeName}.${name}`);
  }
}

/** The file and all that it imports, serialized, itself first. */
export function serializedWithImports(file: DescFile): Uint8Array[] {
  const files = new Set<DescFile>();
  const add = (each: DescFile): void => {
    if (files.has(each)) return;
    files.add(each);
    for (const dependency of each.dependencies) add(dependency);
  };
  add(file);
  return [...files].map(({ proto }) => toBinary(FileDescriptorProtoSchema, proto));
}
