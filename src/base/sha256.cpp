// OpenSSL advises against these functions in favour of EVP. But they need no memory and cannot
// fail, and a statically linked program gets SHA-256 with them, where EVP brings all of OpenSSL's
// algorithms.
#define OPENSSL_SUPPRESS_DEPRECATED

#include "base/sha256.h"

#include <fmt/format.h>
#include <openssl/sha.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "assay/error.h"
#include "base/file_reader.h"
#include "base/mapped_file.h"

namespace assay {
namespace {

class Hash {
 public:
  Hash() { SHA256_Init(&context_); }
  void add(std::span<const std::byte> bytes) {
    SHA256_Update(&context_, bytes.data(), bytes.size());
  }
  std::string hex() {
    std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
    SHA256_Final(digest.data(), &context_);
    std::string text;
    for (const unsigned char byte : digest) text += fmt::format("{:02x}", byte);
    return text;
  }

 private:
  SHA256_CTX context_;
};

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

std::string sha256_hex(std::span<const std::byte> bytes) {
  Hash hash;
  hash.add(bytes);
  return hash.hex();
}

std::string sha256_file(const std::filesystem::path& path, bool let_go) {
  // Read, not mapped: a second mapping of the weights would count twice as resident memory.
  const int fd = open_regular(path);
  const std::unique_ptr<std::FILE, Close> file(::fdopen(fd, "rb"));
  if (!file) {
    ::close(fd);
    throw std::bad_alloc();
  }
  Hash hash;
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  std::uint64_t done = 0;
  for (;;) {
    const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), file.get());
    if (n == 0) break;
    hash.add(std::span(buffer).first(n));
    done += n;
    if (let_go) forget_cached(::fileno(file.get()), done - n, n);
  }
  if (std::ferror(file.get()) != 0) {
    throw input_error(path.string(), std::string("cannot read: ") + std::strerror(errno),
                      "a readable file");
  }
  return hash.hex();
}

}  // namespace assay
