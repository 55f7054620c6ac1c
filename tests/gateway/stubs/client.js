// A client in JavaScript, from embedder.proto alone: node client.js HOST:PORT KEY FOLDER_OF_GATEWAY
// prints a line for each call of the service.
const grpc = require("@grpc/grpc-js");
const { loadSync } = require("@grpc/proto-loader");

const [address, key, root] = process.argv.slice(2);
const options = { includeDirs: [root], keepCase: true, defaults: true, oneofs: true };
const definition = grpc.loadPackageDefinition(loadSync("gateway/rpc/embedder.proto", options));
const client = new definition.babelclip.v1.Embedder(address, grpc.credentials.createInsecure());

const text = (value) => ({ text: value });
const image = (value) => ({ image: Buffer.from(value) });
const numbers = (values) => values.map((value) => value.toFixed(3)).join(" ");
const deadline = () => Date.now() + 60_000;

function metadata(secret) {
  const found = new grpc.Metadata();
  found.set("authorization", `Bearer ${secret}`);
  return found;
}

function call(name, request, secret = key) {
  return new Promise((resolve, reject) =>
    client[name](request, metadata(secret), { deadline: deadline() }, (error, response) =>
      error ? reject(error) : resolve(response),
    ),
  );
}

function vectors(response) {
  const bytes = response.vectors;
  const values = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.byteLength / 4 }, (_, index) => values.getFloat32(4 * index, true));
}

async function stream(requests) {
  const found = [];
  const opened = client.EmbedStream(metadata(key), { deadline: deadline() });
  for (const request of requests) opened.write(request);
  opened.end();
  for await (const response of opened) found.push(vectors(response)[0]);
  return found;
}

async function main() {
  const { models } = await call("Models", {});
  console.log("models", models[0].name, models[0].version, models[0].space);
  const embedded = await call("Embed", {
    items: [image("a picture of a cat"), text("cat"), image("no picture")],
  });
  const [error] = embedded.errors;
  console.log("embed", embedded.dim, numbers(vectors(embedded).slice(0, 3)), `${error.index}:${error.code}`);
  const answers = await stream(
    ["a picture of a cat", "a picture of a dog"].map((each) => ({ items: [image(each)] })),
  );
  console.log("stream", numbers(answers));
  const compared = await call("Similarity", {
    queries: [image("a picture of a cat")],
    candidates: [text("cat"), text("dog")],
  });
  console.log("similarity", numbers(compared.cosines));
  const { classifications } = await call("Classify", {
    items: [image("a picture of a dog"), image("a picture of a car")],
    labels: ["cat", "dog"],
  });
  console.log("classify", classifications.map((each) => each.label ?? "-").join(" "));
  const { results } = await call("Rerank", { query: text("cat"), documents: [text("dog"), text("cat")] });
  console.log("rerank", results.map((each) => each.index).join(" "));
  const refused = await call("Models", {}, "wrong").catch((caught) => caught);
  console.log("refused", refused.code);
  client.close();
}

main();
