// Recipe values that do not fit together: each rule once, with the place it blames.
#include <string>
#include <vector>

#include <fmt/format.h>

#include "kernels/error.h"
#include "models/registry.h"
#include "tests/support/catch.h"
#include "train/recipe/recipe.h"

namespace selene::testing {
namespace {

using namespace train;

/// The error's text; "no error" where there is none.
std::string error_of(const std::string& text, const std::vector<std::string>& sets = {}) {
  try {
    parse_recipe(text, "r.yaml", sets);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

const std::string kWarm = "schedule: {warmup: 10}\n";  // shows that places are those of the lines in front

}  // namespace

TEST_CASE("recipe: model values that do not fit together") {
  CHECK(error_of("model:\n  dim: 130\n" + kWarm) ==
        "r.yaml:2:8: model.dim is 130, wanted a multiple of model.heads (4)");
  CHECK(error_of("model:\n  heads: 3\n" + kWarm) ==
        "r.yaml:2:10: model.dim is 128, wanted a multiple of model.heads (3)");
  CHECK(error_of(kWarm, {"model.heads=3"}) ==
        "--set model.heads=3: model.dim is 128, wanted a multiple of model.heads (3)");
  CHECK(error_of("model:\n  luna:\n    pack_heads: 5\n" + kWarm) ==
        "r.yaml:3:17: model.dim is 128, wanted a multiple of model.luna.pack_heads (5)");
  CHECK(error_of("model: {attention: full, dim: 130, attention_dim: 64}\n" + kWarm) == "no error");
  CHECK(error_of("model:\n  attention: full\n  attention_dim: 66\n" + kWarm) ==
        "r.yaml:3:18: model.attention_dim is 66, wanted a multiple of model.heads (4)");
  CHECK(error_of("model:\n  attention_dim: 64\n" + kWarm) ==
        "r.yaml:2:18: model.attention_dim is 64, wanted 0: what Luna packs is added to P, which has model.dim (128)");
  CHECK(error_of("model:\n  positions: sinusoidal\n  dim: 5\n  heads: 5\n" + kWarm) ==
        "r.yaml:3:8: model.dim is 5, wanted an even number of at least 4 for sinusoidal positions");
  CHECK(error_of("model:\n  attention: full\n  pooling: p\n" + kWarm) ==
        "r.yaml:3:12: model.pooling is p, wanted cls, mean or real_mean: model.attention full has no P");
  CHECK(error_of("model: {pooling: p}\n" + kWarm) == "no error");
  CHECK(error_of("model:\n  max_positions: 100\n" + kWarm) ==
        "r.yaml:2:18: model.max_positions is 100, wanted at least data.max_length (2001) or 0");
  CHECK(error_of("model: {max_positions: 100, positions: none}\n" + kWarm) ==
        "r.yaml:1:24: model.max_positions is 100, wanted 0 (its default): model.positions is none, which does not "
        "read it");
}

TEST_CASE("recipe: keys of a precision, and of clipping, that is not chosen") {
  CHECK(error_of("train: {fp16_init_scale: 5}\n") ==
        "r.yaml:1:26: train.fp16_init_scale is 5, wanted 128 (its default): train.precision is fp32, which does not "
        "read it");
  CHECK(error_of("train: {precision: fp16, fp16_init_scale: 5, fp16_scale_window: 3}\n") == "no error");
  CHECK(error_of("train: {precision: bf16, tf32: true}\n").find("train.tf32 is true") != std::string::npos);
  CHECK(
      error_of("optim: {clip_mode: each}\n") ==
      "r.yaml:1:20: optim.clip_mode is each, wanted total (its default): optim.clip_norm is 0, which clips nothing");
  CHECK(error_of("optim: {clip_mode: each, clip_norm: 1}\n") == "no error");
}

TEST_CASE("recipe: a key of an attention that is not chosen is refused, unless it has its default value") {
  CHECK(error_of("model:\n  attention: full\n  luna:\n    tie_kv: true\n" + kWarm) ==
        "r.yaml:4:13: model.luna.tie_kv is true, wanted false (its default): model.attention is full, which does not "
        "read it");
  CHECK(error_of("model: {attention: full, luna: {tie_kv: false, projection_length: 16}}\n" + kWarm) == "no error");
  CHECK(error_of("model: {luna: {tie_kv: true}}\n" + kWarm) == "no error");
  CHECK(
      error_of("model: {luna: {projection_length: 8}}\n" + kWarm, {"model.attention=full"}) ==
      "r.yaml:1:35: model.luna.projection_length is 8, wanted 16 (its default): model.attention is full, which does "
      "not read it");
}

TEST_CASE(
    "recipe: the keys of every attention are read, written and described, and in recipe.yaml where it is chosen") {
  for (const Mechanism& m : attentions())
    for (const OwnKey& key : m.keys) {
      const std::string name(m.name), leaf(key.name),
          value = std::visit(
              [](const auto&v) {
                if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::string>) return v;
                else return fmt::format("{}", v);
              },
              key.initial);
      INFO(name << " " << leaf);
      const Recipe r =
          parse_recipe("model: {attention: " + name + ", " + name + ": {" + leaf + ": " + value + "}}", "r.yaml");
      const std::string yaml = to_yaml(r);
      CHECK(yaml.find("\n  " + name + ":\n") != yaml.npos);
      CHECK(yaml.find("\n    " + leaf + ": " + value + "\n") != yaml.npos);
      CHECK(parse_recipe(yaml, "r.yaml") == r);
      CHECK(describe_markdown().find("| `model." + name + "." + leaf + "` |") != std::string::npos);
      const std::string other = name == "luna" ? "full" : "luna";
      CHECK(to_yaml(parse_recipe("model: {attention: " + other + "}", "r.yaml")).find(leaf) == std::string::npos);
    }
}

TEST_CASE(
    "recipe: a key that the chosen head, task or schedule does not read is refused, unless it has its default") {
  CHECK(error_of("model: {head: linear, head_dim: 64}\n" + kWarm) ==
        "r.yaml:1:33: model.head_dim is 64, wanted 0 (its default): model.head is linear, which does not read it");
  CHECK(error_of("model: {head: gelu, head_dim: 64}\n" + kWarm) == "no error");
  CHECK(error_of("model: {head: linear, head_dim: 0}\n" + kWarm) == "no error");
  const std::string model = "task: language_model\ndata: {kind: characters}\ntrain: {best_metric: loss}\n" + kWarm;
  CHECK(error_of(model + "model: {attention: full}\n") == "no error");
  for (const std::string key :
       {"pooling: mean", "head: linear", "head_dim: 8", "head_layers: 2", "head_dropout: 0.5"})
    CHECK(error_of(model + "model: {attention: full, " + key + "}\n")
              .ends_with("task is language_model, which does not read it"));
  CHECK(error_of("model: {tower_features: four}\n" + kWarm).ends_with("model.towers is 1, which does not read it"));
  CHECK(error_of("schedule: {name: fixed, milestones: [5]}\n")
            .ends_with("schedule.name is fixed, which does not read it"));
  CHECK(to_yaml(parse_recipe("model: {head: linear}\n" + kWarm, "r")).find("head_dim") == std::string::npos);
}

TEST_CASE("recipe: data values that do not fit the model") {
  CHECK(error_of("model:\n  tie_output: true\n" + kWarm) ==
        "r.yaml:2:15: model.tie_output is true, wanted false (its default): task is classification, which does not "
        "read it");
  CHECK(error_of("model:\n  input: pixels\n" + kWarm) ==
        "r.yaml:2:10: model.input is pixels, wanted tokens: listops has no pixels");
  CHECK(error_of("model:\n  towers: 2\n" + kWarm) ==
        "r.yaml:2:11: model.towers is 2, wanted 1: so many documents make an example of listops");
  CHECK(error_of("data: {kind: retrieval}\n" + kWarm) ==
        "r.yaml:1:14: model.towers is 1, wanted 2: so many documents make an example of retrieval");
  CHECK(error_of("data: {kind: retrieval}\nmodel: {towers: 2}\n" + kWarm) == "no error");
  CHECK(error_of("data: {kind: image}\nmodel: {input: pixels, pooling: mean}\n" + kWarm) ==
        "r.yaml:2:16: data.frame is luna, wanted lra: real-valued pixels have no CLS and no EOS");
  CHECK(error_of("data: {kind: image, frame: lra}\nmodel: {input: pixels, pooling: mean}\n" + kWarm) == "no error");
  CHECK(error_of("data:\n  frame: lra\n" + kWarm) ==
        "r.yaml:2:10: model.pooling is cls, wanted mean, real_mean or p: data.frame lra puts no CLS token in front");
  CHECK(error_of("data: {frame: lra}\nmodel: {pooling: mean}\n" + kWarm) == "no error");
  CHECK(error_of("data:\n  max_length: 2\n" + kWarm) ==
        "r.yaml:2:15: data.max_length is 2, wanted at least 3 for data.frame luna");
  CHECK(error_of("data:\n  path: \"\"\n" + kWarm) ==
        "r.yaml:2:9: data.path is empty, wanted the folder of the prepared files");
}

TEST_CASE("recipe: schedule values that do not fit together") {
  CHECK(error_of("schedule:\n  warmup: 0\n") ==
        "r.yaml:2:11: schedule.warmup is 0, wanted at least 1 for inverse_sqrt");
  CHECK(error_of("schedule:\n  name: lra_rsqrt\n  warmup: 0\n") ==
        "r.yaml:3:11: schedule.warmup is 0, wanted at least 1 for lra_rsqrt");
  CHECK(error_of("schedule:\n  name: fixed\n") == "no error");
  CHECK(error_of("schedule:\n  name: linear\n  warmup: 50\ntrain:\n  updates: 50\n") ==
        "r.yaml:3:11: schedule.warmup is 50, wanted less than the end of the linear decay (50, from train.updates)");
  CHECK(
      error_of("schedule: {name: polynomial, total: 5, warmup: 9}\n") ==
      "r.yaml:1:48: schedule.warmup is 9, wanted less than the end of the polynomial decay (5, from schedule.total)");
  CHECK(error_of("schedule:\n  warmup: 9\n  init_lr: -0.5\n") ==
        "r.yaml:3:12: schedule.init_lr is -0.5, wanted a learning rate >= 0, or -1 for unset");
  CHECK(error_of("schedule:\n  name: step\n") == "r.yaml:2:9: schedule.decay_steps is 0, wanted at least 1 for step");
  CHECK(error_of("schedule: {name: lra_cosine, warmup: 1}\n") ==
        "r.yaml:1:18: schedule.cycle is 0, wanted at least 1 for lra_cosine");
  CHECK(error_of("schedule:\n  name: milestone\n") ==
        "r.yaml:2:9: schedule.milestones is empty, wanted at least one update for milestone");
  CHECK(error_of("schedule:\n  name: milestone\n  milestones: [5, 5]\n") ==
        "r.yaml:3:15: schedule.milestones do not ascend, wanted each after the last");
  CHECK(error_of("schedule: {name: milestone, milestones: [5], warmup: 5}\n") ==
        "r.yaml:1:41: schedule.milestones begin at 5, wanted updates after the warmup (5)");
}

TEST_CASE("recipe: the name is a folder's") {
  CHECK(error_of("name: a/b\n" + kWarm) ==
        "r.yaml:1:7: name is \"a/b\", wanted at most 200 letters, digits, '_', '-' and '.', and no '.' in front");
  CHECK(error_of("name: ..\n" + kWarm).find("r.yaml:1:7: name is \"..\"") == 0);
  CHECK(error_of("name: a_b-1.2\n" + kWarm) == "no error");
}

}  // namespace selene::testing
