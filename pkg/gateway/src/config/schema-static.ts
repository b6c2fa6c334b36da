import { isIP } from "node:net";
import { z } from "zod";

/** A host and a port, an IPv6 address in brackets. */
export interface StaticTarget {
  readonly host: string;
  readonly port: number;
}

/** Undefined for what is no `host:port`. */
export function toStaticTarget(text: string): StaticTarget | undefined {
  const [, bracketed, plain, digits] =
    /^(?:\[([0-9a-fA-F:.]+)\]|((?=[\w.-]{1,253}:)\w(?:[\w-]*\w)?(?:\.\w(?:[\w-]*\w)?)*)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || port < 1 || port > 65_535 || /^(?:0\.0\.0\.0|[0:]+)$/.test(host)) return undefined;
  return bracketed !== undefined && isIP(bracketed) !== 6 ? undefined : { host, port };
}

/** Instances that stand in the document. */
export const staticSchema = z
  .array(
    z.string().refine((text) => toStaticTarget(text) !== undefined, "expected host:port, an IPv6 address in brackets"),
  )
  .min(1)
  .max(1_024)
  .refine((all) => new Set(all).size === all.length, "expected each address once")
  .optional()
  .meta({ description: "Addresses of the instances, each `host:port`: the registry is not asked. Default: it is." });
