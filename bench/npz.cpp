// Reads an .npz, writes its arrays again and prints how many seconds the writing took: for npz.py.
//
//   build/bench/npz IN OUT THREADS
#include "assay/npz.h"

#include <fmt/format.h>

#include <cstdlib>

#include "bench/probes.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const assay::NpzReader reader(argv[1]);
  std::vector<assay::Array> arrays;
  for (const std::string& name : reader.names()) arrays.push_back(reader.read(name));
  std::vector<assay::ArrayView> views;
  for (const assay::Array& array : arrays) views.push_back(array.view());
  const int threads = std::atoi(argv[3]);
  fmt::print("{}\n", assay::seconds([&] {
               assay::write_npz(argv[2], views, assay::Compression::kFast, threads);
             }));
}
