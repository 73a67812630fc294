// Assay's engine as a process that peers.py gives orders, one per line of standard input, each
// answered by a line:
//
//   build/bench/engine MODEL THREADS
//
//   prefill N          seconds of a prompt of N tokens, logits of the last one
//   decode P N         seconds of N single tokens after a prompt of P
//   logits FILE P      writes the logits after a prompt of P as FP32; answers the largest one's id
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <sstream>

#include "bench/probes.h"
#include "model/executor.h"

namespace assay {
namespace {

constexpr std::size_t kPositions = 1024;

class Engine {
 public:
  Engine(const char* directory, int threads)
      : model_(load_model(directory)),
        pool_(threads),
        executor_(model_, pool_),
        sequence_(model_.program, kPositions) {
    // The same in every engine: see peers.py.
    for (std::int64_t i = 0; i < std::int64_t{kPositions}; ++i) {
      ids_.push_back(i * 7919 % model_.spec.vocab_size);
    }
  }

  // Tokens [begin, end) after those before them; the last one's logits.
  std::span<const float> run(std::size_t begin, std::size_t end) {
    if (begin == 0) sequence_.rewind(0);
    const Chunk<Bf16> chunk{std::span(ids_).subspan(begin, end - begin), &sequence_};
    return executor_.run({&chunk, 1});
  }

 private:
  Model model_;
  ThreadPool pool_;
  Executor<Bf16> executor_;
  SequenceState<Bf16> sequence_;
  std::vector<std::int64_t> ids_;
};

std::string answer(Engine& engine, const std::string& line) {
  std::istringstream order(line);
  std::string what, file;
  std::size_t prompt = 0, count = 0;
  order >> what;
  if (what == "prefill" && order >> prompt) {
    return fmt::format("{}", seconds([&] { engine.run(0, prompt); }));
  }
  if (what == "decode" && order >> prompt >> count) {
    engine.run(0, prompt);
    return fmt::format("{}", seconds([&] {
                         for (std::size_t i = 0; i < count; ++i) {
                           engine.run(prompt + i, prompt + i + 1);
                         }
                       }));
  }
  if (what == "logits" && order >> file >> prompt) {
    const std::span<const float> logits = engine.run(0, prompt);
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(logits.data()), std::ssize(logits) * 4);
    return fmt::format("{}", std::ranges::max_element(logits) - logits.begin());
  }
  return "unknown order";
}

}  // namespace
}  // namespace assay

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  assay::Engine engine(argv[1], std::stoi(argv[2]));
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << assay::answer(engine, line) << std::endl;
  }
}
