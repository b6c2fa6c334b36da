// The tables of tokens that the gateway's own tests go by, as rows: what is not valid reaches no origin.
import { signingKey } from "../../../pkg/gateway/src/testing/issuer.ts";
import { tokenTables } from "../../../pkg/gateway/src/testing/token-tables.ts";
import { get, type Row } from "../row.ts";

const [es, rsa, ed, stranger] = [
  signingKey("es"),
  signingKey("rsa", "RS256"),
  signingKey("ed", "EdDSA"),
  signingKey("es"),
];
const { valid, invalid } = tokenTables({ es, rsa, ed, stranger });
const withToken = (token: string): string =>
  get("/guarded", `Host: a\r\nPlinth-Subject: root\r\nAuthorization: Bearer ${token}\r\n`);

/** Those that the issuer has published. */
export const publishedKeys = [es, rsa, ed];

/** Made when they are sent: they expire. */
export function tokens(): readonly Row[] {
  return [
    ...Object.entries(valid).map(([what, make]): Row => ({
      what: `a token: ${what}`,
      send: withToken(make()),
      told: "200",
      reaches: ["GET /guarded"],
      fields: { authorization: [], "plinth-subject": ["alice"], "plinth-issuer": ["test-issuer"] },
    })),
    ...Object.entries(invalid).map(([what, [, make]]): Row => ({
      what: `a token: ${what}`,
      send: withToken(make()),
      told: "401 token_invalid",
    })),
  ];
}
