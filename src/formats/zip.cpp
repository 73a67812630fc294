#include "formats/zip.h"

#include <fmt/format.h>

#include <algorithm>
#include <concepts>
#include <set>

#include "assay/error.h"
#include "base/sizes.h"
#include "base/text.h"

namespace assay {
namespace {

constexpr std::uint32_t kLocalSignature = 0x04034B50;
constexpr std::uint32_t kCentralSignature = 0x02014B50;
constexpr std::uint32_t kEndSignature = 0x06054B50;
constexpr std::uint32_t kEnd64Signature = 0x06064B50;
constexpr std::uint32_t kLocator64Signature = 0x07064B50;
constexpr std::size_t kLocalSize = 30;
constexpr std::size_t kCentralSize = 46;
constexpr std::size_t kEndSize = 22;
constexpr std::size_t kEnd64Size = 56;
constexpr std::size_t kLocator64Size = 20;
constexpr std::uint16_t kZip64Extra = 1;

// What Python's zipfile writes.
constexpr std::uint64_t kZip64Limit = (std::uint64_t{1} << 31) - 1;
constexpr std::uint64_t kCountLimit = 65535;
constexpr std::uint16_t kVersion = 45;  // zip64
constexpr std::uint16_t kDate = 33;     // 1980-01-01
constexpr std::uint16_t kUtf8Flag = 0x800;
constexpr std::uint32_t kAttributes = 0600u << 16;

class Writer {
 public:
  template <std::unsigned_integral T>
  Writer& put(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      bytes_ += static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i) & 0xFF);
    }
    return *this;
  }
  Writer& put(std::string_view text) {
    bytes_ += text;
    return *this;
  }
  std::size_t size() const { return bytes_.size(); }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

std::uint16_t flags_of(std::string_view name) {
  const bool ascii = std::ranges::all_of(name, [](char c) { return (c & 0x80) == 0; });
  return ascii ? 0 : kUtf8Flag;
}

void put_central(Writer& out, const ZipMember& m) {
  std::vector<std::uint64_t> large;
  const bool large_size = m.size > kZip64Limit || m.compressed_size > kZip64Limit;
  const bool large_offset = m.header_offset > kZip64Limit;
  if (large_size) large.insert(large.end(), {m.size, m.compressed_size});
  if (large_offset) large.push_back(m.header_offset);
  const auto low = [](std::uint64_t value, bool is_large) {
    return is_large ? 0xFFFFFFFFu : static_cast<std::uint32_t>(value);
  };
  out.put(kCentralSignature)
      .put(static_cast<std::uint8_t>(kVersion))
      .put(std::uint8_t{3})  // Unix
      .put(kVersion)
      .put(flags_of(m.name))
      .put(static_cast<std::uint16_t>(m.method))
      .put(std::uint16_t{0})
      .put(kDate)
      .put(m.crc32)
      .put(low(m.compressed_size, large_size))
      .put(low(m.size, large_size))
      .put(static_cast<std::uint16_t>(m.name.size()))
      .put(static_cast<std::uint16_t>(large.empty() ? 0 : 4 + 8 * large.size()))
      .put(std::uint16_t{0})  // comment
      .put(std::uint16_t{0})  // disk
      .put(std::uint16_t{0})  // internal attributes
      .put(kAttributes)
      .put(low(m.header_offset, large_offset))
      .put(m.name);
  if (large.empty()) return;
  out.put(kZip64Extra).put(static_cast<std::uint16_t>(8 * large.size()));
  for (const std::uint64_t value : large) out.put(value);
}

// Little-endian fields at checked offsets.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view where) : bytes_(bytes), where_(where) {}

  template <class T>
  T get(std::uint64_t offset) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(T)) {
      throw input_error(where_, fmt::format("ends inside a zip record at byte {}", offset),
                        "a whole zip archive (is it cut short?)");
    }
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      value |= static_cast<std::uint64_t>(bytes_[offset + i]) << (8 * i);
    }
    return static_cast<T>(value);
  }
  std::uint16_t u16(std::uint64_t offset) const { return get<std::uint16_t>(offset); }
  std::uint32_t u32(std::uint64_t offset) const { return get<std::uint32_t>(offset); }
  std::uint64_t u64(std::uint64_t offset) const { return get<std::uint64_t>(offset); }
  std::uint64_t size() const { return bytes_.size(); }
  std::string_view where() const { return where_; }

  std::string text(std::uint64_t offset, std::size_t length) const {
    if (offset > bytes_.size() || bytes_.size() - offset < length) get<std::uint64_t>(size());
    return {reinterpret_cast<const char*>(bytes_.data()) + offset, length};
  }

  [[noreturn]] void fail(std::string_view found, std::string_view expected) const {
    throw input_error(where_, found, expected);
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view where_;
};

struct Directory {
  std::uint64_t count = 0;
  std::uint64_t size = 0;
  std::uint64_t offset = 0;
  std::uint64_t end_records = 0;  // where they begin
};

Directory find_directory(const Reader& file) {
  if (file.size() < kEndSize) {
    file.fail(fmt::format("{} bytes", file.size()), "a zip archive");
  }
  // The end record is last but for a comment of at most 65535 bytes. Some readers take the last
  // signature for it, whatever follows: a comment with another one in it is refused.
  const std::uint64_t lowest = file.size() - std::min<std::uint64_t>(file.size(), kEndSize + 65535);
  std::uint64_t end = file.size() - kEndSize;
  while (file.u32(end) != kEndSignature && end > lowest) --end;
  if (file.u32(end) != kEndSignature || end + kEndSize + file.u16(end + 20) != file.size()) {
    file.fail("no zip end record", "a zip archive (is it cut short, or none at all?)");
  }
  Directory directory{file.u16(end + 10), file.u32(end + 12), file.u32(end + 16), end};
  if (end >= kLocator64Size && file.u32(end - kLocator64Size) == kLocator64Signature) {
    const std::uint64_t locator = end - kLocator64Size;
    if (file.u32(locator + 4) != 0 || file.u32(locator + 16) > 1) {
      file.fail("a zip64 archive in several parts", "one in a single file");
    }
    // Some readers go by the offset, others take the bytes before the locator.
    const std::uint64_t end64 = file.u64(locator + 8);
    if (end64 > locator || locator - end64 != kEnd64Size || file.u32(end64) != kEnd64Signature) {
      file.fail(fmt::format("zip64 end record not at byte {}", end64),
                "one there, immediately followed by its locator");
    }
    directory = {file.u64(end64 + 32), file.u64(end64 + 40), file.u64(end64 + 48), end64};
  }
  if (!lies_within(directory.offset, directory.size, 1, end)) {
    file.fail(fmt::format("zip directory of {} bytes at byte {} in a file of {}", directory.size,
                          directory.offset, file.size()),
              "it to end inside the file");
  }
  return directory;
}

// Replaces the fields that say 0xFFFFFFFF by the zip64 extra field's.
void apply_zip64(const Reader& file, std::uint64_t extra, std::uint64_t extra_end, ZipMember& m) {
  while (extra + 4 <= extra_end) {
    const std::uint16_t id = file.u16(extra);
    const std::uint64_t end = extra + 4 + file.u16(extra + 2);
    if (end > extra_end)
      file.fail("an extra field that runs past '" + shown(m.name) + "'",
                "it to end inside its record");
    if (id == kZip64Extra) {
      std::uint64_t at = extra + 4;
      for (std::uint64_t* field : {&m.size, &m.compressed_size, &m.header_offset}) {
        if (*field != 0xFFFFFFFFu) continue;
        if (at + 8 > end)
          file.fail("zip64 field too short in '" + shown(m.name) + "'", "all its sizes");
        *field = file.u64(at);
        at += 8;
      }
    }
    extra = end;
  }
}

}  // namespace

std::string zip_local_header(const ZipMember& m) {
  Writer out;
  out.put(kLocalSignature)
      .put(kVersion)
      .put(flags_of(m.name))
      .put(static_cast<std::uint16_t>(m.method))
      .put(std::uint16_t{0})
      .put(kDate)
      .put(m.crc32)
      .put(0xFFFFFFFFu)
      .put(0xFFFFFFFFu)
      .put(static_cast<std::uint16_t>(m.name.size()))
      .put(std::uint16_t{20})
      .put(m.name)
      .put(kZip64Extra)
      .put(std::uint16_t{16})
      .put(m.size)
      .put(m.compressed_size);
  return out.take();
}

std::string zip_directory(std::span<const ZipMember> members, std::uint64_t offset) {
  Writer out;
  for (const ZipMember& member : members) put_central(out, member);
  const std::uint64_t size = out.size();
  const std::uint64_t count = members.size();
  if (count > kCountLimit || offset > kZip64Limit || size > kZip64Limit) {
    out.put(kEnd64Signature)
        .put(std::uint64_t{44})
        .put(kVersion)
        .put(kVersion)
        .put(std::uint32_t{0})
        .put(std::uint32_t{0})
        .put(count)
        .put(count)
        .put(size)
        .put(offset);
    out.put(kLocator64Signature).put(std::uint32_t{0}).put(offset + size).put(std::uint32_t{1});
  }
  out.put(kEndSignature)
      .put(std::uint16_t{0})
      .put(std::uint16_t{0})
      .put(static_cast<std::uint16_t>(std::min<std::uint64_t>(count, 0xFFFF)))
      .put(static_cast<std::uint16_t>(std::min<std::uint64_t>(count, 0xFFFF)))
      .put(static_cast<std::uint32_t>(std::min<std::uint64_t>(size, 0xFFFFFFFF)))
      .put(static_cast<std::uint32_t>(std::min<std::uint64_t>(offset, 0xFFFFFFFF)))
      .put(std::uint16_t{0});
  return out.take();
}

std::vector<ZipMember> read_zip_directory(std::span<const std::byte> bytes,
                                          std::string_view where) {
  const Reader file(bytes, where);
  const Directory directory = find_directory(file);
  const std::uint64_t end = directory.offset + directory.size;
  if (directory.count > directory.size / kCentralSize) {
    file.fail(fmt::format("{} members in a directory of {} bytes", directory.count, directory.size),
              "a directory long enough for them");
  }
  std::vector<ZipMember> members;
  std::set<std::string> names;
  std::uint64_t at = directory.offset;
  for (std::uint64_t i = 0; i < directory.count; ++i) {
    if (end - at < kCentralSize || file.u32(at) != kCentralSignature) {
      file.fail(fmt::format("no directory record at byte {}", at), "one for every member");
    }
    ZipMember m;
    const std::uint64_t name_at = at + kCentralSize;
    const std::uint64_t extra_at = name_at + file.u16(at + 28);
    const std::uint64_t comment_at = extra_at + file.u16(at + 30);
    const std::uint64_t next = comment_at + file.u16(at + 32);
    if (next > end) {
      file.fail("a directory record that runs past the directory",
                "it to end inside the directory");
    }
    m.name = file.text(name_at, extra_at - name_at);
    const std::string member = fmt::format("member '{}'", shown(m.name));
    // Where it ends for some readers.
    if (m.name.find('\0') != m.name.npos) file.fail(member + " has a 0 byte in its name", "none");
    if ((file.u16(at + 8) & 1u) != 0) file.fail(member + " is encrypted", "plain members");
    const std::uint16_t method = file.u16(at + 10);
    if (method != 0 && method != 8) {
      file.fail(fmt::format("{} has compression method {}", member, method),
                "stored (0) or deflated (8)");
    }
    m.method = static_cast<ZipMethod>(method);
    m.utf8 = (file.u16(at + 8) & kUtf8Flag) != 0;
    m.crc32 = file.u32(at + 16);
    m.compressed_size = file.u32(at + 20);
    m.size = file.u32(at + 24);
    m.header_offset = file.u32(at + 42);
    apply_zip64(file, extra_at, comment_at, m);
    if (!names.insert(m.name).second) file.fail("duplicate " + member, "every name once");
    members.push_back(std::move(m));
    at = next;
  }
  // Readers that walk the bytes and readers that count must see the same members.
  if (at != end) {
    file.fail(fmt::format("{} bytes after the directory's {} members", end - at, directory.count),
              "none");
  }
  // Some look for it where it is said to be, others before the end records.
  if (end != directory.end_records) {
    file.fail(fmt::format("{} bytes between the directory and the end records",
                          directory.end_records - end),
              "none");
  }

  // Overlapping members are how zip bombs are made.
  std::vector<const ZipMember*> by_offset;
  for (const ZipMember& m : members) by_offset.push_back(&m);
  std::ranges::sort(by_offset, {}, &ZipMember::header_offset);
  std::uint64_t used = 0;
  for (const ZipMember* m : by_offset) {
    const std::span<const std::byte> data = zip_member_data(bytes, *m, where);
    const auto data_end = static_cast<std::uint64_t>(data.data() + data.size() - bytes.data());
    if (m->header_offset < used || data_end > directory.offset) {
      file.fail(fmt::format("member '{}' overlaps what is before or after it", shown(m->name)),
                "members one after the other");
    }
    used = data_end;
  }
  return members;
}

std::span<const std::byte> zip_member_data(std::span<const std::byte> bytes, const ZipMember& m,
                                           std::string_view where) {
  const Reader file(bytes, where);
  const std::uint64_t at = m.header_offset;
  if (at > file.size() || file.size() - at < kLocalSize || file.u32(at) != kLocalSignature) {
    file.fail(fmt::format("member '{}': no local header at byte {}", shown(m.name), at),
              "one there");
  }
  const std::uint16_t name_size = file.u16(at + 26);
  // The same bytes in another encoding are another name.
  const bool utf8 = (file.u16(at + 6) & kUtf8Flag) != 0;
  const bool same = utf8 == m.utf8 || flags_of(m.name) == 0;
  if (!same || file.text(at + kLocalSize, name_size) != m.name) {
    file.fail(fmt::format("member '{}' has a different name in its local header", shown(m.name)),
              "the same");
  }
  const std::uint64_t data = at + kLocalSize + name_size + file.u16(at + 28);
  if (data > file.size() || file.size() - data < m.compressed_size) {
    file.fail(
        fmt::format("member '{}' of {} bytes runs past the end", shown(m.name), m.compressed_size),
        "it to end inside the file (is it cut short?)");
  }
  return bytes.subspan(data, m.compressed_size);
}

}  // namespace assay
