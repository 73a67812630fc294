#include "base/sha256.h"

#include <fmt/format.h>
#include <openssl/evp.h>
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
  Hash() : context_(EVP_MD_CTX_new()) {
    // Looked up once, because a lookup costs more than the hash of a small array.
    static EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    check(context_ != nullptr && sha256 != nullptr &&
          EVP_DigestInit_ex(context_.get(), sha256, nullptr) == 1);
  }
  void add(std::span<const std::byte> bytes) {
    check(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
  }
  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    check(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1);
    std::string text;
    for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
    return text;
  }

 private:
  static void check(bool fine) {
    if (!fine) throw out_of_memory_or_openssl();
  }
  // OpenSSL does not tell reliably which of the two it was.
  static Error out_of_memory_or_openssl() {
    return {ErrorKind::kSystem, "SHA-256", "OpenSSL failed",
            "enough memory, and an OpenSSL with SHA-256"};
  }
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
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
