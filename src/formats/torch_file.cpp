#include "formats/torch_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "assay/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "formats/array_room.h"
#include "formats/pickle.h"
#include "formats/torch_objects.h"
#include "formats/zip.h"

namespace assay {
namespace {

// A pickle's values take some seventy times its bytes.
constexpr std::uint64_t kMaxPickle = std::uint64_t{64} << 20;
// Broadcast tensors (stride 0) can claim any size: copies are this long, or this many times as long
// as the file, at most.
constexpr std::uint64_t kMaxCopy = std::uint64_t{1} << 28;
constexpr std::string_view kZipMagic = "PK\x03\x04";
// The integer that an old file begins with, after the opcodes PROTO 2 and LONG1 of 10 bytes.
constexpr std::string_view kLegacyMagic("\x80\x02\x8A\x0A\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19.",
                                        15);
constexpr std::int64_t kLegacyVersion = 1001;

bool begins_with(std::span<const std::byte> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() &&
         std::ranges::equal(bytes.first(magic.size()), std::as_bytes(std::span(magic)));
}

// One past the last element that the tensor uses, counted from the start of its storage; none when
// that exceeds 63 bits.
std::optional<std::uint64_t> reach(const TorchFile::Tensor& tensor) {
  std::optional<std::int64_t> last = tensor.offset;
  for (std::size_t a = 0; a < tensor.shape.size(); ++a) {
    if (tensor.shape[a] == 0) return 0;
    const auto steps = product_of(tensor.shape[a] - 1, tensor.strides[a]);
    last = steps ? sum_of(*last, *steps) : std::nullopt;
    if (!last) return std::nullopt;
  }
  const auto end = sum_of<std::int64_t>(*last, 1);
  return end ? std::optional(static_cast<std::uint64_t>(*end)) : std::nullopt;
}

bool is_contiguous(const TorchFile::Tensor& tensor) {
  std::int64_t stride = 1;
  for (std::size_t a = tensor.shape.size(); a-- > 0;) {
    if (tensor.shape[a] != 1 && tensor.strides[a] != stride) return false;
    stride *= tensor.shape[a];
  }
  return true;
}

// Copies strided elements of `item` bytes in C order, axis by axis.
class Gather {
 public:
  Gather(const TorchFile::Tensor& tensor, std::span<const std::byte> source, std::size_t item)
      : tensor_(tensor), source_(source), item_(item) {}

  void copy(std::vector<std::byte>& out) {
    out_ = out.data();
    axis(0, static_cast<std::size_t>(tensor_.offset) * item_);
  }

 private:
  void axis(std::size_t a, std::size_t at) {
    const std::size_t step = static_cast<std::size_t>(tensor_.strides[a]) * item_;
    const bool is_last = a + 1 == tensor_.shape.size();
    for (std::int64_t i = 0; i < tensor_.shape[a]; ++i, at += step) {
      if (!is_last) {
        axis(a + 1, at);
        continue;
      }
      std::memcpy(out_, &source_[at], item_);
      out_ += item_;
    }
  }

  const TorchFile::Tensor& tensor_;
  std::span<const std::byte> source_;
  std::size_t item_;
  std::byte* out_ = nullptr;
};

}  // namespace

std::uint64_t TorchFile::Tensor::byte_count() const {
  std::optional<std::int64_t> count = static_cast<std::int64_t>(dtype_size(dtype));
  for (const std::int64_t axis : shape) {
    count = product_of(*count, axis);
    if (!count) return 0;
  }
  return static_cast<std::uint64_t>(*count);
}

TorchFile::TorchFile(const std::filesystem::path& path) : file_(path) {
  if (begins_with(file_.bytes(), kZipMagic)) {
    read_archive();
  } else if (begins_with(file_.bytes(), kLegacyMagic)) {
    read_legacy();
  } else {
    throw input_error(path.string(), "not a file that torch.save wrote",
                      "one (a zip archive with data.pkl, or the older format of pickles); a pickle "
                      "of another kind is not read: save tensors with torch.save");
  }
}

std::string TorchFile::where(const std::string& name) const {
  return name.empty() ? file_.path().string()
                      : fmt::format("{}: tensor '{}'", file_.path().string(), shown(name));
}

void TorchFile::read_archive() {
  const std::string path = file_.path().string();
  const std::vector<ZipMember> members = read_zip_directory(file_.bytes(), path);
  constexpr std::string_view kPickle = "/data.pkl";
  const auto pickle_member = std::ranges::find_if(members, [&](const ZipMember& m) {
    return m.name.ends_with(kPickle) && m.name.find('/') == m.name.size() - kPickle.size();
  });
  if (pickle_member == members.end()) {
    throw input_error(path, "a zip archive without data.pkl", "what torch.save writes");
  }
  const std::string root =
      pickle_member->name.substr(0, pickle_member->name.size() - kPickle.size() + 1);
  const auto bytes_of = [&](const ZipMember& member) {
    if (member.method != ZipMethod::kStored || member.size != member.compressed_size) {
      throw input_error(fmt::format("{}: member '{}'", path, shown(member.name)), "compressed",
                        "stored, as torch.save does");
    }
    // torch can be configured to omit checksums, so they are not checked.
    return zip_member_data(file_.bytes(), member, path);
  };
  const std::string data = root + "data/";
  for (const ZipMember& member : members) {
    if (member.name.starts_with(data)) {
      storages_.emplace(member.name.substr(data.size()), bytes_of(member));
    } else if (member.name == root + "constants.pkl") {
      throw input_error(path, "a TorchScript program",
                        "tensors: save module.state_dict(), or a dict of tensors");
    } else if (member.name == root + "byteorder") {
      const std::span<const std::byte> order = bytes_of(member);
      if (!begins_with(order, "little")) {
        throw input_error(path, "big-endian values", "little-endian ones");
      }
    }
  }
  if (pickle_member->size > kMaxPickle) {
    throw input_error(path, fmt::format("data.pkl of {} bytes", pickle_member->size),
                      fmt::format("at most {}", kMaxPickle));
  }
  const Pickle pickle(bytes_of(*pickle_member), path, is_torch_name);
  TorchObjects objects = torch_objects(pickle, path);
  tensors_ = std::move(objects.tensors);
  is_dict_ = objects.is_dict;
}

void TorchFile::read_legacy() {
  const std::string path = file_.path().string();
  std::span<const std::byte> rest = file_.bytes();
  const auto next = [&] {
    Pickle pickle(rest.first(std::min<std::size_t>(rest.size(), kMaxPickle)), path, is_torch_name);
    rest = rest.subspan(pickle.size());
    return pickle;
  };
  next();  // the magic number
  if (const Pickle version = next(); version.root().integer != kLegacyVersion) {
    throw input_error(path, fmt::format("version {} of the format", version.root().integer),
                      fmt::format("{}", kLegacyVersion));
  }
  const Pickle system = next();
  for (std::size_t i = 0; i + 1 < system.root().items.size(); i += 2) {
    if (system.at(system.root().items[i]).text != "little_endian") continue;
    if (system.at(system.root().items[i + 1]).integer == 1) continue;
    throw input_error(path, "big-endian values", "little-endian ones");
  }
  const Pickle pickle = next();
  TorchObjects objects = torch_objects(pickle, path);
  tensors_ = std::move(objects.tensors);
  is_dict_ = objects.is_dict;

  std::map<std::string, std::size_t, std::less<>> items;
  for (const Tensor& tensor : tensors_) items[tensor.storage.key] = tensor.storage.item;
  const Pickle keys = next();
  for (const Pickle::Index index : keys.root().items) {
    const std::string& key = keys.at(index).text;
    std::uint64_t elements = 0;
    if (rest.size() < sizeof(elements)) {
      throw input_error(path, "it ends before its storages", "a whole file (is it cut short?)");
    }
    std::memcpy(&elements, rest.data(), sizeof(elements));
    rest = rest.subspan(sizeof(elements));
    // The size of a storage that no tensor uses is unknown, so nothing after it can be found.
    const auto item = items.find(key);
    if (item == items.end() || elements > rest.size() / item->second) {
      throw input_error(path, fmt::format("storage '{}' of {} elements", shown(key), elements),
                        fmt::format("one of the {} bytes that are left", rest.size()));
    }
    storages_.emplace(key, rest.first(elements * item->second));
    rest = rest.subspan(elements * item->second);
  }
}

ArrayForm TorchFile::form_of(const Tensor& tensor, const std::string& name) const {
  if (!tensor.found.empty()) throw input_error(where(name), tensor.found, tensor.expected);
  return {tensor.dtype, tensor.shape};
}

LoadedArray TorchFile::load(const Tensor& tensor, const std::string& name) const {
  const std::string tensor_where = where(name);
  if (!tensor.found.empty()) throw input_error(tensor_where, tensor.found, tensor.expected);
  const auto storage = storages_.find(tensor.storage.key);
  if (storage == storages_.end()) {
    throw input_error(tensor_where, fmt::format("no storage '{}'", shown(tensor.storage.key)),
                      "the storage that it names");
  }
  // A storage whose type differs from the tensor's counts its own elements.
  const std::size_t item = dtype_size(tensor.dtype);
  const std::span<const std::byte> bytes = storage->second;
  if (tensor.storage.elements > bytes.size() / tensor.storage.item) {
    throw input_error(
        tensor_where, fmt::format("a storage of {} bytes", bytes.size()),
        fmt::format("{} elements of {}", tensor.storage.elements, tensor.storage.item));
  }
  const std::uint64_t elements = tensor.storage.elements * tensor.storage.item / item;
  const auto count = static_cast<std::uint64_t>(element_count(tensor.shape, tensor_where));
  const std::optional<std::uint64_t> end = reach(tensor);
  if (!end || *end > elements) {
    throw input_error(tensor_where,
                      fmt::format("shape {}, strides {}, offset {}", shape_text(tensor.shape),
                                  shape_text(tensor.strides), tensor.offset),
                      fmt::format("a place within its storage of {} elements", elements));
  }
  LoadedArray loaded;
  loaded.view = {name, tensor.dtype, tensor.shape, {}, false};
  if (count == 0) return loaded;
  if (is_contiguous(tensor)) {
    loaded.view.bytes = bytes.subspan(static_cast<std::size_t>(tensor.offset) * item, count * item);
    loaded.view.mapped = true;
    return loaded;
  }
  const std::uint64_t most = std::max<std::uint64_t>(kMaxCopy, kMostTimes * file_.bytes().size());
  if (count > most / item) {
    throw input_error(
        tensor_where,
        fmt::format("shape {} out of {} elements", shape_text(tensor.shape), elements),
        fmt::format("at most {} bytes from a tensor that is expanded or transposed: "
                    "save tensor.contiguous()",
                    kMaxCopy));
  }
  loaded.owned.resize(count * item);
  Gather(tensor, bytes, item).copy(loaded.owned);
  loaded.view.bytes = loaded.owned;
  return loaded;
}

}  // namespace assay
