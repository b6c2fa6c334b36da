// docs/reference/gateway-config.md, from the JSON Schema of the gateway's document.
import { gatewayJsonSchema } from "../../pkg/gateway/src/config/schema-file.ts";
import { fieldsOf } from "../fields.ts";
import { boundsOf } from "./bounds.ts";
import { code, toTable } from "./tables.ts";

type Fields = Readonly<Record<string, unknown>>;

/** Every key of the document with its type, range, default and meaning: a table of what is at the top, and one for each key that has keys. */
export function gatewayConfigPage(): string {
  const top = Object.entries(fieldsOf(fieldsOf(gatewayJsonSchema()).properties));
  const shown = new Map<string, string>();
  const sections = top.flatMap(([name, value]) => {
    const rows = rowsOf(fieldsOf(value), name, shown);
    return rows.length === 0 ? [] : [`## ${name}\n\n${toTable(heads, rows)}`];
  });
  return `# The gateway's document

Every key, as the JSON Schema [gateway.schema.json](../../pkg/gateway/gateway.schema.json) has it; \`[]\` is each item of a list, \`NAME\` each name of a map. What the keys do together stands in
the [README of the gateway](../../pkg/gateway/README.md), and \`plinth gateway check FILE\` [says what is wrong](../../cmd/plinth/README.md#gateway) with a document. Ports, TLS to clients, HTTP/2, trusted proxies and
the limits of the process are not in the document but in [the settings](../config.md#gateway).

Made from the schema by \`npm run docs\`; change descriptions there.

${toTable(
  heads,
  top.map(([name, value]) => rowOf(name, fieldsOf(value))),
)}

${sections.join("\n\n")}
`;
}

const heads = ["key", "type", "range", "default", "meaning"];

function rowOf(key: string, node: Fields): string[] {
  const preset = node.default === undefined ? "" : code(JSON.stringify(node.default));
  const meaning = typeof node.description === "string" ? node.description : "";
  return [code(key), typeOf(node), rangeOf(node), preset, meaning];
}

/**
 * What stands below a key.
 * @param shown - Where keys that stand in several places have been told of, by what they are.
 * @param around - Keys of the object that it is within: rules within rules are told of once.
 */
function rowsOf(node: Fields, path: string, shown: Map<string, string>, around: readonly string[] = []): string[][] {
  const properties = Object.entries(fieldsOf(node.properties));
  const names = properties.map(([name]) => name);
  if (names.length > 2) {
    const text = JSON.stringify(node.properties);
    const place = shown.get(text);
    if (place !== undefined) return [[code(`${path}.…`), "", "", "", `As ${code(`${place}.…`)}.`]];
    shown.set(text, path);
  }
  const own = properties.flatMap(([name, value]): string[][] => {
    const inner = fieldsOf(value);
    const key = `${path}.${name}`;
    return [rowOf(key, inner), ...rowsOf(inner, key, shown, names)];
  });
  const choices = Array.isArray(node.anyOf)
    ? node.anyOf.flatMap((choice) => rowsOf(fieldsOf(choice), path, shown, around))
    : [];
  const item = fieldsOf(node.items);
  const isWithinItself =
    item.properties !== undefined && Object.keys(fieldsOf(item.properties)).every((name) => around.includes(name));
  const items = node.items === undefined || isWithinItself ? [] : rowsOf(item, `${path}[]`, shown, around);
  const named =
    typeof node.additionalProperties === "object"
      ? rowsOf(fieldsOf(node.additionalProperties), `${path}.NAME`, shown)
      : [];
  return [...own, ...choices, ...items, ...named];
}

function typeOf(node: Fields): string {
  if (Array.isArray(node.enum)) return node.enum.map((choice) => code(String(choice))).join(", ");
  if (node.const !== undefined) return code(JSON.stringify(node.const));
  if (Array.isArray(node.anyOf))
    return [...new Set(node.anyOf.map((choice) => typeOf(fieldsOf(choice))))].join("; or ");
  if (node.type === "array") return `list of ${typeOf(fieldsOf(node.items ?? {}))}`;
  if (node.type === "object") return node.properties === undefined ? "map" : "object";
  return { integer: "whole number", number: "number", boolean: "boolean", string: "text" }[String(node.type)] ?? "any";
}

/** Of numbers alone: what a text may be stands in its meaning, and in the report of one that is not. */
function rangeOf(node: Fields): string {
  const own = boundsOf(node).join(" ");
  if (own !== "") return own;
  const bounded = Array.isArray(node.anyOf) ? node.anyOf.map((choice) => rangeOf(fieldsOf(choice))) : [];
  return bounded.find((range) => range !== "") ?? "";
}
