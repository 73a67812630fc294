#include "candidate/known_maps.h"

#include <string_view>
#include <utility>

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

const std::vector<KnownMap>& known_maps() {
  static const std::vector<KnownMap> maps = [] {
    const std::pair<const char*, std::string_view> files[] = {
        {"transformers", map_transformers()},
        {"llama.cpp", map_llama_cpp()},
        {"candle", map_candle()},
        {"litgpt", map_litgpt()},
        {"torchtune", map_torchtune()},
        {"TransformerLens", map_transformer_lens()},
        {"keras-hub", map_keras_hub()},
        {"mlx-lm", map_mlx_lm()},
        {"onnxruntime-genai", map_onnxruntime_genai()},
        {"vLLM", map_vllm()},
        {"SGLang", map_sglang()},
    };
    std::vector<KnownMap> all;
    for (const auto& [name, text] : files) {
      const std::string where = std::string("map ") + name;
      all.push_back({name, read_name_rules(parse_json(text, where), where)});
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
