import { peerSettings } from "../client-address.ts";
import { authSetting } from "./auth.ts";
import { clientConnectionSettings } from "./client-connections.ts";
import { compressionSettings } from "./compression.ts";
import { corsSettings } from "./cors.ts";
import { headSettings } from "./head.ts";
import { jsonSettings } from "./json-body.ts";
import { limitSettings } from "./limits.ts";
import { securityHeadersSettings } from "./security-headers.ts";
import { slowBodySettings } from "./slow-bodies.ts";

/** What the config says of the layers that have settings of their own. */
export const layerSettings = {
  ...peerSettings,
  ...headSettings,
  ...limitSettings,
  ...clientConnectionSettings,
  ...jsonSettings,
  ...slowBodySettings,
  ...securityHeadersSettings,
  ...corsSettings,
  ...authSetting,
  ...compressionSettings,
};
