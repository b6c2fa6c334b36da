/** What every server under test and every origin answers: 79 bytes of JSON, a usual small object. */
export const reply = Object.freeze({ id: "0190b3f2-6c1e-7d44-9a3b-5f8e2c7d1a90", name: "Ada Lovelace", visits: 42 });

/** The same as text, for servers that answer fixed bytes. */
export const replyText = JSON.stringify(reply);

/** The length of each reply's body. */
export const replyBytes = Buffer.byteLength(replyText);

/** The schema of {@link reply}, by which fastify compiles its serializer. */
export const replySchema = {
  type: "object",
  required: ["id", "name", "visits"],
  properties: { id: { type: "string" }, name: { type: "string" }, visits: { type: "integer" } },
};
