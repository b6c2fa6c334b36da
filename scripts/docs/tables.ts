// Markdown tables, written and read.

export function toTable(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(escape).join(" | ")} |`;
  return [line(heads), line(heads.map(() => "---")), ...rows.map(line)].join("\n");
}

export function code(text: string): string {
  return text.includes("`") ? `\`\` ${text} \`\`` : `\`${text}\``;
}

function escape(cell: string): string {
  return cell.replaceAll("\n", " ").replaceAll("|", String.raw`\|`);
}

export interface Row {
  /** The `## heading` that it stands under. */
  readonly section: string;
  readonly cells: readonly string[];
}

/** Every row of every table, without heads. */
export function readTables(text: string): Row[] {
  const rows: Row[] = [];
  let section = "";
  let inTable = false;
  for (const line of text.split("\n")) {
    section = /^## (.+)$/.exec(line)?.[1] ?? section;
    const isRow = line.startsWith("|");
    const isRule = /^\|( *-+ *\|)+$/.test(line);
    if (inTable && isRow && !isRule) rows.push({ section, cells: cellsOf(line) });
    inTable = isRow && (inTable || isRule);
  }
  return rows;
}

function cellsOf(line: string): string[] {
  const cells = line
    .replace(/^\|/, "")
    .replace(/\|$/, "")
    .split(/(?<!\\)\|/);
  return cells.map((cell) => cell.trim().replaceAll(String.raw`\|`, "|"));
}
