/** What a client has sent does not fit; the message is for the client. */
export class RequestFault extends Error {
  override readonly name = "RequestFault";
}
