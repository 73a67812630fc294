// Python's pickle format as data (protocols 0 to 5; Lib/pickletools.py is the reference).
//
// A pickle is a program for a stack machine that may name any Python function and call it. This
// reader never calls anything: it keeps a call as a name with its arguments, and refuses every name
// that is not on its list.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace assay {

class Pickle {
 public:
  enum class Kind : std::uint8_t {
    kNone,
    kBool,        // integer
    kInt,         // integer
    kFloat,       // the number is not kept, because nothing needs it
    kText,        // text, UTF-8 or whatever the file has
    kBytes,       // text; also integers of more than 64 bits, as in the file
    kTuple,       // items
    kList,        // items
    kSet,         // items
    kDict,        // items: key, value, key, value, ...
    kName,        // text: "module.name"
    kCall,        // items: what is called, its arguments (a tuple)
    kPersistent,  // items: what the writer put in place of an object
  };
  using Index = std::uint32_t;
  struct Value {
    Kind kind = Kind::kNone;
    std::int64_t integer = 0;
    std::string text = {};
    std::vector<Index> items = {};  // may lead back to where they came from
  };

  // Reads the one pickle that `bytes` begins with. is_allowed is asked for each "module.name".
  // `where` names the file in errors. Throws an input error.
  Pickle(std::span<const std::byte> bytes, std::string_view where,
         const std::function<bool(std::string_view)>& is_allowed);

  const Value& root() const { return values_[root_]; }
  Index root_index() const { return root_; }
  const Value& at(Index index) const { return values_[index]; }
  // The pickle's length in bytes.
  std::size_t size() const { return size_; }

 private:
  friend class Unpickler;
  std::vector<Value> values_;
  Index root_ = 0;
  std::size_t size_ = 0;
};

}  // namespace assay
