#include "candidate/known_maps.h"

#include <array>
#include <string_view>

#include "base/embed.h"

namespace assay {

std::string_view map_transformers();
std::string_view map_llama_cpp();
std::string_view map_candle();
std::string_view map_litgpt();
std::string_view map_torchtune();
std::string_view map_transformer_lens();
std::string_view map_keras_hub();
std::string_view map_mlx_lm();
std::string_view map_onnxruntime_genai();
std::string_view map_vllm();
std::string_view map_sglang();
std::string_view map_edge_llm();
std::string_view map_msprobe();

namespace {

struct Source {
  const char* name;
  std::string_view text;
};

const auto& sources() {
  static const std::array all = {
      Source{"transformers", map_transformers()},
      Source{"llama.cpp", map_llama_cpp()},
      Source{"candle", map_candle()},
      Source{"litgpt", map_litgpt()},
      Source{"torchtune", map_torchtune()},
      Source{"TransformerLens", map_transformer_lens()},
      Source{"keras-hub", map_keras_hub()},
      Source{"mlx-lm", map_mlx_lm()},
      Source{"onnxruntime-genai", map_onnxruntime_genai()},
      Source{"vLLM", map_vllm()},
      Source{"SGLang", map_sglang()},
      Source{"TensorRT-Edge-LLM", map_edge_llm()},
      Source{"msprobe", map_msprobe()},
  };
  return all;
}

}  // namespace

const std::vector<std::string>& known_map_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Source& source : sources()) all.emplace_back(source.name);
    return all;
  }();
  return names;
}

const std::vector<KnownMap>& known_maps() {
  static const std::vector<KnownMap> maps = [] {
    std::vector<KnownMap> all;
    for (const Source& source : sources()) {
      const std::string where = std::string("map ") + source.name;
      all.push_back({source.name, read_name_rules(parse_json(source.text, where), where)});
    }
    return all;
  }();
  return maps;
}

}  // namespace assay

ASSAY_EMBED(map_transformers, ASSAY_MAPS "/transformers.json")
ASSAY_EMBED(map_llama_cpp, ASSAY_MAPS "/llama.cpp.json")
ASSAY_EMBED(map_candle, ASSAY_MAPS "/candle.json")
ASSAY_EMBED(map_litgpt, ASSAY_MAPS "/litgpt.json")
ASSAY_EMBED(map_torchtune, ASSAY_MAPS "/torchtune.json")
ASSAY_EMBED(map_transformer_lens, ASSAY_MAPS "/TransformerLens.json")
ASSAY_EMBED(map_keras_hub, ASSAY_MAPS "/keras-hub.json")
ASSAY_EMBED(map_mlx_lm, ASSAY_MAPS "/mlx-lm.json")
ASSAY_EMBED(map_onnxruntime_genai, ASSAY_MAPS "/onnxruntime-genai.json")
ASSAY_EMBED(map_vllm, ASSAY_MAPS "/vLLM.json")
ASSAY_EMBED(map_sglang, ASSAY_MAPS "/SGLang.json")
ASSAY_EMBED(map_edge_llm, ASSAY_MAPS "/TensorRT-Edge-LLM.json")
ASSAY_EMBED(map_msprobe, ASSAY_MAPS "/msprobe.json")
