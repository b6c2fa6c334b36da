/**
 * The columns that a server's detail like `Key (tenant, lower(email))=(1, x@y) already exists.` names, in any language, in the order of the
 * index. Values stand behind the first `)=(` alone, so that nothing read here can be one.
 *
 * @returns undefined where it names none: to who may not read the table the server does not tell.
 */
export function keyColumns(detail: string | undefined): readonly string[] | undefined {
  const start = detail?.indexOf("(") ?? -1;
  const end = detail?.indexOf(")=(", start) ?? -1;
  if (detail === undefined || start < 0 || end < 0) return undefined;
  return splitColumns(detail.slice(start + 1, end)).map(unquoted);
}

/** At commas outside of quotes and parentheses. */
function splitColumns(list: string): readonly string[] {
  const columns: string[] = [];
  let from = 0;
  let depth = 0;
  let quote = "";
  for (let at = 0; at < list.length; at++) {
    const char = list[at] ?? "";
    if (quote !== "") {
      if (char === quote) quote = "";
    } else if (char === '"' || char === "'") quote = char;
    else if (char === "(") depth++;
    else if (char === ")") depth--;
    else if (char === "," && depth === 0) {
      columns.push(list.slice(from, at).trim());
      from = at + 1;
    }
  }
  return [...columns, list.slice(from).trim()];
}

function unquoted(name: string): string {
  return /^"(?:[^"]|"")+"$/.test(name) ? name.slice(1, -1).replaceAll('""', '"') : name;
}
