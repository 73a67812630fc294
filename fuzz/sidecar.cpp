// Any bytes as a file that names other files: a sidecar of raw dumps, or the index of a
// checkpoint's shards. The first byte says which.
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

bool make_files() {
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
  if (choices.flag()) {
    scratch_file("model.safetensors.index.json", choices.rest());
    accepts([&] { load_all(ArrayFile(scratch().path())); });
  } else {
    const auto file = scratch_file("s.json", choices.rest());
    accepts([&] { load_all(ArrayFile(file)); });
  }
}

}  // namespace assay
