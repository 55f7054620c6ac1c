// babelclip from Node: embeddings and similarity over gRPC.
//
//     npm install
//     node babelclip.mjs 127.0.0.1:7070 KEY_FILE "ein roter Apfel" "赤いりんご" -- apple.png cat.png
//
// prints one JSON document: the space, the version, and the cosine of every text with every image.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";
import protobuf from "protobufjs";

const here = dirname(fileURLToPath(import.meta.url));
const service = grpc.loadPackageDefinition(loader.loadSync(join(here, "../inference.proto")));
const { InferenceAPIsService } = service.org.pytorch.serve.grpc.inference;
const wire = protobuf.loadSync(join(here, "../../clients/babelclip/embedding.proto"));
const EmbedRequest = wire.lookupType("babelclip.v1.EmbedRequest");
const EmbedResponse = wire.lookupType("babelclip.v1.EmbedResponse");

/** One tower's answer to many items; `version` keeps both towers in one embedding space. */
function embed(client, token, model, items, version = "") {
  const field = model === "text" ? "texts" : "images";
  const request = EmbedRequest.encode({ [field]: items }).finish();
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  const call = { modelName: model, modelVersion: version, input: { request } };
  const options = { deadline: Date.now() + 30_000 };
  return new Promise((resolve, reject) => {
    client.Predictions(call, metadata, options, (failure, reply) => {
      if (failure) return reject(failure);
      const answer = EmbedResponse.decode(reply.prediction);
      if (answer.error) return reject(new Error(`${answer.error.code}: ${answer.error.message}`));
      // Item i failed where an error has index i; its row is all zeros. Copied, so that floats are aligned.
      const floats = new Float32Array(Uint8Array.from(answer.vectors).buffer);
      const rows = items.map((_, i) => floats.subarray(i * answer.dim, (i + 1) * answer.dim));
      resolve({ ...answer, rows, errors: answer.errors });
    });
  });
}

const [address, keyFile, ...rest] = process.argv.slice(2);
const token = JSON.parse(readFileSync(keyFile, "utf8")).inference.key;
const middle = rest.indexOf("--");
const client = new InferenceAPIsService(address, grpc.credentials.createInsecure(), {
  "grpc.max_receive_message_length": 64 * 1024 * 1024,
});

const texts = await embed(client, token, "text", rest.slice(0, middle).map((text) => Buffer.from(text)));
const images = rest.slice(middle + 1).map((path) => readFileSync(path));
const pictures = await embed(client, token, "vision", images, texts.version);
if (texts.space !== pictures.space) throw new Error("the towers are of different embedding spaces");
const cosine = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const cosines = texts.rows.map((text) => pictures.rows.map((image) => cosine(text, image)));
const errors = pictures.errors.map(({ index, code, message }) => ({ index, code, message }));
console.log(JSON.stringify({ space: texts.space, version: texts.version, cosines, errors }));
client.close();
