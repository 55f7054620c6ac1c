// A client in C++, from embedder.proto alone: client HOST:PORT KEY
// prints a line for each call of the service.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "gateway/rpc/embedder.grpc.pb.h"

namespace v1 = babelclip::v1;

// Of one call: the key, and the time until which the caller waits.
struct Call : grpc::ClientContext {
  explicit Call(const std::string& key) {
    AddMetadata("authorization", "Bearer " + key);
    set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
  }
};

static void require(const grpc::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.error_message().c_str());
  std::exit(1);
}

static std::vector<float> vectors(const v1::EmbedItemsResponse& response) {
  std::vector<float> values(response.vectors().size() / sizeof(float));
  std::memcpy(values.data(), response.vectors().data(), response.vectors().size());
  return values;
}

int main(int, char** arguments) {
  const std::string key = arguments[2];
  auto stub = v1::Embedder::NewStub(grpc::CreateChannel(arguments[1], grpc::InsecureChannelCredentials()));
  {
    Call call(key);
    v1::ModelsResponse response;
    require(stub->Models(&call, v1::ModelsRequest(), &response));
    const auto& model = response.models(0);
    std::printf("models %s %s %s\n", model.name().c_str(), model.version().c_str(), model.space().c_str());
  }
  {
    Call call(key);
    v1::EmbedItemsRequest request;
    request.add_items()->set_image("a picture of a cat");
    request.add_items()->set_text("cat");
    request.add_items()->set_image("no picture");
    v1::EmbedItemsResponse response;
    require(stub->Embed(&call, request, &response));
    const auto values = vectors(response);
    const auto& error = response.errors(0);
    std::printf("embed %u %.3f %.3f %.3f %u:%s\n", response.dim(), values[0], values[1], values[2], error.index(),
                error.code().c_str());
  }
  {
    Call call(key);
    auto stream = stub->EmbedStream(&call);
    for (const char* each : {"a picture of a cat", "a picture of a dog"}) {
      v1::EmbedItemsRequest request;
      request.add_items()->set_image(each);
      stream->Write(request);
    }
    stream->WritesDone();
    std::printf("stream");
    v1::EmbedItemsResponse response;
    while (stream->Read(&response)) std::printf(" %.3f", vectors(response)[0]);
    std::printf("\n");
    require(stream->Finish());
  }
  {
    Call call(key);
    v1::SimilarityRequest request;
    request.add_queries()->set_image("a picture of a cat");
    request.add_candidates()->set_text("cat");
    request.add_candidates()->set_text("dog");
    v1::SimilarityResponse response;
    require(stub->Similarity(&call, request, &response));
    std::printf("similarity %.3f %.3f\n", response.cosines(0), response.cosines(1));
  }
  {
    Call call(key);
    v1::ClassifyRequest request;
    request.add_items()->set_image("a picture of a dog");
    request.add_items()->set_image("a picture of a car");
    request.add_labels("cat");
    request.add_labels("dog");
    v1::ClassifyResponse response;
    require(stub->Classify(&call, request, &response));
    std::printf("classify");
    for (const auto& each : response.classifications()) {
      std::printf(" %s", each.has_label() ? each.label().c_str() : "-");
    }
    std::printf("\n");
  }
  {
    Call call(key);
    v1::RerankRequest request;
    request.mutable_query()->set_text("cat");
    request.add_documents()->set_text("dog");
    request.add_documents()->set_text("cat");
    v1::RerankResponse response;
    require(stub->Rerank(&call, request, &response));
    std::printf("rerank");
    for (const auto& each : response.results()) std::printf(" %u", each.index());
    std::printf("\n");
  }
  Call call("wrong");
  v1::ModelsResponse response;
  std::printf("refused %d\n", stub->Models(&call, v1::ModelsRequest(), &response).error_code());
}
