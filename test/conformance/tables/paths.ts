// Spellings that have got around the rules of other gateways. `/admin/**` needs a token, `/public/**` goes on as `/pub`, all else is open.
import { get, type Row } from "../row.ts";

const refused = "400 invalid_target";
const guarded = "401 token_missing";

/** By what becomes of them: refused, held to the token of `/admin`, or sent on as a path that no server reads as `/admin`. */
const answers: readonly (readonly [target: string, answer: string])[] = [
  ["/admin", guarded],
  ["/admin/", guarded],
  ["/admin/x", guarded],
  ["//admin", guarded],
  ["/./admin", guarded],
  ["/admin/.", guarded],
  ["/x/../admin", guarded],
  ["/public/../admin", guarded],
  ["/public/..%2fadmin", refused],
  ["/public/%2e%2e/admin", guarded],
  ["/public/%2e%2e%2fadmin", refused],
  ["/%2e%2e/admin", guarded],
  ["/%2E/admin", guarded],
  ["/admin%2f..%2fpublic", refused],
  ["/adm%69n", guarded],
  ["/%61dmin", guarded],
  ["/%61%64%6d%69%6e/x", guarded],
  ["/admin%252f", "/admin%252f"],
  ["/%2561dmin", "/%2561dmin"],
  ["/admin%00", refused],
  ["/admin%20", "/admin%20"],
  ["/admin%09", refused],
  ["/admin;x=1", "/admin;x=1"],
  ["/admin%3bx", "/admin%3Bx"],
  ["/admin\\", refused],
  ["/admin%5c", refused],
  ["/public\\..\\admin", refused],
  ["/public/..;/admin", refused],
  ["/public/..;x/admin", refused],
  ["/public/.;/../admin", refused],
  ["/public/%2e%2e;/admin", refused],
  ["/ADMIN", "/ADMIN"],
  ["/Admin", "/Admin"],
  ["/admin?x", guarded],
  ["/admin%3fx", "/admin%3Fx"],
  ["/admin#x", refused],
  ["/x?y#z", refused],
  ["/%ff", refused],
  ["/%ff/../admin", refused],
  ["/%c0%af/admin", refused],
  ["/%c0%ae%c0%ae/admin", refused],
  ["/%", refused],
  ["/%zz", refused],
  ["/admin%", refused],
  ["/public../admin", "/public../admin"],
  ["/public%2e%2e/admin", "/public../admin"],
  ["/public/...//admin", "/pub/.../admin"],
  ["/public/./././../admin/", guarded],
  ["/public/x/../../admin", guarded],
  ["///admin///x", guarded],
  ["/%EF%BC%8Fadmin", "/%EF%BC%8Fadmin"],
  ["/public/%252e%252e/admin", "/pub/%252e%252e/admin"],
  ["http://a/admin", guarded],
  ["http://a//admin", guarded],
  ["http://a/public/../admin", guarded],
  ["http://A/x?y", "/x?y"],
  ["http://b/admin", "400 invalid_host"],
  ["http://evil/x", "400 invalid_host"],
  ["ftp://a/", refused],
  ["*", refused],
  ["/admin/../public/../admin", guarded],
  ["/a/b/c/../../../admin", guarded],
  ["/public/%C3%A9/../../admin", guarded],
  ["/admin~", "/admin~"],
  ["/admin.json", "/admin.json"],
  ["/admin/..", "/"],
  ["/admin/../x", "/x"],
  ["/..;/a", refused],
  ["/a\\..\\b", refused],
  ["/a%2fb", refused],
  ["/x?a%2fb=%zz&/../admin", "/x?a%2fb=%zz&/../admin"],
  [`/${"a".repeat(8_192)}`, "414 target_too_long"],
];

const claimed: readonly Row[] = [
  "X-Original-URL",
  "X-Rewrite-URL",
  "X-Original-Path",
  "X-HTTP-Method-Override",
  "X-Method-Override",
].map((name) => ({
  what: `/x with ${name}`,
  send: get("/x", `Host: a\r\n${name}: /admin\r\n`),
  told: "200",
  reaches: ["GET /x"],
  fields: { [name.toLowerCase()]: [] },
}));

export const paths: readonly Row[] = [
  ...answers.map(([target, answer]): Row => {
    const what = target.length > 60 ? `a path of ${target.length} characters` : target;
    const send = get(target);
    return answer.startsWith("/")
      ? { what, send, told: "200", reaches: [`GET ${answer}`] }
      : { what, send, told: answer };
  }),
  ...claimed,
  { what: "a host with a dot behind", send: get("/admin", "Host: a.\r\n"), told: guarded },
];
