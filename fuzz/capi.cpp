// Calls of the C API in any order, with odd arguments, decoded from the input's bytes.
#include <cmath>

#include "assay.h"
#include "small_model.h"

namespace assay {
namespace {

// Reports that the checker prints go nowhere; what the sanitizers say still goes to descriptor 2.
bool silence() {
  stderr = std::fopen("/dev/null", "w");
  return stderr != nullptr;
}

constexpr std::size_t kMemory = std::size_t{1} << 16;
constexpr std::array<std::int64_t, 8> kOdd = {
    0, 1, -1, INT64_MAX, INT64_MIN, std::int64_t{1} << 32, std::int64_t{1} << 62, 1000};

std::int64_t number(Choices& choices) {
  return choices.flag() ? static_cast<std::int64_t>(choices.below(10)) : choices.one_of(kOdd);
}

class Caller {
 public:
  Caller(const SmallReference& small, Choices& choices)
      : small_(small), choices_(choices), memory_(kMemory) {
    const std::span<const std::byte> bits = choices.rest();
    for (std::size_t i = 0; i < memory_.size() && !bits.empty(); ++i) {
      memory_[i] = bits[i % bits.size()];
    }
  }
  ~Caller() {
    for (assay_checker* checker : checkers_) assay_close(checker);
  }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  void call() {
    assay_checker*& checker = checkers_[choices_.below(checkers_.size())];
    switch (choices_.below(10)) {
      case 0:
        if (checker == nullptr) checker = open();
        break;
      case 1:
        assay_close(checker);
        checker = nullptr;
        break;
      case 2:
        assay_wants(checker, name());
        break;
      case 3: {
        const std::int64_t first = number(choices_);
        assay_set_positions(checker, first, number(choices_));
        break;
      }
      case 4: {
        const char* text =
            choices_.flag() ? assay_report_text(checker) : assay_report_json(checker);
        require((text == nullptr) == (checker == nullptr || *assay_message() != '\0'),
                "a report, or why there is none");
        break;
      }
      case 5:
        require(assay_message() != nullptr && *assay_version() != '\0', "texts");
        break;
      case 6:
        check_right(checker);
        break;
      default:
        check(checker);
    }
  }

 private:
  const char* name() {
    const std::size_t which = choices_.below(small_.arrays.size() + 4);
    if (which < small_.arrays.size()) return small_.arrays[which].name.c_str();
    if (which == small_.arrays.size()) return nullptr;
    text_ = choices_.text(30);
    return text_.c_str();
  }

  assay_checker* open() {
    const std::string set = small_.set;
    const std::string npz = small_.set / "p" / "reference.npz";
    const std::string record = scratch() / "record.npz";
    const std::string model = small_.model;
    const std::array<const char*, 6> references = {set.c_str(), set.c_str(), npz.c_str(),
                                                   nullptr,     "",          "/nowhere"};
    const std::array<const char*, 4> records = {nullptr, record.c_str(), "", "/nowhere/r.npz"};
    const std::array<const char*, 4> words = {nullptr, "", "p", "x"};
    const std::array<const char*, 4> maps = {nullptr, "vllm", "candle,vllm", "no.json"};
    const std::array<const char*, 4> profiles = {nullptr, "noise", "table", "?"};
    const std::array<const char*, 5> types = {nullptr, "f32", "bf16", "q8", "?"};
    const std::array<const char*, 3> models = {nullptr, model.c_str(), "/nowhere"};
    const std::array<double, 6> tolerances = {0, 0, 0.1, -1, choices_.take<double>(), 1e300};
    const std::array<std::size_t, 6> sizes = {
        sizeof(assay_options),      sizeof(assay_options), sizeof(assay_options), 0, SIZE_MAX,
        offsetof(assay_options, as)};
    assay_options options = {};
    options.size = choices_.one_of(sizes);
    options.reference = choices_.one_of(references);
    options.record = choices_.one_of(records);
    options.prompt = choices_.one_of(words);
    options.map = choices_.one_of(maps);
    options.profile = choices_.one_of(profiles);
    options.as = choices_.one_of(types);
    options.model = choices_.one_of(models);
    options.tolerance = choices_.one_of(tolerances);
    options.stop = choices_.below(8) == 7 ? -1 : ASSAY_STOP_NEVER;  // the others end the process
    options.print = choices_.below(4) == 3 ? 1 : 0;
    options.strict = choices_.flag() ? 1 : 0;
    assay_checker* checker = assay_open(choices_.below(16) == 15 ? nullptr : &options);
    require((checker == nullptr) == (*assay_message() != '\0'), "a checker, or why there is none");
    return checker;
  }

  assay_result* result() {
    constexpr std::array<std::size_t, 4> kSizes = {sizeof(assay_result), 0, 24, SIZE_MAX};
    if (choices_.below(4) == 3) return nullptr;
    result_.size = choices_.one_of(kSizes);
    return &result_;
  }

  // The run's own array, or a part of its positions.
  void check_right(assay_checker* checker) {
    const Array& array = small_.arrays[choices_.below(small_.arrays.size())];
    Shape shape = array.shape;
    std::size_t skipped = 0;
    if (choices_.flag() && shape.size() == 3) {
      const auto first = static_cast<std::int64_t>(choices_.below(6));
      if (first < shape[1]) {
        skipped = static_cast<std::size_t>(first * shape[2]) * dtype_size(array.dtype);
        shape[1] -= first;
        assay_set_positions(checker, first, shape[1]);
      }
    }
    assay_check(checker, array.name.c_str(), array.bytes.data() + skipped,
                static_cast<int>(array.dtype), static_cast<int>(shape.size()), shape.data(),
                nullptr, result());
  }

  void check(assay_checker* checker) {
    const char* const what = name();
    const int dtype = static_cast<int>(choices_.below(17)) - 1;
    const int rank = choices_.below(8) == 7 ? static_cast<int>(number(choices_))
                                            : static_cast<int>(choices_.below(5));
    std::array<std::int64_t, 16> shape = {};
    std::array<std::int64_t, 16> strides = {};
    const bool strided = choices_.flag();
    for (int a = 0; a < std::min(rank, 16); ++a) {
      const auto axis = static_cast<std::size_t>(a);
      shape[axis] = number(choices_);
      if (strided) strides[axis] = number(choices_);
    }
    const void* const data = fits(dtype, rank, shape, strided ? &strides : nullptr)
                                 ? memory_.data() + kMemory / 2
                                 : nullptr;
    assay_check(checker, what, data, dtype, rank, choices_.below(16) == 15 ? nullptr : shape.data(),
                strided ? strides.data() : nullptr, result());
  }

  // The pointer is followed: there must be memory for what shape and strides ask for. Not so where
  // the arguments are to be refused.
  static bool fits(int dtype, int rank, const std::array<std::int64_t, 16>& shape,
                   const std::array<std::int64_t, 16>* strides) {
    if (dtype < 0 || dtype >= 15 || rank < 0 || rank > 16) return true;
    const std::span extents(shape.data(), static_cast<std::size_t>(rank));
    if (std::ranges::any_of(extents, [](std::int64_t n) { return n <= 0; })) return true;
    constexpr double kRoom = kMemory / 2 / 8;  // of the largest elements, on either side
    double count = 1;
    double reach = 0;
    for (std::size_t a = extents.size(); a-- > 0;) {
      const auto extent = static_cast<double>(extents[a]);
      const double step = strides != nullptr ? static_cast<double>((*strides)[a]) : count;
      reach += (extent - 1) * std::abs(step);
      count *= extent;
    }
    return count <= kRoom && reach < kRoom;
  }

  const SmallReference& small_;
  Choices& choices_;
  std::vector<std::byte> memory_;
  std::array<assay_checker*, 2> checkers_ = {};
  assay_result result_ = {};
  std::string text_;
};

}  // namespace

FUZZ_TARGET(capi) {
  static const SmallReference small = make_reference();
  static const bool silent = silence();
  require(silent, "/dev/null");
  Choices choices(input);
  Caller caller(small, choices);
  for (int calls = 0; calls < 40 && !choices.empty(); ++calls) caller.call();
}

}  // namespace assay
