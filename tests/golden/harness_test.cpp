// The harness of the golden vectors itself: it must compare every result and notice every kind of damage.
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "tests/golden/run.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using selene::data::SafetensorsFile;
using selene::golden::Outcome;
using selene::golden::run_folder;
using selene::testing::holds;
using selene::testing::read_text;
using selene::testing::write_text;

std::string golden_folder() {
  const char* folder = std::getenv("SELENE_GOLDEN_DIR");
  REQUIRE(folder != nullptr);
  return folder;
}

/// A fresh folder with one case of the real vectors, to be damaged.
class OneCase {
 public:
  explicit OneCase(const std::string& name) {
    manifest_ = json::parse(read_text(golden_folder() + "/manifest.json"));
    for (const json& entry : manifest_["cases"])
      if (entry["name"] == name) entry_ = entry;
    REQUIRE(!entry_.is_null());
    const std::string source = golden_folder() + "/" + entry_["file"].get<std::string>();
    if (fs::exists(source)) write_text(file(), read_text(source));
    write_manifest();
  }

  std::string file() const { return folder_.file(entry_["file"].get<std::string>()); }
  std::string manifest() const { return folder_.file("manifest.json"); }
  void change_entry(const std::function<void(json&)>& change) {
    change(entry_);
    write_manifest();
  }
  /// Replaces the first number of a tensor.
  template <class T>
  void change(const std::string& tensor, const std::function<T(T)>& f) {
    std::string bytes = read_text(file());
    const SafetensorsFile content(file());
    char* at = bytes.data() + content.header().size() + content.at(tensor).begin;
    T value;
    std::memcpy(&value, at, sizeof value);
    value = f(value);
    std::memcpy(at, &value, sizeof value);
    write_text(file(), bytes);
  }
  Outcome run() const { return run_folder(folder_.path.string(), "").at(0); }
  bool passes() const { return run().complaints.empty(); }
  std::string complaint() const {
    const Outcome o = run();
    REQUIRE(o.complaints.size() == 1);
    return o.complaints[0];
  }

 private:
  void write_manifest() {
    manifest_["cases"] = json::array({entry_});
    write_text(manifest(), manifest_.dump());
  }
  selene::testing::Folder folder_;
  json manifest_, entry_;
};

std::vector<std::string> results_of(const std::string& path) {
  std::vector<std::string> names;
  const SafetensorsFile file(path);
  for (const auto& e : file.entries())
    if (e.name == "loss" || e.name.rfind("out.", 0) == 0 || e.name.rfind("grad.", 0) == 0) names.push_back(e.name);
  return names;
}

}  // namespace

TEST_CASE("golden: every result in the file is compared once, and each counts") {
  for (const char* name : {"ops_linear", "luna_mha_self_untied_pheads", "lra_transformer_text_cls", "opt_adamw"}) {
    INFO(name);
    const OneCase intact(name);
    const std::vector<std::string> results = results_of(intact.file());
    const Outcome outcome = intact.run();
    CHECK(outcome.complaints.empty());
    CHECK(outcome.checks.size() == results.size());
    for (const std::string& tensor : results) {
      INFO(tensor);
      OneCase damaged(name);
      if (tensor == "out.ncorrect") damaged.change<int64_t>(tensor, [](int64_t v) { return v + 1; });
      else damaged.change<float>(tensor, [](float v) { return 1.01f * v + 0.01f; });
      CHECK_FALSE(damaged.passes());
    }
  }
}

TEST_CASE("golden: NaN and infinity fail") {
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    for (const char* tensor : {"out.y", "grad.in.x", "in.x"}) {
      OneCase damaged("ops_linear");
      damaged.change<float>(tensor, [&](float) { return value; });
      CHECK_FALSE(damaged.passes());
    }
}

TEST_CASE("golden: a result that no runner computes fails") {
  OneCase more("ops_cumsum");
  const SafetensorsFile file(more.file());
  std::string bytes = read_text(more.file());
  const size_t at = bytes.find("out.y2");
  REQUIRE(at != std::string::npos);
  bytes.replace(at, 6, "out.y3");
  write_text(more.file(), bytes);
  more.change_entry([](json& e) {
    e["tensors"]["out.y3"] = e["tensors"]["out.y2"];
    e["tensors"].erase("out.y2");
  });
  CHECK_FALSE(more.passes());
}

TEST_CASE("golden: hyperparameters decide, not the file") {
  OneCase other("luna_mha_self_tied_pheads");
  other.change_entry([](json& e) { e["hyper"]["num_pheads"] = 4; });
  CHECK_FALSE(other.passes());
  OneCase untied("luna_mha_self_tied");
  untied.change_entry([](json& e) { e["hyper"]["tie_kv"] = false; });
  CHECK(holds(untied.complaint(), "c_proj"));
}

TEST_CASE("golden: damaged files are named") {
  OneCase gone("ops_linear");
  fs::remove(gone.file());
  CHECK(holds(gone.complaint(), "ops_linear.safetensors"));
  OneCase cut("ops_linear");
  fs::resize_file(cut.file(), fs::file_size(cut.file()) - 5);
  CHECK(holds(cut.complaint(), "ops_linear.safetensors"));
  OneCase lacking("ops_linear");
  lacking.change_entry([](json& e) { e["tensors"]["in.extra"] = {"F32", {2}, "n"}; });
  CHECK(holds(lacking.complaint(), "in.extra"));
  OneCase reshaped("ops_linear");
  reshaped.change_entry([](json& e) { e["tensors"]["out.y"][1] = {2, 5, 9}; });
  CHECK(holds(reshaped.complaint(), "out.y"));
}

TEST_CASE("golden: a case not yet supported needs no file, but an existing one must be readable") {
  OneCase later("base_bigbird");
  fs::remove(later.file());
  CHECK(later.passes());
  CHECK_FALSE(later.run().supported);
  write_text(later.file(), "not a safetensors file");
  CHECK_FALSE(later.passes());
}

TEST_CASE("golden: a case that no row takes fails unless it is on the list") {
  OneCase lost("ops_linear");
  lost.change_entry([](json& e) {
    e["name"] = "ops_linearly";
    e["group"] = "none";
  });
  CHECK(holds(lost.complaint(), "no row takes it"));
  OneCase listed("ops_linear");
  listed.change_entry([](json& e) { e["name"] = "mlm_linear"; });
  CHECK_FALSE(listed.run().supported);
}

TEST_CASE("golden: an unreadable manifest is an error that names it") {
  const auto message = [](const OneCase& c) {
    try {
      c.run();
    } catch (const selene::Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  OneCase gone("ops_linear");
  fs::remove(gone.manifest());
  CHECK(holds(message(gone), "manifest.json"));
  OneCase broken("ops_linear");
  write_text(broken.manifest(), read_text(broken.manifest()).substr(1));
  CHECK(holds(message(broken), "manifest.json"));
  OneCase dtype("ops_linear");
  dtype.change_entry([](json& e) { e["tensors"]["in.x"][0] = "F8"; });
  CHECK(holds(message(dtype), "F8"));
  OneCase nameless("ops_linear");
  nameless.change_entry([](json& e) { e.erase("tolerance"); });
  CHECK(holds(message(nameless), "tolerance"));
}
