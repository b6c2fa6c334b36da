import { mayChange } from "../config/schema-headers.ts";
import { pluginError } from "./define.ts";

const nameShape = /^[a-z0-9!#$%&'*+.^`|~-]{1,128}$/;
const valueShape = /^[\t -~]*$/;
const maxValueLength = 4_096;

/**
 * Lets a plugin name a header that is not the gateway's: none of the connection, of the message's frame or of who calls. Below
 * `plinth-plugin-NAME-` a plugin says to services what it has found out; no client's copy of these arrives there, whatever the route.
 *
 * @param name - In lower case.
 * @throws {@link GatewayError} `ERR_GATEWAY_PLUGIN` when it may not.
 */
export function guardHeader(plugin: string, way: "request" | "reply", name: string, value = ""): void {
  const isOwn = way === "request" && name.startsWith(`plinth-plugin-${plugin}-`);
  if (!nameShape.test(name) || !(isOwn || mayChange(way, name)))
    throw pluginError(
      `plugin ${plugin} may not change the header ${JSON.stringify(name.slice(0, 128))} of a ${way}: it is the gateway's, or no header's name in lower case`,
    );
  if (value.length > maxValueLength || !valueShape.test(value))
    throw pluginError(
      `plugin ${plugin} gives the header ${name} a value with more than ${maxValueLength} characters, or others than ASCII`,
    );
}

/** Takes lines out of a head, in place. @param headers - Name and value by turns. */
export function dropHeader(headers: string[], name: string): void {
  let kept = 0;
  for (let at = 0; at < headers.length; at += 2) {
    const own = headers[at] ?? "";
    if (own.length === name.length && own.toLowerCase() === name) continue;
    headers[kept] = own;
    headers[kept + 1] = headers[at + 1] ?? "";
    kept += 2;
  }
  headers.length = kept;
}
