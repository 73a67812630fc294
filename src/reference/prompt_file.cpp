#include "reference/prompt_file.h"

#include <memory>
#include <utility>

namespace assay {

PromptFile::PromptFile(Background& background, const std::filesystem::path& path,
                       Compression compression, Measure measure)
    : background_(background), npz_(path, compression), measure_(std::move(measure)) {}

void PromptFile::add(Array array) {
  const std::size_t place = npz_.reserve(array.view());
  ArrayRecord& record =
      records_.emplace_back(ArrayRecord{array.name, array.dtype, array.shape, {}, {}, {}});
  const std::size_t bytes = array.bytes.size();
  auto owner = std::make_shared<const Array>(std::move(array));
  background_.add(bytes, [this, place, &record, owner] {
    const ArrayView view = owner->view();
    if (measure_) measure_(view, record);
    npz_.put(place, view, owner);
  });
}

}  // namespace assay
