import { AppError, provider, token } from "@plinth/kernel";
import { authenticator, gatewayIdentity, incoming } from "@plinth/transport";

/** Whose request it is. */
export const subject = token("notes.subject").perRequest<string>();

/** The gateway says who calls; it runs on this machine, and nothing else is believed. No client can send its headers through it. */
export const provideAuthenticator = provider({
  provides: authenticator,
  create: () => gatewayIdentity({ trustedPeers: ["loopback"] }),
});

export const provideSubject = provider({
  provides: subject,
  needs: { incoming },
  create: ({ incoming }) => {
    if (incoming.identity) return incoming.identity.subject;
    throw new AppError("ERR_NOTES_NO_SUBJECT", "unauthenticated", "this route lets in who does not say who they are");
  },
});
