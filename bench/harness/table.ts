export type Align = "left" | "right";

/** A Markdown table with padded columns, so that it also reads well on a terminal. */
export function toTable(
  heads: readonly (readonly [title: string, align: Align])[],
  rows: readonly (readonly string[])[],
): string {
  const widths = heads.map(([title], column) =>
    Math.max(3, title.length, ...rows.map((cells) => (cells[column] ?? "").length)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${heads.map(([, align], column) => pad(cells[column] ?? "", widths[column] ?? 0, align)).join(" | ")} |`;
  const rule = heads.map(([, align], column) => {
    const dashes = "-".repeat((widths[column] ?? 0) - 1);
    return align === "right" ? `${dashes}:` : `-${dashes}`;
  });
  return [line(heads.map(([title]) => title)), line(rule), ...rows.map(line)].join("\n");
}

function pad(text: string, width: number, align: Align): string {
  return align === "right" ? text.padStart(width) : text.padEnd(width);
}
