// The values of llama.cpp's graph, for `assay compare`: a program, and a class to link.
//
//   c++ -std=c++17 -O2 -I llama.cpp/include -I llama.cpp/ggml/include llamacpp_dump.cpp
//       -L llama.cpp/build/bin -lllama -lggml -lggml-base -o llamacpp_dump   (in one line)
//   mkdir dump && ./llamacpp_dump model.gguf dump/prompt1 785 6722 315 9625 374
//   assay compare reference_data dump
//
// The numbers are the prompt's tokens (input_ids of the reference). It writes dump/prompt1.bin, the
// values, and dump/prompt1.json, which describes them. In your own program, compile it with
// -DASSAY_DUMP_NO_MAIN, make an AssayDump, and set before llama_init_from_model:
//
//   context_params.cb_eval = AssayDump::on_node;
//   context_params.cb_eval_user_data = &dump;
//   context_params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;  // to see probabilities
//
// and call dump.finish(tokens) after llama_decode.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "ggml-backend.h"
#include "ggml.h"
#include "llama.h"

class AssayDump {
 public:
  // Writes STEM.bin and STEM.json.
  explicit AssayDump(std::string stem) : stem_(std::move(stem)) {}

  // ggml_backend_sched_eval_callback, with the AssayDump as user_data. Records the first pass. The
  // last node of a name counts: Qcur is the product first, and rotated last.
  static bool on_node(ggml_tensor* node, bool ask, void* user_data) {
    auto& self = *static_cast<AssayDump*>(user_data);
    const std::string name = ggml_get_name(node);
    const char* dtype = dtype_of(node->type);
    // Views, reshapes and nodes without a name of the model's.
    const bool is_unnamed = name.empty() || name.rfind("node_", 0) == 0 ||
                            name.rfind("leaf_", 0) == 0 || name.find('(') != std::string::npos;
    if (is_unnamed || dtype == nullptr) return !ask;
    if (ask) {
      if (name == self.first_) self.done_ = true;  // a pass's first node comes once in it
      if (self.first_.empty()) self.first_ = name;
      return !self.done_;
    }
    self.arrays_[name] = {dtype, shape_of(node), values_of(node)};
    return true;
  }

  // tokens: what the pass ran. Returns whether both files were written.
  bool finish(const std::vector<llama_token>& tokens) {
    const auto* ids = reinterpret_cast<const char*>(tokens.data());
    arrays_["input_ids"] = {"I32",
                            {static_cast<int64_t>(tokens.size())},
                            {ids, ids + tokens.size() * sizeof(llama_token)}};
    const std::string bin = stem_ + ".bin";
    const std::string name = bin.substr(bin.find_last_of('/') + 1);
    std::string json = "{\"arrays\": [";
    std::FILE* file = std::fopen(bin.c_str(), "wb");
    if (file == nullptr) return false;
    bool good = true;
    uint64_t offset = 0;
    for (const auto& [array, value] : arrays_) {
      good = good &&
             std::fwrite(value.bytes.data(), 1, value.bytes.size(), file) == value.bytes.size();
      json += std::string(offset == 0 ? "" : ",") + "\n  {\"name\": " + quoted(array) +
              ", \"dtype\": \"" + value.dtype + "\", \"shape\": [";
      for (size_t i = 0; i < value.shape.size(); ++i) {
        json += (i == 0 ? "" : ", ") + std::to_string(value.shape[i]);
      }
      json += "], \"file\": " + quoted(name) + ", \"offset\": " + std::to_string(offset) + "}";
      offset += value.bytes.size();
    }
    good = std::fclose(file) == 0 && good;
    return good && write(stem_ + ".json", json + "\n]}\n");
  }

 private:
  struct Value {
    std::string dtype;
    std::vector<int64_t> shape;  // the slowest axis first
    std::vector<char> bytes;
  };

  static const char* dtype_of(ggml_type type) {
    switch (type) {
      case GGML_TYPE_F32:
        return "F32";
      case GGML_TYPE_F16:
        return "F16";
      case GGML_TYPE_BF16:
        return "BF16";
      case GGML_TYPE_I32:
        return "I32";
      default:
        return nullptr;
    }
  }

  static std::vector<int64_t> shape_of(const ggml_tensor* node) {
    return {node->ne[3], node->ne[2], node->ne[1], node->ne[0]};
  }

  // From whatever device it is on; in order, whatever its strides.
  static std::vector<char> values_of(const ggml_tensor* node) {
    std::vector<char> stored(ggml_nbytes(node));
    ggml_backend_tensor_get(node, stored.data(), 0, stored.size());
    if (ggml_is_contiguous(node)) return stored;
    const size_t item = ggml_type_size(node->type);
    std::vector<char> ordered;
    ordered.reserve(static_cast<size_t>(ggml_nelements(node)) * item);
    for (int64_t i3 = 0; i3 < node->ne[3]; ++i3) {
      for (int64_t i2 = 0; i2 < node->ne[2]; ++i2) {
        for (int64_t i1 = 0; i1 < node->ne[1]; ++i1) {
          for (int64_t i0 = 0; i0 < node->ne[0]; ++i0) {
            const char* at = stored.data() + i3 * node->nb[3] + i2 * node->nb[2] +
                             i1 * node->nb[1] + i0 * node->nb[0];
            ordered.insert(ordered.end(), at, at + item);
          }
        }
      }
    }
    return ordered;
  }

  static std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (const char c : text) {
      char escape[8];
      if (c == '"' || c == '\\') {
        result += std::string("\\") + c;
      } else if (static_cast<unsigned char>(c) < 0x20) {
        std::snprintf(escape, sizeof escape, "\\u%04x", c);
        result += escape;
      } else {
        result += c;
      }
    }
    return result + "\"";
  }

  static bool write(const std::string& path, const std::string& text) {
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (file == nullptr) return false;
    const bool good = std::fwrite(text.data(), 1, text.size(), file) == text.size();
    return std::fclose(file) == 0 && good;
  }

  std::string stem_;
  std::string first_;
  bool done_ = false;
  std::map<std::string, Value> arrays_;
};

#ifndef ASSAY_DUMP_NO_MAIN
int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s MODEL.gguf STEM TOKEN...\n", argv[0]);
    return 2;
  }
  std::vector<llama_token> tokens;
  for (int i = 3; i < argc; ++i) {
    char* end = nullptr;
    tokens.push_back(static_cast<llama_token>(std::strtol(argv[i], &end, 10)));
    if (end == argv[i] || *end != '\0') {
      std::fprintf(stderr, "'%s' is not a token's number\n", argv[i]);
      return 2;
    }
  }
  llama_log_set(
      [](ggml_log_level level, const char* text, void*) {
        if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
      },
      nullptr);
  llama_backend_init();
  llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (model == nullptr) return 3;

  AssayDump dump(argv[2]);
  const auto count = static_cast<int32_t>(tokens.size());
  llama_context_params params = llama_context_default_params();
  params.n_ctx = params.n_batch = params.n_ubatch = static_cast<uint32_t>(count);  // one pass
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  // Keys and values are kept in F16, and compare calls that coarse. To see whether all else is
  // FP32: params.type_k = params.type_v = GGML_TYPE_F32;
  params.cb_eval = AssayDump::on_node;
  params.cb_eval_user_data = &dump;
  llama_context* context = llama_init_from_model(model, params);
  if (context == nullptr) return 3;

  llama_batch batch = llama_batch_init(count, 0, 1);
  batch.n_tokens = count;
  for (int32_t i = 0; i < count; ++i) {
    batch.token[i] = tokens[static_cast<size_t>(i)];
    batch.pos[i] = i;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = 1;  // of every position
  }
  const int status = llama_decode(context, batch);
  llama_batch_free(batch);
  llama_free(context);
  llama_model_free(model);
  if (status != 0) {
    std::fprintf(stderr, "llama_decode returned %d\n", status);
    return 3;
  }
  if (!dump.finish(tokens)) {
    std::perror(argv[2]);
    return 4;
  }
  return 0;
}
#endif
