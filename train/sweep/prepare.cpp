#include "train/sweep/prepare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "data/io/json.h"
#include "data/io/regular_file.h"
#include "kernels/error.h"
#include "train/sweep/children.h"

namespace selene::train {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

constexpr uint64_t kLargestFacts = uint64_t(1) << 24;  // bytes of dataset.json

bool is_there(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

std::string last_line(const std::string& file) {
  std::ifstream in(file);
  std::string last;
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) last = line;
  return last;
}

class Preparation {
 public:
  Preparation(const Grid& grid, const SweepOptions& options, bool look, const Say& say)
      : options_(options), look_(look), say_(say) {
    for (const Choice& recipe : grid.recipes) {
      const auto source = grid.data.find(recipe.name);
      if (source != grid.data.end() && asked(options.recipes, recipe.name))
        done[recipe.name] = of(recipe.name, source->second);
    }
  }
  std::map<std::string, PreparedData> done;

 private:
  PreparedData of(const std::string& name, const DataSource& source) {
    PreparedData result{.folder = options_.prepared + "/" + name};
    Strings words = source.prepare;
    if (!source.from.empty()) {
      std::string from = options_.raw + "/" + source.from[0];
      for (const std::string& folder : source.from)
        if (fs::is_directory(options_.raw + "/" + folder)) {
          from = options_.raw + "/" + folder;
          break;
        }
      if (!fs::is_directory(from)) {
        if (is_there(result.folder + "/dataset.json")) return prepared_before(result, source, from);
        if (options_.scale == 1) {
          result.why = fmt::format("no data at {}, and none prepared at {} (docs/lra.md says where to get it)", from,
                                   result.folder);
          return result;
        }
        from = make_stand_in(name, source, from, result);
        if (!result.why.empty()) return result;
      }
      append(words, {"--from", from});
    }
    append(words, {"--out", result.folder});
    if (options_.scale != 1)
      for (const auto& [option, count] :
           {std::pair{"--train", train_of(source)}, {"--valid", source.valid}, {"--test", source.test}})
        if (count) append(words, {option, std::to_string(count)});
    result.why = prepare(name, words);
    return result;
  }

  int64_t train_of(const DataSource& source) const {
    return source.train ? std::max<int64_t>(256, std::llround(double(source.train) * options_.scale)) : 0;
  }

  /// Without its source, data is taken if it was made with the options of this call.
  PreparedData prepared_before(PreparedData result, const DataSource& source, const std::string& from) const {
    const std::string path = result.folder + "/dataset.json";
    const bool whole = options_.scale == 1;
    const std::pair<const char*, int64_t> wanted[] = {{"train", whole ? 0 : train_of(source)},
                                                      {"valid", whole ? 0 : source.valid},
                                                      {"test", whole ? 0 : source.test},
                                                      {"seed", 1}};
    try {
      const data::Json facts = data::parse_json(data::read_regular_file(path, kLargestFacts, "JSON"), path);
      for (const auto& [option, value] : wanted)
        if (facts.at("options").get<int64_t>(option) != value)
          result.why =
              fmt::format("no data at {}, and {} was not made with \"{}\": {}", from, result.folder, option, value);
    } catch (const Error& e) {
      result.why = e.what();
    }
    return result;
  }

  /// The folder of the made-up files. A tenth of the images is for validation.
  std::string make_stand_in(const std::string& name, const DataSource& source, const std::string& from,
                            PreparedData& result) {
    const std::string folder = options_.prepared + "/stand-in/" + name;
    result.stand_in = true, result.folder += "-stand-in";
    if (!look_) say_(fmt::format("{}: no data at {}; a synthetic stand-in takes its place", name, from));
    const int64_t train = train_of(source) * 5 / 4 + 1000;
    result.why = prepare(name, {"stand-in", source.prepare[0], "--out", folder, "--train", std::to_string(train),
                                "--test", std::to_string(std::max<int64_t>(200, source.test))});
    return folder;
  }

  /// Why it failed; empty if it did not.
  std::string prepare(const std::string& name, const Strings& arguments) {
    if (look_) return "";
    Command command{{"selene-prepare"}, options_.out + "/prepare.log"};
    append(command.words, arguments);
    if (run_alone(command) != 0) {
      const std::string why = error_of(command.output);
      say_(fmt::format("{}: selene-prepare failed: {}", name, why));
      return why;
    }
    if (const std::string line = last_line(command.output); line.find("already there") == line.npos) say_(line);
    return "";
  }

  const SweepOptions& options_;
  const bool look_;
  const Say& say_;
};

}  // namespace

std::map<std::string, PreparedData> prepare_data(const Grid& grid, const SweepOptions& options, bool look,
                                                 const Say& say) {
  if (grid.data.empty()) return {};
  if (!look) fs::create_directories(options.prepared);
  return Preparation(grid, options, look, say).done;
}

}  // namespace selene::train
