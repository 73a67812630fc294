// Extracts a reference, compares a wrong engine's dump with it, and finds out what is wrong,
// without the assay program.
//
//   ./cpp_api MODEL DIRECTORY     (DIRECTORY, where it writes, is created)
#include <assay/array.h>
#include <assay/check.h>
#include <assay/compare.h>
#include <assay/diagnose.h>
#include <assay/error.h>
#include <assay/extract.h>
#include <assay/npz.h>

#include <filesystem>
#include <iostream>
#include <vector>

namespace fs = std::filesystem;

namespace {

// Every intermediate of layer 0, as transformers computes it in BF16, and the oracle in double.
void extract_reference(const fs::path& model, const fs::path& reference) {
  assay::ExtractOptions options;
  options.model = model;
  options.out = reference;
  options.numerics = {assay::Numerics::kBf16, assay::Numerics::kF64};
  options.taps = {"layer_00_*"};
  options.max_new_tokens = 1;
  assay::extract(options, assay::prompts_from_texts({"The capital of France is"}));
}

// Stands for your engine: it gets as far as the first norm, and forgets it.
std::vector<assay::Array> run_engine(const fs::path& reference) {
  const assay::NpzReader right(reference / "prompt1/reference.npz");
  std::vector<assay::Array> arrays;
  for (const char* name : {"input_ids", "embedding_output", "layer_00_input_norm"}) {
    arrays.push_back(right.read(name));
  }
  arrays[2].bytes = arrays[1].bytes;
  return arrays;
}

void write_dump(const fs::path& file, const std::vector<assay::Array>& arrays) {
  std::vector<assay::ArrayView> views;
  for (const assay::Array& array : arrays) views.push_back(array.view());
  assay::write_npz(file, views);
}

// Prints where the dump first goes wrong.
void compare(const fs::path& reference, const fs::path& dump) {
  assay::CompareOptions options;
  options.reference = reference;
  options.candidate = dump;
  const assay::CompareReport report = assay::compare(options);
  std::cout << "compare: " << (report.passed ? "pass" : "fail") << '\n';
  for (const assay::PromptResult& prompt : report.prompts) {
    if (!prompt.first_divergence) continue;
    const assay::TensorResult& tensor = prompt.tensors[*prompt.first_divergence];
    std::cout << "  " << prompt.id << ": " << tensor.name << ": " << tensor.reason << '\n';
  }
}

// The same without a file: each tensor as it is computed.
void check(const fs::path& reference, const std::vector<assay::Array>& arrays) {
  assay::CheckerOptions options;
  options.reference = reference;
  assay::Checker checker(options);
  for (const assay::Array& array : arrays) {
    const assay::TensorResult result = checker.check(array.view());
    std::cout << "check: " << array.name << ": " << assay::verdict_name(result.verdict) << '\n';
  }
}

// Prints the mistake that explains the dump.
void diagnose(const fs::path& model, const fs::path& dump) {
  assay::DiagnoseOptions options;
  options.model = model;
  options.candidate = dump;
  const assay::Diagnosis diagnosis = assay::diagnose(options);
  std::cout << "diagnose: " << assay::verdict_name(diagnosis.verdict) << '\n';
  for (const assay::Finding& finding : diagnosis.findings) {
    std::cout << "  " << finding.mistake.id << ": " << finding.mistake.explanation << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: cpp_api MODEL DIRECTORY\n";
    return 2;
  }
  try {
    const fs::path model = argv[1];
    const fs::path reference = fs::path(argv[2]) / "reference";
    const fs::path dump = fs::path(argv[2]) / "dump.npz";
    extract_reference(model, reference);
    const std::vector<assay::Array> arrays = run_engine(reference);
    write_dump(dump, arrays);
    compare(reference, dump);
    check(reference, arrays);
    diagnose(model, dump);
  } catch (const assay::Error& error) {
    std::cerr << error.what() << '\n';
    return static_cast<int>(error.kind());
  }
  return 0;
}
