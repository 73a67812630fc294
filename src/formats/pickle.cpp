#include "formats/pickle.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "assay/error.h"
#include "base/text.h"
#include "formats/pickle_opcodes.h"

namespace assay {
namespace {

constexpr int kHighestProtocol = 5;

}  // namespace

// The stack machine. Every opcode makes at most one value, so memory stays proportional to the
// file's size.
class Unpickler {
 public:
  Unpickler(Pickle& out, std::span<const std::byte> bytes, std::string_view where,
            const std::function<bool(std::string_view)>& is_allowed)
      : out_(out), bytes_(bytes), where_(where), is_allowed_(is_allowed) {}

  void run() {
    while (step()) {
    }
    out_.size_ = at_;
  }

 private:
  using Kind = Pickle::Kind;
  using Index = Pickle::Index;

  [[noreturn]] void fail(std::string_view found, std::string_view expected) const {
    throw input_error(fmt::format("{}: pickle, byte {}", where_, opcode_at_), found, expected);
  }

  std::string_view take(std::uint64_t count) {
    if (count > bytes_.size() - at_) {
      fail(fmt::format("{} bytes wanted, {} left", count, bytes_.size() - at_),
           "a whole pickle (is the file cut short?)");
    }
    const auto* text = reinterpret_cast<const char*>(bytes_.data()) + at_;
    at_ += count;
    return {text, count};
  }
  template <class T>
  T number() {
    std::uint64_t value = 0;
    const std::string_view raw = take(sizeof(T));
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      value |= static_cast<std::uint64_t>(static_cast<unsigned char>(raw[i])) << (8 * i);
    }
    return static_cast<T>(value);
  }
  // The rest of the line, without its newline.
  std::string_view line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + at_,
                                bytes_.size() - at_);
    const std::size_t end = rest.find('\n');
    if (end == rest.npos) fail("a line without an end", "a whole pickle (is the file cut short?)");
    at_ += end + 1;
    return rest.substr(0, end);
  }
  std::int64_t decimal(std::string_view text) const {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
      fail(fmt::format("'{}'", shown(text)), "a number of at most 64 bits");
    }
    return value;
  }

  void push(Index index) { stack_.push_back(index); }
  void push(Pickle::Value value) {
    if (out_.values_.size() >= UINT32_MAX) fail("more than 2^32 values", "fewer");
    out_.values_.push_back(std::move(value));
    push(static_cast<Index>(out_.values_.size() - 1));
  }
  void push(Kind kind) { push({.kind = kind}); }
  void push_integer(std::int64_t value) { push({.kind = Kind::kInt, .integer = value}); }
  void push_text(Kind kind, std::string_view text) {
    push({.kind = kind, .text = std::string(text)});
  }
  // Integers of more than 64 bits keep their bytes.
  void push_long(std::string_view raw) {
    if (raw.size() > 8) return push_text(Kind::kBytes, raw);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < raw.size(); ++i) {
      value |= static_cast<std::uint64_t>(static_cast<unsigned char>(raw[i])) << (8 * i);
    }
    if (!raw.empty() && raw.size() < 8 && (raw.back() & 0x80) != 0) {
      value |= ~std::uint64_t{0} << (8 * raw.size());
    }
    push_integer(static_cast<std::int64_t>(value));
  }

  // Never below the last mark.
  Index pop() {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) {
      fail("a value is taken from an empty stack", "a valid pickle");
    }
    const Index index = stack_.back();
    stack_.pop_back();
    return index;
  }
  Index top() {
    const Index index = pop();
    push(index);
    return index;
  }
  std::vector<Index> pop_to_mark() {
    if (marks_.empty()) fail("no mark on the stack", "a valid pickle");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Index> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }

  void push_items(Kind kind, std::vector<Index> items) {
    if (kind == Kind::kDict && items.size() % 2 != 0) fail("a key without a value", "pairs");
    push({.kind = kind, .items = std::move(items)});
  }
  void push_tuple(std::size_t count) {
    std::vector<Index> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    push_items(Kind::kTuple, std::move(items));
  }
  void extend(Kind kind, const std::vector<Index>& items) {
    Pickle::Value& target = out_.values_[top()];
    if (target.kind != kind) fail("items for something that holds none", "a list, set or dict");
    if (kind == Kind::kDict && items.size() % 2 != 0) fail("a key without a value", "pairs");
    target.items.insert(target.items.end(), items.begin(), items.end());
  }

  void push_name(std::string_view module, std::string_view name) {
    std::string full = fmt::format("{}.{}", module, name);
    if (!is_allowed_(full)) {
      throw input_error(
          where_, fmt::format("it holds a Python object, {}, which is not read", shown(full)),
          "tensors in dicts, lists and tuples: save those alone, as in torch.save({'name': "
          "tensor, ...}, file) or torch.save(module.state_dict(), file)");
    }
    push({.kind = Kind::kName, .text = std::move(full)});
  }
  void push_stack_name() {
    const Index name = pop();
    const Index module = pop();
    if (out_.at(name).kind != Kind::kText || out_.at(module).kind != Kind::kText) {
      fail("a name that is not a text", "a valid pickle");
    }
    // These are copies, because adding a value moves the others.
    const std::string module_text = out_.at(module).text;
    const std::string name_text = out_.at(name).text;
    push_name(module_text, name_text);
  }

  void call() {
    const Index arguments = pop();
    const Index callee = pop();
    if (out_.at(callee).kind != Kind::kName || out_.at(arguments).kind != Kind::kTuple) {
      fail("a call of something that has no name", "module.name and its arguments");
    }
    // Objects whose items are added one by one afterwards.
    const std::string& name = out_.at(callee).text;
    if (name == "collections.OrderedDict" && out_.at(arguments).items.empty()) {
      return push(Kind::kDict);
    }
    push_items(Kind::kCall, {callee, arguments});
  }
  // An object's attributes. Those of an OrderedDict (a state_dict's _metadata) say nothing here.
  void build() {
    pop();
    if (out_.at(top()).kind != Kind::kDict) fail("attributes of an object", "plain values");
  }

  void remember(std::uint64_t place) { memo_[place] = top(); }
  void recall(std::uint64_t place) {
    const auto found = memo_.find(place);
    if (found == memo_.end()) {
      fail(fmt::format("memo {} is read before it is written", place), "a valid pickle");
    }
    push(found->second);
  }

  // 'text' or "text" of protocol 0. Its escapes are not needed.
  std::string_view quoted(std::string_view text) const {
    if (text.size() < 2 || text.front() != text.back()) fail("a text without quotes", "quotes");
    return text.substr(1, text.size() - 2);
  }

  void push_int_line() {
    const std::string_view text = line();
    if (text == "00" || text == "01") {
      return push({.kind = Kind::kBool, .integer = text == "01" ? 1 : 0});
    }
    push_integer(decimal(text));
  }
  void push_long_line() {
    std::string_view text = line();
    if (text.ends_with('L')) text.remove_suffix(1);
    push_integer(decimal(text));
  }

  void stop() {
    out_.root_ = pop();
    if (!stack_.empty() || !marks_.empty()) fail("values left over at the end", "one value");
  }

  // False after the last one.
  bool step() {
    using enum PickleOpcode;
    opcode_at_ = at_;
    const auto opcode = static_cast<PickleOpcode>(take(1)[0]);
    switch (opcode) {
      case kProto:
        if (const int version = number<std::uint8_t>(); version > kHighestProtocol) {
          fail(fmt::format("protocol {}", version), fmt::format("at most {}", kHighestProtocol));
        }
        break;
      case kFrame:
        if (const auto size = number<std::uint64_t>(); size > bytes_.size() - at_) {
          fail(fmt::format("a frame of {} bytes, {} left", size, bytes_.size() - at_),
               "a whole pickle (is the file cut short?)");
        }
        break;
      case kStop:
        stop();
        return false;
      case kMark:
        marks_.push_back(stack_.size());
        break;
      case kPop:
        pop();
        break;
      case kPopMark:
        pop_to_mark();
        break;
      case kDup:
        push(top());
        break;
      case kNone:
        push(Kind::kNone);
        break;
      case kNewTrue:
      case kNewFalse:
        push({.kind = Kind::kBool, .integer = opcode == kNewTrue ? 1 : 0});
        break;
      case kInt:
        push_int_line();
        break;
      case kLong:
        push_long_line();
        break;
      case kBinInt:
        push_integer(number<std::int32_t>());
        break;
      case kBinInt1:
        push_integer(number<std::uint8_t>());
        break;
      case kBinInt2:
        push_integer(number<std::uint16_t>());
        break;
      case kLong1:
        push_long(take(number<std::uint8_t>()));
        break;
      case kLong4:
        push_long(take(number<std::uint32_t>()));
        break;
      case kFloat:
        line();
        push(Kind::kFloat);
        break;
      case kBinFloat:
        take(8);
        push(Kind::kFloat);
        break;
      case kString:
        push_text(Kind::kText, quoted(line()));
        break;
      case kUnicode:
        push_text(Kind::kText, line());
        break;
      case kShortBinString:
      case kShortBinUnicode:
        push_text(Kind::kText, take(number<std::uint8_t>()));
        break;
      case kBinString:
      case kBinUnicode:
        push_text(Kind::kText, take(number<std::uint32_t>()));
        break;
      case kBinUnicode8:
        push_text(Kind::kText, take(number<std::uint64_t>()));
        break;
      case kShortBinBytes:
        push_text(Kind::kBytes, take(number<std::uint8_t>()));
        break;
      case kBinBytes:
        push_text(Kind::kBytes, take(number<std::uint32_t>()));
        break;
      case kBinBytes8:
      case kByteArray8:
        push_text(Kind::kBytes, take(number<std::uint64_t>()));
        break;
      default:
        return step_containers(opcode);
    }
    return true;
  }

  bool step_containers(PickleOpcode opcode) {
    using enum PickleOpcode;
    switch (opcode) {
      case kEmptyTuple:
        push(Kind::kTuple);
        break;
      case kTuple1:
      case kTuple2:
      case kTuple3:
        push_tuple(static_cast<std::size_t>(opcode) - static_cast<std::size_t>(kTuple1) + 1);
        break;
      case kTuple:
        push_items(Kind::kTuple, pop_to_mark());
        break;
      case kEmptyList:
        push(Kind::kList);
        break;
      case kList:
        push_items(Kind::kList, pop_to_mark());
        break;
      case kEmptyDict:
        push(Kind::kDict);
        break;
      case kDict:
        push_items(Kind::kDict, pop_to_mark());
        break;
      case kEmptySet:
        push(Kind::kSet);
        break;
      case kFrozenSet:
        push_items(Kind::kSet, pop_to_mark());
        break;
      case kAppend: {
        const Index item = pop();
        extend(Kind::kList, {item});
        break;
      }
      case kAppends:
        extend(Kind::kList, pop_to_mark());
        break;
      case kAddItems:
        extend(Kind::kSet, pop_to_mark());
        break;
      case kSetItem: {
        const Index value = pop();
        const Index key = pop();
        extend(Kind::kDict, {key, value});
        break;
      }
      case kSetItems:
        extend(Kind::kDict, pop_to_mark());
        break;
      case kGet:
        recall(static_cast<std::uint64_t>(decimal(line())));
        break;
      case kBinGet:
        recall(number<std::uint8_t>());
        break;
      case kLongBinGet:
        recall(number<std::uint32_t>());
        break;
      case kPut:
        remember(static_cast<std::uint64_t>(decimal(line())));
        break;
      case kBinPut:
        remember(number<std::uint8_t>());
        break;
      case kLongBinPut:
        remember(number<std::uint32_t>());
        break;
      case kMemoize:
        remember(memo_.size());
        break;
      case kGlobal: {
        const std::string_view module = line();
        push_name(module, line());
        break;
      }
      case kStackGlobal:
        push_stack_name();
        break;
      case kReduce:
      case kNewObj:
        call();
        break;
      case kBuild:
        build();
        break;
      case kBinPersId: {
        const Index id = pop();
        push_items(Kind::kPersistent, {id});
        break;
      }
      default:
        fail(fmt::format("opcode 0x{:02x}", static_cast<unsigned char>(opcode)),
             "one that tensors in dicts, lists and tuples need (is this what torch.save wrote?)");
    }
    return true;
  }

  Pickle& out_;
  std::span<const std::byte> bytes_;
  std::string_view where_;
  const std::function<bool(std::string_view)>& is_allowed_;
  std::size_t at_ = 0;
  std::size_t opcode_at_ = 0;
  std::vector<Index> stack_;
  std::vector<std::size_t> marks_;  // sizes of the stack
  std::unordered_map<std::uint64_t, Index> memo_;
};

Pickle::Pickle(std::span<const std::byte> bytes, std::string_view where,
               const std::function<bool(std::string_view)>& is_allowed) {
  Unpickler(*this, bytes, where, is_allowed).run();
}

}  // namespace assay
