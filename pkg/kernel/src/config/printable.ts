/** Controls (they move a terminal's cursor and begin lines), invisible and direction-changing characters, halves of pairs. */
const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
const short: Readonly<Record<string, string>> = { "\n": String.raw`\n`, "\r": String.raw`\r`, "\t": String.raw`\t` };

/**
 * Text of unknown origin as one line that a terminal and a log show as it is; what is longer than `maxLength` is cut.
 *
 * @param maxLength - In UTF-16 code units, before unsafe characters are written out.
 */
export function printable(text: string, maxLength: number): string {
  const kept = text.length <= maxLength ? text : `${text.slice(0, maxLength)}…`;
  return kept.replace(unsafe, (char) => short[char] ?? `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`);
}
