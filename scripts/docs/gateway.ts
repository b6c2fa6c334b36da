// docs/reference/gateway-config.md, from the JSON Schema of the gateway's document.
import { gatewayJsonSchema } from "../../pkg/gateway/src/config/schema-file.ts";
import { fieldsOf } from "../fields.ts";
import { code, toTable } from "./tables.ts";

type Fields = Readonly<Record<string, unknown>>;

/** Every key of the document with its type, default and meaning. */
export function gatewayConfigPage(): string {
  return `# The gateway's document

Every key, as the JSON Schema [gateway.schema.json](../../pkg/gateway/gateway.schema.json) has it; \`[]\` is each item of a list, \`NAME\` each name of a map. What the keys do together stands in
the [README of the gateway](../../pkg/gateway/README.md), and \`plinth gateway check FILE\` [says what is wrong](../../cmd/plinth/README.md#gateway) with a document.

Made from the schema by \`npm run docs\`; change descriptions there.

${toTable(["key", "type", "default", "meaning"], rowsOf(fieldsOf(gatewayJsonSchema()), ""))}
`;
}

function rowsOf(node: Fields, path: string): string[][] {
  const own = Object.entries(fieldsOf(node.properties ?? {})).flatMap(([name, value]): string[][] => {
    const inner = fieldsOf(value);
    const key = path === "" ? name : `${path}.${name}`;
    const preset = inner.default === undefined ? "" : code(JSON.stringify(inner.default));
    const meaning = typeof inner.description === "string" ? inner.description : "";
    return [[code(key), typeOf(inner), preset, meaning], ...rowsOf(inner, key)];
  });
  const choices = Array.isArray(node.anyOf) ? node.anyOf.flatMap((choice) => rowsOf(fieldsOf(choice), path)) : [];
  const items = node.items === undefined ? [] : rowsOf(fieldsOf(node.items), `${path}[]`);
  const named =
    typeof node.additionalProperties === "object" ? rowsOf(fieldsOf(node.additionalProperties), `${path}.NAME`) : [];
  return [...own, ...choices, ...items, ...named];
}

function typeOf(node: Fields): string {
  if (Array.isArray(node.enum)) return node.enum.map((choice) => code(String(choice))).join(", ");
  if (node.const !== undefined) return code(JSON.stringify(node.const));
  if (Array.isArray(node.anyOf)) return node.anyOf.map((choice) => typeOf(fieldsOf(choice))).join("; or ");
  if (node.type === "array") return `list of ${typeOf(fieldsOf(node.items ?? {}))}`;
  if (node.type === "object") return node.properties === undefined ? "map" : "object";
  return { integer: "whole number", number: "number", boolean: "boolean", string: "text" }[String(node.type)] ?? "any";
}
