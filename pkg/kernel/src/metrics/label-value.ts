/** In characters; a longer value is cut and ends in `…`. */
export const maxLabelValueLength = 128;

/** What stands for a value that has no text of its own. */
const noText = "[object]";

// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const unclean = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;
const allUnclean = new RegExp(unclean, "g");

/** Any value as one that can stand in a line of text: without control characters or halves of characters, not too long. Never throws. */
export function toLabelValue(value: unknown): string {
  switch (typeof value) {
    case "string":
      return cleanText(value);
    case "number":
    case "boolean":
    case "bigint":
      return cleanText(String(value));
    case "undefined":
      return "";
    default:
      return value === null ? "" : noText;
  }
}

function cleanText(text: string): string {
  const short = text.length <= maxLabelValueLength ? text : `${text.slice(0, maxLabelValueLength - 1)}…`;
  const printable = unclean.test(short) ? short.replace(allUnclean, "\u{fffd}") : short;
  return printable.isWellFormed() ? printable : printable.toWellFormed();
}
