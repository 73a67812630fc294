#include "base/memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/temporary_directory.h"

namespace assay {
namespace {

// Files under the root directory of some machine.
class Root {
 public:
  void add(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = directory_ / path;
    std::filesystem::create_directories(file.parent_path());
    write_text(file, text);
  }
  std::uint64_t usable() const { return usable_memory(directory_.path()); }

 private:
  TemporaryDirectory directory_;
};

TEST(UsableMemory, IsTheMachinesWithoutCgroups) {
  const std::uint64_t machine = Root().usable();
  EXPECT_GT(machine, 100u << 20);
  EXPECT_LE(usable_memory(), machine);
}

TEST(UsableMemory, IsTheLeastLimitOfTheGroupsAbove) {
  const Root root;
  root.add("proc/self/cgroup", "0::/user.slice/a.scope\n");
  root.add("sys/fs/cgroup/user.slice/a.scope/memory.max", "max\n");
  EXPECT_EQ(root.usable(), Root().usable());
  root.add("sys/fs/cgroup/user.slice/memory.max", "50000000\n");
  EXPECT_EQ(root.usable(), 50000000u);
  root.add("sys/fs/cgroup/user.slice/a.scope/memory.max", "40000000\n");
  EXPECT_EQ(root.usable(), 40000000u);
}

TEST(UsableMemory, KnowsTheFirstVersionOfCgroups) {
  const Root root;
  root.add("proc/self/cgroup", "5:cpu,cpuacct:/b\n4:memory:/a/b\n0::/\n");
  root.add("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(root.usable(), Root().usable());
  root.add("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "30000000\n");
  EXPECT_EQ(root.usable(), 30000000u);
}

// /proc shows a path of the host, /sys/fs/cgroup the container's own group.
TEST(UsableMemory, FindsTheLimitOfAContainer) {
  const Root root;
  root.add("proc/self/cgroup", "no colon\n0::/docker/0123\n");
  root.add("sys/fs/cgroup/memory.max", "20000000\n");
  EXPECT_EQ(root.usable(), 20000000u);
}

}  // namespace
}  // namespace assay
