// A diagnosis for people and for programs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "assay/diagnose.h"

namespace assay {

std::string diagnose_text(const Diagnosis& diagnosis, bool color);
nlohmann::ordered_json diagnose_json(const Diagnosis& diagnosis);

// Which mistakes the prompts reveal. Those that no prompt reveals come last.
std::string power_text(std::span<const BlindSpot> spots, std::span<const Prompt> prompts,
                       bool color);
nlohmann::ordered_json power_json(std::span<const BlindSpot> spots,
                                  std::span<const Prompt> prompts);

// The catalog of mistakes, one line each.
std::string mistakes_text(std::span<const Mistake> mistakes);
nlohmann::ordered_json mistakes_json(std::span<const Mistake> mistakes);

}  // namespace assay
