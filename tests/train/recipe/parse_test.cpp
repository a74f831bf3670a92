// Recipes from text: values, --set, round trip, comparison, and the exact text of every kind of error.
#include <set>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "tests/support/catch.h"
#include "train/recipe/recipe.h"
#include "train/recipe/schema.h"

namespace selene::testing {
namespace {

using namespace train;
using Sets = std::vector<std::string>;

/// The error's text; "no error" where there is none.
std::string error_of(const std::string& text, const Sets& sets = {}) {
  try {
    parse_recipe(text, "r.yaml", sets);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

std::string set_error(const std::string& set) { return error_of("name: x\n", {set}); }

}  // namespace

TEST_CASE("recipe: values of every type are read, the rest keeps its default") {
  const Recipe r = parse_recipe(
      "name: run-1\ndescription: 'two: words'\nmodel:\n  attention: full\n  dim: 256\n  tie_layers: true\n"
      "optim: {lr: 5e-4, beta2: .999}\nschedule:\n  name: milestone\n  milestones: [10, 20]\n  warmup: 5\ntrain:\n",
      "r.yaml");
  CHECK(r.name == "run-1");
  CHECK(r.description == "two: words");
  CHECK(r.model.attention == "full");
  CHECK(r.model.dim == 256);
  CHECK(r.model.tie_layers);
  CHECK(r.optim.lr == 5e-4);
  CHECK(r.optim.beta2 == 0.999);
  CHECK(r.schedule.milestones == std::vector<int64_t>{10, 20});
  CHECK(r.model.heads == ModelConfig().heads);
  CHECK(r.train.updates == TrainConfig().updates);
}

TEST_CASE("recipe: --set of every type, the last one wins") {
  const Recipe r = parse_recipe(
      "schedule: {warmup: 10}\n", "r.yaml",
      {"model.dim=64", "model.dim=128", "optim.lr=1e-2", "train.tf32=true", "schedule.name=milestone",
       "schedule.milestones=[100, 200]", "data.path=/some where/x=y", "description=", "model.pooling=real_mean"});
  CHECK(r.model.dim == 128);
  CHECK(r.optim.lr == 1e-2);
  CHECK(r.train.tf32);
  CHECK(r.schedule.name == "milestone");
  CHECK(r.schedule.milestones == std::vector<int64_t>{100, 200});
  CHECK(r.data.path == "/some where/x=y");
  CHECK(r.description.empty());
  CHECK(r.model.pooling == "real_mean");
  const Recipe bare = parse_recipe("schedule: {warmup: 1, name: milestone}\n", "r.yaml", {"schedule.milestones=7,8"});
  CHECK(bare.schedule.milestones == std::vector<int64_t>{7, 8});
  CHECK(parse_recipe("schedule: {warmup: 1, milestones: [5]}\n", "r", {"schedule.milestones=[]"})
            .schedule.milestones.empty());
}

TEST_CASE("recipe: to_yaml round trip") {
  const Sets odd = {"name=n",
                    "description=a \"quoted\" \\ line\nand: another # one",
                    "data.path=null",
                    "optim.lr=0.1234567890123456789",
                    "optim.eps=1e-30",
                    "train.seed=9223372036854775807",
                    "schedule.warmup=3",
                    "schedule.name=milestone",
                    "schedule.milestones=[4,5,1000000000000]",
                    "schedule.init_lr=-0"};
  const Recipe r = parse_recipe("model: {dim: 96, heads: 3}\n", "r.yaml", odd);
  const std::string yaml = to_yaml(r);
  const Recipe back = parse_recipe(yaml, "back");
  CHECK(back == r);
  CHECK(to_yaml(back) == yaml);
  CHECK(back.description == "a \"quoted\" \\ line\nand: another # one");
  CHECK(back.data.path == "null");
  CHECK(back.optim.lr == r.optim.lr);
  CHECK(back.train.seed == INT64_MAX);
  CHECK(yaml.find("  dim: 96\n") != std::string::npos);
  for (const char* word : {"true", "12", "1e3", "-", "~", "", "a b", "[x]", "0x10", "null", "\xc3\xa9"})
    CHECK(parse_recipe(
              to_yaml(parse_recipe("data:\n", "r", {"schedule.warmup=1", std::string("description=") + word})), "b")
              .description == word);
}

TEST_CASE("recipe: every key of the schema has a place of its own, a meaning and a source") {
  Recipe r;
  std::set<const void*> places;
  std::set<std::string_view> names;
  for (const auto& key : schema()) {
    INFO(std::string(key.name));
    const void* place = std::visit([](auto* p) { return static_cast<const void*>(p); }, key.slot(r));
    CHECK(places.insert(place).second);
    CHECK(names.insert(key.name).second);
    CHECK_FALSE(key.help.empty());
    CHECK_FALSE(key.source.empty());
  }
}

TEST_CASE("recipe: unknown keys name the nearest one") {
  CHECK(error_of("model:\n  dims: 4\n") == "r.yaml:2:3: unknown key model.dims (did you mean model.dim?)");
  CHECK(error_of("modle:\n  dim: 4\n") == "r.yaml:1:1: unknown key modle (did you mean model?)");
  CHECK(error_of("optimizer:\n  lr: 4\n") == "r.yaml:1:1: unknown key optimizer (did you mean optim?)");
  CHECK(error_of("name: x\nlr: 1\n") == "r.yaml:2:1: unknown key lr (did you mean optim.lr?)");
  CHECK(error_of("train:\n  lr: 1\n") == "r.yaml:2:3: unknown key train.lr (did you mean optim.lr?)");
  CHECK(error_of("train:\n  upadtes: 1\n") == "r.yaml:2:3: unknown key train.upadtes (did you mean train.updates?)");
  CHECK(error_of("model:\n  ehasd: 1\n") == "r.yaml:2:3: unknown key model.ehasd (did you mean model.heads?)");
  CHECK(error_of("data: {task: text}\n") == "r.yaml:1:8: unknown key data.task (did you mean data.kind?)");
  CHECK(error_of("zzzzzzzzzzz: 1\n") == "r.yaml:1:1: unknown key zzzzzzzzzzz");
  CHECK(error_of("? {a: b}\n: 1\n") == "r.yaml:1:3: a key that is not a name, wanted key: value");
}

TEST_CASE("recipe: repeated keys and sections") {
  CHECK(error_of("model:\n  dim: 4\n  heads: 2\n  dim: 8\n") ==
        "r.yaml:4:3: model.dim is given twice, first in line 2");
  CHECK(error_of("model:\n  dim: 4\ntrain:\nmodel:\n  heads: 2\n") ==
        "r.yaml:4:1: model is given twice, first in line 1");
  CHECK(error_of("name: a\nname: a\n") == "r.yaml:2:1: name is given twice, first in line 1");
}

TEST_CASE("recipe: wrong types") {
  CHECK(error_of("model:\n  dim: wide\n") ==
        "r.yaml:2:8: model.dim is \"wide\", wanted an integer >= 1 and <= 65536");
  CHECK(error_of("model:\n  dim: 4.5\n") == "r.yaml:2:8: model.dim is \"4.5\", wanted an integer >= 1 and <= 65536");
  CHECK(error_of("model:\n  dim: \"128\"\n") == "r.yaml:2:8: model.dim is the text \"128\", wanted an integer");
  CHECK(error_of("model:\n  dim: [1]\n") == "r.yaml:2:8: model.dim is a list, wanted an integer");
  CHECK(error_of("model:\n  dim: {a: 1}\n") == "r.yaml:2:8: model.dim is a map, wanted an integer");
  CHECK(error_of("model:\n  dim:\n") == "r.yaml:2:3: model.dim has no value, wanted an integer");
  CHECK(error_of("model: luna\n") == "r.yaml:1:8: model is a single value, wanted a section with keys below it");
  CHECK(error_of("model: [luna]\n") == "r.yaml:1:8: model is a list, wanted a section with keys below it");
  CHECK(error_of("optim:\n  lr: fast\n") == "r.yaml:2:7: optim.lr is \"fast\", wanted a number >= 0");
  CHECK(error_of("optim:\n  lr: inf\n") == "r.yaml:2:7: optim.lr is inf, wanted a finite number >= 0");
  CHECK(error_of("optim:\n  lr: nan\n") == "r.yaml:2:7: optim.lr is nan, wanted a finite number >= 0");
  CHECK(error_of("train:\n  tf32: yes\n") == "r.yaml:2:9: train.tf32 is \"yes\", wanted true or false");
  CHECK(error_of("schedule:\n  milestones: 5\n") ==
        "r.yaml:2:15: schedule.milestones is \"5\", wanted a list of integers such as [1000, 2000]");
  CHECK(error_of("schedule:\n  milestones: [5, x]\n") ==
        "r.yaml:2:19: schedule.milestones is \"x\", wanted an integer >= 1 and <= 1000000000000");
  CHECK(error_of("schedule:\n  milestones: [5, [6]]\n") ==
        "r.yaml:2:19: an item of schedule.milestones is not a plain value, wanted a list of integers");
}

TEST_CASE("recipe: out of range, and not among the choices") {
  CHECK(error_of("model:\n  dim: 0\n") == "r.yaml:2:8: model.dim is 0, wanted an integer >= 1 and <= 65536");
  CHECK(error_of("model:\n  dropout: 1\n") == "r.yaml:2:12: model.dropout is 1, wanted a number >= 0 and < 1");
  CHECK(error_of("optim:\n  eps: 0\n") == "r.yaml:2:8: optim.eps is 0, wanted a number >= 1e-30 and <= 1");
  CHECK(error_of("train:\n  seed: 9223372036854775808\n") ==
        "r.yaml:2:9: train.seed is \"9223372036854775808\", wanted an integer >= 0");
  CHECK(error_of("model:\n  attention: lunar\n") ==
        "r.yaml:2:14: model.attention is \"lunar\", wanted one of full, luna, efficient");
  CHECK(error_of("description: \"a\\tb\"\n") ==
        "r.yaml:1:14: description is \"a\\tb\", wanted UTF-8 text without control characters");
}

TEST_CASE("recipe: YAML that is none, or is not a recipe") {
  CHECK(error_of("") == "r.yaml:1:1: the recipe is empty, wanted keys and values");
  CHECK(error_of("# nothing\n\n") == "r.yaml:1:1: the recipe is empty, wanted keys and values");
  CHECK(error_of("model: {dim: 4\n").find("r.yaml:2:1: YAML syntax: ") == 0);
  CHECK(error_of("name: x\n  dim: 4\n").find("r.yaml:2:6: YAML syntax: ") == 0);
  CHECK(error_of("- a\n") == "r.yaml:1:1: a list, wanted keys and values (key: value)");
  CHECK(error_of("hello\n") == "r.yaml:1:1: a single value, wanted keys and values (key: value)");
  CHECK(error_of("name: a\n---\nname: b\n").find("a second document begins here, or a line") != std::string::npos);
  CHECK(error_of("name: &n a\ndescription: *n\n").find("r.yaml:2:14: an alias (*name), wanted the value itself") ==
        0);
  CHECK(error_of("name: !!str a\n") == "r.yaml:1:7: the tag \"tag:yaml.org,2002:str\", wanted a value without one");
  CHECK(error_of(std::string("name: a\nmodel:\x04\n")) == "r.yaml:2:7: byte 0x04, wanted printable text in UTF-8");
  CHECK(error_of("extends: a.yaml\n") ==
        "r.yaml:1:10: extends in a recipe that is not a file, wanted every value in it");
}

TEST_CASE("recipe: bombs are refused") {
  const std::string deep =
      "nested more than 8 levels deep, wanted at most 3";  // brackets may also count as a map's keys
  CHECK(error_of(std::string(60000, '[')).find(deep) != std::string::npos);
  CHECK(error_of("a: " + std::string(60000, '{')).find(deep) != std::string::npos);
  std::string block;
  for (int i = 0; i < 30000; ++i) block += "- ";
  CHECK(error_of(block) == "r.yaml:1:17: nested more than 8 levels deep, wanted at most 3");
  std::string maps;
  for (int i = 0; i < 300; ++i) maps += std::string(size_t(i), ' ') + "a:\n";
  CHECK(error_of(maps) == "r.yaml:9:9: nested more than 8 levels deep, wanted at most 3");
  CHECK(error_of(std::string(65537, 'a')) == "r.yaml: more than 65536 bytes, wanted a recipe");
}

TEST_CASE("recipe: --set with errors") {
  CHECK(set_error("model.dim=x") == "--set model.dim=x: model.dim is \"x\", wanted an integer >= 1 and <= 65536");
  CHECK(set_error("model.dmi=4") == "--set model.dmi=4: unknown key model.dmi (did you mean model.dim?)");
  CHECK(set_error("model=luna") == "--set model=luna: model is a section, wanted one of its keys");
  CHECK(set_error("model.dim") == "--set model.dim: no '=', wanted key=value");
  CHECK(set_error("=3") == "--set =3: no key before '=', wanted key=value");
  CHECK(set_error("train.tf32=1") == "--set train.tf32=1: train.tf32 is \"1\", wanted true or false");
  CHECK(set_error("schedule.milestones=[1,,2]") ==
        "--set schedule.milestones=[1,,2]: schedule.milestones is \"\", wanted an integer >= 1 and <= 1000000000000");
  CHECK(set_error("optim.decay=l1") == "--set optim.decay=l1: optim.decay is \"l1\", wanted one of decoupled, l2");
}

TEST_CASE("recipe: no text is taken for another number") {
  CHECK(parse_recipe("name: x\n", "r", {"model.dim=0100"}).model.dim == 100);  // as people read it, not in octal
  for (const char* bad : {"+-1", "0x10", "1e3", "10abc", "1 000", "1_000", " 7", "7 ", "--7", "+", "-"}) {
    INFO(bad);
    CHECK(set_error(std::string("train.seed=") + bad).find("wanted an integer") != std::string::npos);
  }
  for (const char* bad : {"1e999", "+-1", "0x1p3", "1,5", "nan", "1e-46", "1e39"})
    CHECK(set_error(std::string("optim.lr=") + bad).find("wanted a") != std::string::npos);
  for (const char* bad : {"[100 200]", "100 200 300", "[1 000]", "[100, 2 00]", "[100\t,200]"}) {
    INFO(bad);
    CHECK(set_error(std::string("schedule.milestones=") + bad).find("wanted an integer") != std::string::npos);
  }
  const Sets sets{"schedule.warmup=1", "schedule.name=milestone", "schedule.milestones= [ 100 , 200 ] "};
  CHECK(parse_recipe("name: x\n", "r", sets).schedule.milestones == std::vector<int64_t>{100, 200});
}

TEST_CASE("recipe: what cannot be seen is named") {
  const std::string blank = "\xc2\xa0";
  CHECK(error_of("model:\n" + blank + " dim: 64\n") == "r.yaml:2:1: unknown key <U+00A0> dim");
  CHECK(error_of("model:\n  dim:" + blank + "64\n") ==
        "r.yaml:2:3: model is a single value, wanted a section with keys below it; column 7 of line 2 is <U+00A0>, "
        "which cannot be seen");
  CHECK(error_of("model:\n  dim: 64\xe2\x80\x8b\n").find("model.dim is \"64<U+200B>\"") != std::string::npos);
  const std::string tab = error_of("model:\n\tdim: 64\n");
  CHECK(tab.find("; line 2 begins with a TAB, wanted spaces") != std::string::npos);
  CHECK(error_of("description: a" + blank + "b\n") == "no error");
  const Recipe r = parse_recipe("description: \"a" + blank + "\\u202eb\"\n", "r");
  CHECK(to_yaml(r).find("description: \"a\\U000000a0\\U0000202eb\"") != std::string::npos);
  CHECK(parse_recipe(to_yaml(r), "r") == r);
}

TEST_CASE("recipe: the values of any recipe, with the same limits") {
  using Values = std::vector<std::pair<std::string, std::string>>;
  CHECK(recipe_values("a: 1\nold: {b: [x, y], c: }\n", "r") ==
        Values{{"a", "1"}, {"old.b.0", "x"}, {"old.b.1", "y"}, {"old.c", ""}});
  std::string bomb = "a: &a [x, x]\n", deep, maps;
  for (char c = 'b'; c < 'k'; ++c)
    bomb += std::string(1, c) + ": &" + c + " [*" + char(c - 1) + ", *" + char(c - 1) + "]\n";
  for (int i = 0; i < 20000; ++i) deep += "- ", maps += "{a: ";
  for (const std::string& bad : {bomb, deep, maps, std::string(60000, '['), std::string("a: 1\na: 2\n")})
    CHECK_THROWS_AS(recipe_values(bad, "r"), Error);
}

TEST_CASE("recipe: text is UTF-8, and error lines are too") {
  const std::string wanted = ", wanted UTF-8 text without control characters";
  CHECK(error_of("description: \xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x99\n") == "no error");
  for (const char* bad : {"\xff", "\xc3", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"})
    CHECK(set_error(std::string("description=") + bad).find(wanted) != std::string::npos);
  std::string moons;
  for (int i = 0; i < 30; ++i) moons += "\xf0\x9f\x8c\x99";
  CHECK(error_of(moons + ": 1\n") == "r.yaml:1:1: unknown key " + moons.substr(0, 60) + "...");
  CHECK(error_of("\"a\\nb\": 1\n") == "r.yaml:1:1: unknown key a\\nb");
}

TEST_CASE("recipe: what may change on resume") {
  const Recipe a = parse_recipe("schedule: {warmup: 10}\n", "a");
  const auto with = [&](const Sets& sets) { return parse_recipe(to_yaml(a), "b", sets); };
  CHECK(changed_keys(a, a).empty());
  CHECK(changed_keys(a, with({"train.updates=9", "train.log_every=7", "data.path=/else", "train.threads=3",
                              "train.keep=9", "name=other"}))
            .empty());
  CHECK_FALSE(a == with({"train.updates=9"}));
  CHECK(changed_keys(a,
                     with({"model.dim=64", "train.seed=2", "schedule.name=milestone", "schedule.milestones=[11]"})) ==
        Sets{"model.dim: 128 -> 64", "schedule.name: inverse_sqrt -> milestone", "schedule.milestones: [] -> [11]",
             "train.seed: 1 -> 2"});
  const Sets falling = {"schedule.name=linear", "train.updates=100"};
  Sets longer = falling;
  longer.back() = "train.updates=200";
  CHECK(changed_keys(with(falling), with(longer)) ==
        Sets{"train.updates: 100 -> 200 (the end of schedule.name linear, because schedule.total is 0)"});
}

}  // namespace selene::testing
