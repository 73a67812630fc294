// Any bytes as a file that names other files: a sidecar of raw dumps, the index of a checkpoint's
// shards, or the index of an msprobe dump. The first byte says which.
#include "assay/npz.h"
#include "formats/array_file.h"
#include "formats/safetensors.h"
#include "target.h"

namespace assay {
namespace {

void load_all(const ArrayFile& file) {
  for (const std::string& name : file.names()) {
    const ArrayForm form = file.form_of(name);
    const LoadedArray array = file.load(name);
    require(array.view.shape == form.shape && array.view.dtype == form.dtype,
            "form_of says what load gives");
    const auto count = static_cast<std::size_t>(element_count(form.shape, name));
    require(array.view.bytes.size() == count * dtype_size(form.dtype), "as many bytes as elements");
  }
}

// Files that the index lists need not be there.
void load_readable(const ArrayFile& file) {
  for (const std::string& name : file.names()) {
    accepts([&] {
      const ArrayForm form = file.form_of(name);
      require(file.load(name).view.shape == form.shape, "form_of says what load gives");
    });
  }
}

bool make_files() {
  std::filesystem::create_directory(scratch() / "dump_tensor_data");
  const std::vector<std::byte> six(24);
  write_npy(scratch() / "dump_tensor_data/a.npy", {"a", DType::kF32, {2, 3}, six});
  std::string raw(300, 'x');
  for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = static_cast<char>(i);
  scratch_file("raw.bin", bytes_of(raw));
  for (const char* name : {"a.safetensors", "b.safetensors"}) {
    const TensorInfo tensor{std::string(1, name[0]), DType::kF32, {2, 3}};
    write_safetensors(scratch() / name, {&tensor, 1}, [](const TensorInfo&, ByteSink& sink) {
      sink.write(std::vector<std::byte>(24));
    });
  }
  return true;
}

}  // namespace

FUZZ_TARGET(sidecar) {
  static const bool made = make_files();
  require(made, "files");
  Choices choices(input);
  const unsigned kind = choices.byte() % 4;
  if (kind == 2) {
    scratch_file("dump.json", choices.rest());
    accepts([&] { load_readable(ArrayFile(scratch() / "dump.json")); });
    std::filesystem::remove(scratch() / "dump.json");
  } else if (kind % 2 == 1) {
    scratch_file("model.safetensors.index.json", choices.rest());
    accepts([&] { load_all(ArrayFile(scratch().path())); });
  } else {
    const auto file = scratch_file("s.json", choices.rest());
    accepts([&] { load_all(ArrayFile(file)); });
  }
}

}  // namespace assay
