// Recipes from files: extends, unreadable files, the recipes of this repository, and docs/recipes.md.
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "train/recipe/recipe.h"

namespace selene::testing {
namespace {

using namespace train;
namespace fs = std::filesystem;

struct Files : Folder {
  Files() { fs::create_directory(path / "sub"); }
  std::string write(const std::string& name, const std::string& text) const {
    write_text(file(name), text);
    return file(name);
  }
};

std::string error_of(const std::string& path) {
  const std::string message = message_of([&] { load_recipe(path); });
  return message.empty() ? "no error" : message;
}

const fs::path kRoot = SELENE_SOURCE_ROOT;

}  // namespace

TEST_CASE("recipe: extends takes the parent's values, children and --set replace them") {
  const Files f;
  f.write("base.yaml", "name: of-base\nschedule: {warmup: 7}\nmodel: {dim: 64, heads: 2}\noptim: {lr: 1}\n");
  f.write("sub/middle.yaml", "extends: ../base.yaml\nmodel: {dim: 32}\noptim: {lr: 2}\n");
  const std::string child = f.write("child.yaml", "extends: sub/middle.yaml\noptim: {lr: 3}\ndescription: d\n");
  const Recipe r = load_recipe(child, {"model.heads=4"});
  CHECK(r.schedule.warmup == 7);
  CHECK(r.model.dim == 32);
  CHECK(r.model.heads == 4);
  CHECK(r.optim.lr == 3);
  CHECK(r.name == "child");
  CHECK(load_recipe(f.file("base.yaml")).name == "of-base");
  CHECK(load_recipe(child, {"name=mine"}).name == "mine");
  for (const char* name : {"my recipe (1).yaml", "größe.yaml", "caf\xe9.yaml", "a\x1b.yaml"}) {
    const std::string named = f.write(name, "schedule: {warmup: 7}\n");
    CHECK(load_recipe(named).name.empty());  // no folder can be named so; selene-train wants --out
    CHECK(load_recipe(named, {"name=mine"}).name == "mine");
  }
  CHECK(parse_recipe(to_yaml(r), "back") == r);
}

TEST_CASE("recipe: extends in a circle names the chain") {
  const Files f;
  const std::string self = f.write("self.yaml", "extends: self.yaml\n");
  CHECK(error_of(self) == self + ":1:10: recipes extend each other in a circle: " + self + " -> " + self);
  const std::string a = f.write("a.yaml", "name: a\nextends: sub/b.yaml\n");
  const std::string b = f.write("sub/b.yaml", "extends: ../sub/../a.yaml\n");
  CHECK(error_of(a) == b + ":1:10: recipes extend each other in a circle: " + a + " -> " + b + " -> " + a);
}

TEST_CASE("recipe: errors in a parent name the parent") {
  const Files f;
  const std::string base = f.write("base.yaml", "schedule: {warmup: 7}\nmodel:\n  dim: 99\n");
  const std::string child = f.write("child.yaml", "extends: base.yaml\n");
  CHECK(error_of(child) == base + ":3:8: model.dim is 99, wanted a multiple of model.heads (4)");
  f.write("base.yaml", "modell:\n  dim: 99\n");
  CHECK(error_of(child) == base + ":1:1: unknown key modell (did you mean model?)");
  f.write("base.yaml", "");
  CHECK(error_of(child) == base + ":1:1: the recipe is empty, wanted keys and values");
  fs::remove(base);
  CHECK(error_of(child) ==
        child + ":1:10: " + base + ": cannot be opened: No such file or directory; wanted a recipe");
  f.write("child.yaml", "extends:\n");
  CHECK(error_of(child) == child + ":1:1: extends is no file name, wanted one recipe file or a list of them");
  f.write("child.yaml", "extends: []\n");
  CHECK(error_of(child) == child + ":1:10: extends is an empty list, wanted one recipe file or a list of them");
  f.write("child.yaml", "extends: [sub, b.yaml]\n");
  CHECK(error_of(child) == child + ":1:11: " + f.file("sub") + ": is a folder, wanted a recipe");
  f.write("sub/a.yaml", "name: a\n");
  f.write("child.yaml", "extends:\n  - sub/a.yaml\n  - {a: b}\n");
  CHECK(error_of(child) == child + ":3:5: extends is no file name, wanted one recipe file or a list of them");
}

TEST_CASE("recipe: several parents and several files are merged in order") {
  const Files f;
  const std::string base = f.write("base.yaml", "model: {dim: 8, heads: 2}\noptim: {lr: 1, beta1: 0.5}\n");
  f.write("a.yaml", "extends: base.yaml\nmodel: {dim: 16}\noptim: {beta2: 0.5}\ndescription: of a\n");
  f.write("sub/b.yaml", "extends: ../base.yaml\noptim: {lr: 2, beta2: 0.25}\n");
  const std::string child = f.write("child.yaml", "extends: [a.yaml, sub/b.yaml]\nschedule: {warmup: 3}\n");
  const Recipe r = load_recipe(child);
  CHECK(r.model.dim == 16);  // the base that b has too counts where it comes first
  CHECK((r.optim.lr == 2 && r.optim.beta1 == 0.5 && r.optim.beta2 == 0.25));
  CHECK((r.name == "child" && r.description == "of a"));

  const std::string model = f.write("sub/m-1.yaml", "name: m\nmodel: {dim: 32}\ndescription: of m\n");
  const Recipe both = compose_recipe({child, model}, {"model.heads=4"});
  CHECK((both.model.dim == 32 && both.model.heads == 4 && both.optim.lr == 2));
  CHECK((both.name == "child-m" && both.description == "of a, of m"));
  CHECK(compose_recipe({model, child}).model.dim == 16);
  CHECK(compose_recipe({model, f.write("no name.yaml", "model: {dim: 8}\n")}).name.empty());
  const auto error = [](const std::vector<std::string>& paths) { return message_of([&] { compose_recipe(paths); }); };
  for (const std::string& second : {model, f.file("sub/../sub/m-1.yaml")})
    CHECK(error({model, second}) == second + ": is given twice, wanted each file once");
  CHECK(compose_recipe({child, base}).model.dim == 8);  // was a parent of the first, and wins all the same
  CHECK(error({model, f.file("none.yaml")}) ==
        f.file("none.yaml") + ": cannot be opened: No such file or directory; wanted a recipe");
  const std::string odd = f.write("odd.yaml", "model: {heads: 5}\n");
  CHECK(error({model, odd}) == model + ":2:14: model.dim is 32, wanted a multiple of model.heads (5)");

  f.write("child.yaml", "extends: [a.yaml, sub/../a.yaml]\n");
  CHECK(error_of(child) == child + ":1:19: extends sub/../a.yaml twice, wanted it once");
  f.write("child.yaml", "extends: [a.yaml, none.yaml]\n");
  CHECK(error_of(child) ==
        child + ":1:19: " + f.file("none.yaml") + ": cannot be opened: No such file or directory; wanted a recipe");
  f.write("sub/b.yaml", "extends: [../base.yaml, ../child.yaml]\n");
  f.write("child.yaml", "extends: [a.yaml, sub/b.yaml]\n");
  CHECK(error_of(child) == f.file("sub/b.yaml") + ":1:25: recipes extend each other in a circle: " + child + " -> " +
                               f.file("sub/b.yaml") + " -> " + child);
}

TEST_CASE("recipe: every value tells its source") {
  const Files f;
  const std::string base = f.write("base.yaml", "model:\n  dim: 8\n  heads: 2\n");
  const std::string child = f.write("child.yaml", "extends: [base.yaml]\noptim: {lr: 2}\n");
  const std::string model = f.write("m.yaml", "model: {dim: 32}\n");
  const std::string text = sourced_yaml({child, model}, {"schedule.warmup=7"});
  for (const std::string& line :
       {"  dim: 32  # " + model + ":1:14\n", "  heads: 2  # " + base + ":3:10\n", "  lr: 2  # " + child + ":2:13\n",
        std::string("  warmup: 7  # --set schedule.warmup=7\n"), std::string("  beta1: 0.9  # default\n")})
    CHECK(text.find(line) != text.npos);
  CHECK(parse_recipe(text, "back") == compose_recipe({child, model}, {"schedule.warmup=7"}));
}

TEST_CASE("recipe: files that cannot be read") {
  const Files f;
  CHECK(error_of(f.file("none.yaml")) ==
        f.file("none.yaml") + ": cannot be opened: No such file or directory; wanted a recipe");
  CHECK(error_of(f.file("sub")) == f.file("sub") + ": is a folder, wanted a recipe");
  const std::string big = f.write("big.yaml", std::string(100000, '#'));
  CHECK(error_of(big) == big + ": has 100000 bytes, wanted a recipe of at most 65536");
  std::string next = "end.yaml";
  for (int i = 0; i < 40; ++i) {
    f.write(std::to_string(i) + ".yaml", "extends: " + next + "\n");
    next = std::to_string(i) + ".yaml";
  }
  std::string wide = "extends:\n";
  for (int i = 0; i < 40; ++i) {
    f.write("sub/" + std::to_string(i) + ".yaml", "model: {dim: 8}\n");
    wide += "  - sub/" + std::to_string(i) + ".yaml\n";
  }
  const std::string many = f.write("wide.yaml", wide);
  const std::string wanted = ": is file 33 of one recipe, wanted at most 32 with all that they extend";
  CHECK(error_of(many) == many + ":33:5: " + f.file("sub/31.yaml") + wanted);
  CHECK(error_of(f.file("39.yaml")) == f.file("8.yaml") + ":1:10: " + f.file("7.yaml") + wanted);
  std::vector<std::string> given;
  for (int i = 0; i < 40; ++i) given.push_back(f.file("sub/" + std::to_string(i) + ".yaml"));
  CHECK(message_of([&] { compose_recipe(given); }) == given[32] + wanted);
}

TEST_CASE("recipe: those of the repository load") {
  int count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / "recipes")) {
    const std::string top = entry.path().lexically_relative(kRoot / "recipes").begin()->string();
    if (entry.path().extension() != ".yaml" || top == "paper" || top == "sweeps") continue;
    INFO(entry.path().string());
    CHECK(error_of(entry.path().string()) == "no error");
    ++count;
  }
  CHECK(count >= 6);
}

TEST_CASE("recipe: docs/recipes.md is current") {
  std::stringstream text;
  text << std::ifstream(kRoot / "docs/recipes.md").rdbuf();
  INFO("docs/recipes.md differs from the schema: write it anew with selene-train --describe");
  CHECK(text.str() == describe_markdown());
  CHECK(describe_text().find("\nmodel.dim = 128\n") != std::string::npos);
}

}  // namespace selene::testing
