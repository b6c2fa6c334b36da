import { AppError, provider, token } from "@plinth/kernel";
import { incoming } from "@plinth/transport";

/** Whose request it is. */
export const subject = token("notes.subject").perRequest<string>();

/**
 * From the gateway's identity header, which no client can send through it; the service itself listens on the loopback only.
 */
export const provideSubject = provider({
  provides: subject,
  needs: { incoming },
  create: ({ incoming }) => {
    const named = incoming.header("plinth-subject");
    if (named) return named;
    const what = "the request names no subject; call this service through the gateway";
    throw new AppError("ERR_NOTES_NO_SUBJECT", "unauthenticated", what);
  },
});
