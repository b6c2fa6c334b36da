import { createHash, timingSafeEqual } from "node:crypto";
import { definePlugin } from "@plinth/gateway";
import { z } from "@plinth/kernel";

const header = "x-api-key";
const digest = z.string().regex(/^[\da-f]{64}$/, "expected a SHA-256 digest of the key in lower-case hex");

/**
 * Lets in who has a key, and tells the service who that is as `plinth-plugin-api-key-owner`, which no client can say of itself.
 * The document holds digests of keys: who reads it learns none.
 */
export const apiKey = definePlugin({
  name: "api-key",
  stage: "auth",
  order: 10,
  config: z.strictObject({ keys: z.record(digest, z.string().regex(/^[a-z0-9-]{1,64}$/)) }),
  reasons: {
    key_missing: { status: 401, detail: "an API key is required" },
    key_unknown: { status: 401, detail: "the API key is not known" },
  },
  create: ({ keys }) => {
    const owners = Object.entries(keys).map(([hex, owner]) => ({ digest: Buffer.from(hex, "hex"), owner }));
    return {
      onRequest: (request) => {
        const key = request.header(header);
        if (key === undefined) return request.reject("key_missing", { "www-authenticate": "ApiKey" });
        const given = createHash("sha256").update(key).digest();
        // Digests, in the same time whatever they are: how long it takes tells nothing of a key.
        const found = owners.find((known) => timingSafeEqual(known.digest, given));
        if (!found) return request.reject("key_unknown", { "www-authenticate": "ApiKey" });
        request.removeHeader(header); // the service has no use for it
        request.setHeader("plinth-plugin-api-key-owner", found.owner);
        return undefined;
      },
    };
  },
});
