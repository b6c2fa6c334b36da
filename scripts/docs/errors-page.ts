// What docs/errors.md, whose meanings are written by hand, says otherwise than the code.
import type { ErrorCode } from "./error-codes.ts";
import { code as quoted, readTables } from "./tables.ts";

/** Every difference between the page and the code, and what to do about it. */
export function checkErrorsPage(page: string, codes: readonly ErrorCode[]): string[] {
  const rows = readTables(page).map(({ section, cells: [code = "", statuses = "", meaning = ""] }) => {
    return { section, code: code.replaceAll("`", ""), statuses: splitStatuses(statuses), meaning };
  });
  const missing = codes.flatMap(({ owner, code, statuses, place }) => {
    const shown = statuses.map(showStatus).join(", ");
    const where = `under "## ${owner}"`;
    const row = rows.find((row) => row.section === owner && row.code === code);
    if (statuses.length === 0) return [`${code} (${place}): named, but given to no error that can be read`];
    if (!row)
      return [`${code} (${place}): no row ${where}; add | \`${code}\` | ${shown} | what it means and what to do |`];
    if (row.meaning === "") return [`${code}: its row ${where} does not say what it means`];
    return row.statuses.join() === statuses.join() ? [] : [`${code} (${place}): its status ${where} must be ${shown}`];
  });
  const extra = rows.flatMap(({ section, code }, at) => {
    const isFirst = rows.findIndex((row) => row.section === section && row.code === code) === at;
    if (!isFirst) return [`${code}: two rows under "## ${section}"; remove one`];
    const isKnown = codes.some((known) => known.owner === section && known.code === code);
    return isKnown ? [] : [`${code}: pkg/${section} has no such code; remove its row under "## ${section}"`];
  });
  return [...missing, ...extra];
}

/** `resource_exhausted 413` → `` `resource_exhausted` (413) ``. */
function showStatus(status: string): string {
  const [name = "", http] = status.split(" ");
  const shown = name === "others" ? name : quoted(name);
  return http === undefined ? shown : `${shown} (${http})`;
}

function splitStatuses(cell: string): string[] {
  const statuses = cell.split(",").map((status) => status.replaceAll(/[`()]/g, "").trim());
  return statuses.toSorted();
}
