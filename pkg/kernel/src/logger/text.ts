const maxTextLength = 16_384;
export const maxKeyLength = 200;
/** `://user:password@`; the part before the last @ may hold any but what ends it. */
const urlPassword = /(:\/\/[^\s/?#:@]*:)[^\s/?#]*@/g;

/** Text for a log line: one that is too long is cut, and says how long it was; a password in a URL is masked. */
export function toText(text: string): string {
  const shown = text.length <= maxTextLength ? text : `${text.slice(0, maxTextLength)}… (${text.length} characters)`;
  return shown.includes("://") && shown.includes("@") ? shown.replace(urlPassword, "$1***@") : shown;
}

/** The name of a field: one that is too long is cut. */
export function cutKey(key: string): string {
  return key.length <= maxKeyLength ? key : `${key.slice(0, maxKeyLength)}…`;
}
