// The data flow of a reference that `assay capture` made: arrays of the modules of any model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "candidate/reading.h"
#include "formats/json_file.h"

namespace assay {

// What a position of an array is computed from in the arrays with positions before it: the same
// position alone, no later one, or any.
enum class Reach { kPosition, kCausal, kAny };

struct ModuleArray {
  std::string name;
  std::string module;  // path of the module that made it; empty for the model itself
  std::string kind;    // that module's class
  std::string block;   // the layer that it is in: "model.layers.3"; may be empty
  bool is_integer = false;
  std::size_t axis = 1;        // the axis that counts positions, or else the last but one
  bool counts_tokens = false;  // whether these are the positions of the prompt
  bool is_lookup = false;      // values of a table or an input, not computed
  Reach reach = Reach::kAny;
  std::vector<std::size_t> from;  // the arrays that it is computed from; all precede it

  // Positions at which a choice between nearly equal scores, made since those arrays, may be
  // another.
  std::vector<std::int64_t> unsteady;

  // "model.layers.3.mlp (LlamaMLP)", for messages.
  std::string made_by() const;
};

class ModuleFlow {
 public:
  // arrays: a prompt's `arrays` in a manifest. file, field: name it in messages. Throws input
  // errors: a field of the wrong type, a name of no earlier array, a name given twice.
  ModuleFlow(const OrderedJson& arrays, const std::string& file, const std::string& field);

  // In the order of execution.
  const std::vector<ModuleArray>& arrays() const { return arrays_; }
  // By the array's own name; null if it is none of these.
  const ModuleArray* find(std::string_view name) const;
  // By the name that an engine's dump gives it, in any of its forms (candidate/name_forms.h): its
  // own, or that of any module that returns it. Null if it is none of these.
  const ModuleArray* find_by_dump(std::string_view name) const;

  // The nearest arrays that it is computed from and for which is_there() holds, in the order of
  // execution. gap: whether arrays for which it does not hold lie between.
  struct Upstream {
    std::vector<std::size_t> nearest;
    bool gap = false;
  };
  Upstream upstream_of(const ModuleArray& array,
                       const std::function<bool(const ModuleArray&)>& is_there) const;

 private:
  void add_name(const std::string& name, std::size_t array);
  std::optional<std::size_t> exact(std::string_view name) const;

  std::vector<ModuleArray> arrays_;
  std::unordered_map<std::string, std::size_t> own_;     // by name
  std::unordered_map<std::string, std::size_t> others_;  // by the other modules' names
  std::unordered_map<std::string, std::size_t> forms_;   // by the forms of all of these
  std::vector<std::string> roots_;                       // the first parts of names: "model"
};

// The hints of a dump for one of its arrays: what is known about the prompt's positions does not
// hold for a captured array that does not count them.
ReadingHints hints_of_array(const ReadingHints& hints, std::string_view name,
                            const ModuleFlow* modules);

// The axis along which an array's positions count: the flow's, or else that of its tap.
std::size_t position_axis_of(std::string_view name, const ModuleFlow* modules);

}  // namespace assay
