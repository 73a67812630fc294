#include "faults.h"

#include <dirent.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>

// Nothing here may allocate, nor depend on the C++ library's initialisation.
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);
}

namespace {

std::atomic<int> armed{kFaultNone};
std::atomic<long> calls{0};
std::atomic<long> fails_at{0};
std::atomic<long> live{0};
bool all_from_there = false;
int error_number = 0;

// Hashes of the stacks seen so far, and the calls that were the first with theirs.
constexpr std::size_t kStacks = 1 << 17;
std::uint64_t* stacks = nullptr;
long* firsts = nullptr;
std::size_t first_count = 0;
char report_path[4096];
thread_local bool is_inside = false;

constexpr int kErrors[kFaultKinds] = {0,      EIO,   EIO,    ENOSPC, EIO,  EACCES,
                                      ENOMEM, EROFS, ENOMEM, 0,      EINTR};

void remember_stack(long call) {
  if (stacks == nullptr || is_inside) return;
  is_inside = true;
  void* frames[14];
  const int count = backtrace(frames, 14);
  std::uint64_t hash = 1469598103934665603u;
  for (int i = 0; i < count; ++i) {
    hash = (hash ^ reinterpret_cast<std::uintptr_t>(frames[i])) * 1099511628211u;
  }
  std::size_t at = hash % kStacks;
  while (stacks[at] != 0 && stacks[at] != hash) at = (at + 1) % kStacks;
  if (stacks[at] == 0 && first_count < kStacks / 2) {
    stacks[at] = hash;
    firsts[first_count++] = call;
  }
  is_inside = false;
}

// libstdc++'s paths destroy what they did not construct when memory runs out, and simdjson chooses
// its implementation, once, in a noexcept function.
bool is_in_library_that_dies() {
  is_inside = true;
  void* frames[14];
  const int count = backtrace(frames, 14);
  bool dies = false;
  for (int i = 0; i < count && !dies; ++i) {
    Dl_info place{};
    if (dladdr(frames[i], &place) == 0) continue;
    dies = (place.dli_fname != nullptr && strstr(place.dli_fname, "libsimdjson") != nullptr) ||
           (place.dli_sname != nullptr && strstr(place.dli_sname, "10filesystem7__cxx114path"));
  }
  is_inside = false;
  return dies;
}

// Whether this call must fail; errno is set then.
bool fails(FaultKind kind) {
  if (armed.load(std::memory_order_relaxed) != kind || is_inside) return false;
  const long call = ++calls;
  if (kind == kFaultAlloc) remember_stack(call);
  const long at = fails_at.load(std::memory_order_relaxed);
  if (at == 0 || (all_from_there ? call < at : call != at)) return false;
  if (kind == kFaultAlloc && is_in_library_that_dies()) return false;
  errno = error_number != 0 ? error_number : kErrors[kind];
  return true;
}

bool fails_for_now() { return fails(kFaultInterrupted); }

// dlsym allocates, and finds nothing without memory.
template <class Function>
Function next(Function, const char* name) {
  const bool was_inside = is_inside;
  is_inside = true;
  void* found = dlsym(RTLD_NEXT, name);
  is_inside = was_inside;
  return reinterpret_cast<Function>(found);
}

#define NEXT(name) static const auto original = next(&name, #name)

void write_report() {
  armed = kFaultNone;
  FILE* file = fopen(report_path, "w");
  if (file == nullptr) return;
  fprintf(file, "%ld\n", calls.load());
  for (std::size_t i = 0; i < first_count; ++i) fprintf(file, "%ld\n", firsts[i]);
  fclose(file);
}

void arm_from_environment() {
  const char* fault = getenv("ASSAY_FAULT");
  if (fault == nullptr) return;
  // Child processes are not affected.
  unsetenv("LD_PRELOAD");
  static constexpr const char* kNames[kFaultKinds] = {"none",  "open",   "read",       "write",
                                                      "sync",  "rename", "map",        "mkdir",
                                                      "alloc", "short",  "interrupted"};
  const char* colon = strchr(fault, ':');
  if (colon == nullptr) return;
  for (int kind = 1; kind < kFaultKinds; ++kind) {
    const auto length = static_cast<std::size_t>(colon - fault);
    if (strlen(kNames[kind]) != length || strncmp(kNames[kind], fault, length) != 0) continue;
    char* end = nullptr;
    const long at = strtol(colon + 1, &end, 10);
    const bool more = *end == '+';
    if (more) ++end;
    const int error = *end == ':' ? static_cast<int>(strtol(end + 1, nullptr, 10)) : 0;
    const char* report = getenv("ASSAY_FAULT_REPORT");
    if (report != nullptr && strlen(report) < sizeof report_path) {
      strcpy(report_path, report);
      atexit(write_report);
      if (kind == kFaultAlloc) {
        void* frames[2];
        backtrace(frames, 2);  // the first call allocates
        stacks = static_cast<std::uint64_t*>(__libc_calloc(kStacks, sizeof *stacks));
        firsts = static_cast<long*>(__libc_calloc(kStacks, sizeof *firsts));
      }
    }
    faults_arm(static_cast<FaultKind>(kind), at, error, more);
  }
}

mode_t mode_of(int flags, va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

void* counted(void* block) {
  if (block != nullptr) ++live;
  return block;
}

}  // namespace

extern "C" {

// Exceptions from constructors before main() cannot be caught.
namespace {
int (*real_main)(int, char**, char**) = nullptr;
int armed_main(int argc, char** argv, char** environment) {
  arm_from_environment();
  return real_main(argc, argv, environment);
}
}  // namespace
int __libc_start_main(int (*main)(int, char**, char**), int argc, char** argv, void (*init)(),
                      void (*fini)(), void (*rtld_fini)(), void* stack_end) {
  NEXT(__libc_start_main);
  real_main = main;
  return original(armed_main, argc, argv, init, fini, rtld_fini, stack_end);
}

void faults_arm(FaultKind kind, long at, int error, bool more) {
  calls = 0;
  fails_at = at;
  error_number = error;
  all_from_there = more;
  armed = kind;
}

long faults_disarm() {
  armed = kFaultNone;
  return calls;
}

long faults_live_blocks() { return live; }

int open(const char* path, int flags, ...) {
  NEXT(open);
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return fails(kFaultOpen) ? -1 : original(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  NEXT(open64);
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return fails(kFaultOpen) ? -1 : original(path, flags, mode);
}
int openat(int directory, const char* path, int flags, ...) {
  NEXT(openat);
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return fails(kFaultOpen) ? -1 : original(directory, path, flags, mode);
}
FILE* fopen(const char* path, const char* mode) {
  NEXT(fopen);
  return fails(kFaultOpen) ? nullptr : original(path, mode);
}
FILE* fopen64(const char* path, const char* mode) {
  NEXT(fopen64);
  return fails(kFaultOpen) ? nullptr : original(path, mode);
}
DIR* opendir(const char* path) {
  NEXT(opendir);
  return fails(kFaultOpen) ? nullptr : original(path);
}
dirent* readdir(DIR* directory) {
  NEXT(readdir);
  return fails(kFaultRead) ? nullptr : original(directory);
}

ssize_t read(int fd, void* to, size_t size) {
  NEXT(read);
  if (fails(kFaultRead) || fails_for_now()) return -1;
  return original(fd, to, size > 1 && fails(kFaultShort) ? size / 2 : size);
}
ssize_t pread(int fd, void* to, size_t size, off_t at) {
  NEXT(pread);
  if (fails(kFaultRead) || fails_for_now()) return -1;
  return original(fd, to, size > 1 && fails(kFaultShort) ? size / 2 : size, at);
}
ssize_t pread64(int fd, void* to, size_t size, off64_t at) {
  NEXT(pread64);
  if (fails(kFaultRead) || fails_for_now()) return -1;
  return original(fd, to, size > 1 && fails(kFaultShort) ? size / 2 : size, at);
}
ssize_t write(int fd, const void* from, size_t size) {
  NEXT(write);
  if (fails(kFaultWrite) || fails_for_now()) return -1;
  return original(fd, from, size > 1 && fails(kFaultShort) ? size / 2 : size);
}
ssize_t pwrite(int fd, const void* from, size_t size, off_t at) {
  NEXT(pwrite);
  if (fails(kFaultWrite) || fails_for_now()) return -1;
  return original(fd, from, size > 1 && fails(kFaultShort) ? size / 2 : size, at);
}
ssize_t pwrite64(int fd, const void* from, size_t size, off64_t at) {
  NEXT(pwrite64);
  if (fails(kFaultWrite) || fails_for_now()) return -1;
  return original(fd, from, size > 1 && fails(kFaultShort) ? size / 2 : size, at);
}
ssize_t writev(int fd, const iovec* pieces, int count) {
  NEXT(writev);
  if (fails(kFaultWrite) || fails_for_now()) return -1;
  return original(fd, pieces, count > 1 && fails(kFaultShort) ? 1 : count);
}

int fsync(int fd) {
  NEXT(fsync);
  return fails(kFaultSync) ? -1 : original(fd);
}
int fdatasync(int fd) {
  NEXT(fdatasync);
  return fails(kFaultSync) ? -1 : original(fd);
}
int close(int fd) {
  NEXT(close);
  const int flags = fcntl(fd, F_GETFL);
  const bool was_written = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
  const bool wrong = was_written && fails(kFaultSync);
  const int error = errno;
  const int result = original(fd);
  if (!wrong) return result;
  errno = error;
  return -1;
}

int rename(const char* from, const char* to) {
  NEXT(rename);
  return fails(kFaultRename) ? -1 : original(from, to);
}
int renameat(int from_directory, const char* from, int to_directory, const char* to) {
  NEXT(renameat);
  return fails(kFaultRename) ? -1 : original(from_directory, from, to_directory, to);
}

void* mmap(void* address, size_t size, int protection, int flags, int fd, off_t at) {
  NEXT(mmap);
  return fd >= 0 && fails(kFaultMap) ? MAP_FAILED
                                     : original(address, size, protection, flags, fd, at);
}
void* mmap64(void* address, size_t size, int protection, int flags, int fd, off64_t at) {
  NEXT(mmap64);
  return fd >= 0 && fails(kFaultMap) ? MAP_FAILED
                                     : original(address, size, protection, flags, fd, at);
}
int ftruncate(int fd, off_t size) {
  NEXT(ftruncate);
  return fails(kFaultMap) ? -1 : original(fd, size);
}
int posix_fallocate(int fd, off_t at, off_t size) {
  NEXT(posix_fallocate);
  return fails(kFaultMap) ? ENOSPC : original(fd, at, size);
}
int mkdir(const char* path, mode_t mode) {
  NEXT(mkdir);
  return fails(kFaultMakeDir) ? -1 : original(path, mode);
}

// glibc ends the process if it cannot register a thread's object for destruction.
int __cxa_thread_atexit_impl(void (*destructor)(void*), void* object, void* library) {
  NEXT(__cxa_thread_atexit_impl);
  is_inside = true;
  const int result = original(destructor, object, library);
  is_inside = false;
  return result;
}

void* malloc(size_t size) { return fails(kFaultAlloc) ? nullptr : counted(__libc_malloc(size)); }
void* calloc(size_t count, size_t size) {
  return fails(kFaultAlloc) ? nullptr : counted(__libc_calloc(count, size));
}
void* realloc(void* block, size_t size) {
  if (fails(kFaultAlloc)) return nullptr;
  void* moved = __libc_realloc(block, size);
  if (block == nullptr) counted(moved);
  if (block != nullptr && size == 0) --live;
  return moved;
}
void* aligned_alloc(size_t alignment, size_t size) {
  return fails(kFaultAlloc) ? nullptr : counted(__libc_memalign(alignment, size));
}
void* memalign(size_t alignment, size_t size) {
  return fails(kFaultAlloc) ? nullptr : counted(__libc_memalign(alignment, size));
}
int posix_memalign(void** block, size_t alignment, size_t size) {
  if (fails(kFaultAlloc)) return ENOMEM;
  *block = counted(__libc_memalign(alignment, size));
  return *block == nullptr ? ENOMEM : 0;
}
void free(void* block) {
  if (block == nullptr) return;
  --live;
  __libc_free(block);
}

}  // extern "C"
