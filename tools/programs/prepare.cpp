// selene-prepare: makes data sets, from generators and from the official files.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <memory>

#include "data/io/machine.h"
#include "data/io/progress.h"
#include "data/io/stop.h"
#include "data/lra/listops/prepare.h"
#include "data/lra/pathfinder/prepare.h"
#include "data/lra/prepare.h"
#include "data/lra/stand_in.h"
#include "data/text/characters.h"
#include "kernels/error.h"
#include "tools/programs/program.h"

namespace {

using namespace selene::data;

/// A subcommand: its declaration, and what it does when it was chosen.
struct Command {
  CLI::App* app;
  std::function<Prepared(const Watch&)> make;
  const std::string* folder;
  std::string unit;
  bool prepared = true;  // false: makes files in an official layout
};

template <class T>
CLI::Option* count(CLI::App* app, const std::string& name, T& value, const std::string& help) {
  return app->add_option(name, value, help)->capture_default_str()->type_name("N");
}

template <class Plan>
void declare_folder(CLI::App* app, Plan& plan) {
  app->add_option("--out", plan.folder, "Folder to make")->check(selene::not_empty)->required()->type_name("DIR");
  app->add_flag("--force", plan.force, "Make it anew, in the place of one made with other options too");
}

void declare_caps(CLI::App* app, SplitCaps& caps) {
  count(app, "--train", caps.train, "Training examples; 0: all");
  count(app, "--valid", caps.valid, "Validation examples; 0: all");
  count(app, "--test", caps.test, "Test examples; 0: all");
}

Command listops(CLI::App& app, ListopsPlan& plan) {
  CLI::App* c = app.add_subcommand("listops", "ListOps expressions with the Long Range Arena's sampling rule");
  declare_folder(c, plan);
  plan.threads = usable_cores();
  CLI::Option* from =
      c->add_option("--from", plan.from,
                    "Folder of basic_train.tsv, basic_val.tsv, basic_test.tsv, instead of making new ones")
          ->type_name("DIR");
  const std::pair<CLI::Option*, int64_t*> counts[] = {
      {count(c, "--train", plan.train, "Training examples"), &plan.train},
      {count(c, "--valid", plan.valid, "Validation examples"), &plan.valid},
      {count(c, "--test", plan.test, "Test examples"), &plan.test}};
  ListopsOptions& o = plan.options;
  from->excludes(count(c, "--min-length", o.min_length, "Tokens of the shortest expression"));
  from->excludes(count(c, "--max-length", o.max_length, "Tokens of the longest expression"));
  from->excludes(count(c, "--max-depth", o.max_depth, "Levels, digits included"));
  from->excludes(count(c, "--max-args", o.max_args, "Arguments of an operator"));
  from->excludes(count(c, "--seed", o.seed, "The same seed gives the same files"));
  count(c, "--threads", plan.threads, "Threads; the result does not depend on them");
  c->add_flag("--tsv", plan.tsv, "Write the official TSV files too");
  c->footer(
      "With --from all examples are taken where no count is given.\n"
      "Example: selene-prepare listops --out data-out/lra/listops --seed 1");
  const auto make = [&plan, from, counts](const Watch& watch) {
    if (from->count() > 0)
      for (const auto& [option, value] : counts)
        if (option->count() == 0) *value = 0;
    return prepare_listops(plan, watch);
  };
  return {c, make, &plan.folder, "examples"};
}

Command text(CLI::App& app, TextPlan& plan) {
  CLI::App* c = app.add_subcommand("text", "IMDb reviews as bytes, from the folder aclImdb");
  declare_folder(c, plan);
  c->add_option("--from", plan.from, "The folder aclImdb")->required()->type_name("DIR");
  count(c, "--held-out", plan.held_out,
        "Training reviews set apart for validation; 0: the test set validates, as in the Long Range Arena");
  declare_caps(c, plan.caps);
  count(c, "--seed", plan.seed, "Of the order of the examples, and of which are held out");
  c->footer("Example: selene-prepare text --from data-raw/aclImdb --out data-out/lra/text");
  return {c, [&plan](const Watch& watch) { return prepare_text(plan, watch); }, &plan.folder, "reviews"};
}

Command characters(CLI::App& app, CharactersPlan& plan) {
  CLI::App* c = app.add_subcommand("characters", "any text in UTF-8 as characters, for language models");
  declare_folder(c, plan);
  c->add_option("FILE", plan.files, "training texts")->check(selene::not_empty)->required();
  const auto split = [&](const std::string& option, std::vector<std::string>& files, double& share) {
    CLI::Option* given = c->add_option(option, files, "texts of this split, instead of a share");
    given->check(selene::not_empty)->type_name("FILE");
    c->add_option(option + "-share", share, "part of every training text, at its end, that makes this split")
        ->check([](const std::string& text) -> std::string {
          const double value = strtod(text.c_str(), nullptr);
          return value >= 1e-6 && value <= 0.5 ? ""
                                               : "'" + text + "', wanted a number from 0.000001 to 0.5";  // nor nan
        })
        ->capture_default_str()
        ->excludes(given);
  };
  split("--valid", plan.valid, plan.valid_share), split("--test", plan.test, plan.test_share);
  c->footer("Example: selene-prepare characters book.txt --out data-out/characters");
  return {c, [&plan](const Watch& watch) { return prepare_characters(plan, watch); }, &plan.folder, "texts"};
}

Command image(CLI::App& app, ImagePlan& plan) {
  CLI::App* c = app.add_subcommand("image", "CIFAR-10 in grey, from the folder cifar-10-batches-bin");
  declare_folder(c, plan);
  c->add_option("--from", plan.from, "The folder of data_batch_1.bin to test_batch.bin")
      ->required()
      ->type_name("DIR");
  declare_caps(c, plan.caps);
  count(c, "--seed", plan.seed, "Of the order of the images; the last tenth of the training images validates");
  c->footer("Example: selene-prepare image --from data-raw/cifar-10-batches-bin --out data-out/lra/image");
  return {c, [&plan](const Watch& watch) { return prepare_image(plan, watch); }, &plan.folder, "images"};
}

Command retrieval(CLI::App& app, RetrievalPlan& plan) {
  CLI::App* c = app.add_subcommand("retrieval", "pairs of AAN articles as bytes, from the folder tsv_data");
  declare_folder(c, plan);
  c->add_option("--from", plan.from, "The folder of new_aan_pairs.train.tsv, .eval.tsv, .test.tsv")
      ->required()
      ->type_name("DIR");
  count(c, "--max-bytes", plan.max_bytes, "Bytes of a text that are kept");
  declare_caps(c, plan.caps);
  count(c, "--seed", plan.seed, "Of the order of the pairs");
  c->footer("Example: selene-prepare retrieval --from data-raw/tsv_data --out data-out/lra/retrieval");
  return {c, [&plan](const Watch& watch) { return prepare_retrieval(plan, watch); }, &plan.folder, "MiB"};
}

void declare_generator(CLI::App* c, PathfinderOptions& o, int& threads) {
  threads = usable_cores();
  c->add_option("--size", o.size, "Pixels of a side: 32, 64, 128 (Path-X), 256")
      ->check(CLI::IsMember({32, 64, 128, 256}))
      ->capture_default_str();
  c->add_option("--level", o.level, "14, 9 or 6 paddles a contour")
      ->check(CLI::IsMember({"hard", "intermediate", "easy"}))
      ->capture_default_str();
  count(c, "--seed", o.seed, "The same seed gives the same images");
  count(c, "--threads", threads, "Threads; the result does not depend on them");
}

Command pathfinder(CLI::App& app, PathfinderPlan& plan) {
  CLI::App* c = app.add_subcommand("pathfinder", "Pathfinder images, generated or from the official PNG files");
  declare_folder(c, plan);
  declare_generator(c, plan.options, plan.threads);
  CLI::Option* from =
      c->add_option("--from", plan.from, "Folder of one level (imgs/, metadata/), instead of making new images")
          ->type_name("DIR");
  for (const char* generators : {"--size", "--level", "--seed"}) from->excludes(c->get_option(generators));
  count(c, "--count", plan.count, "Images of all three splits, 8 : 1 : 1");
  declare_caps(c, plan.caps);
  count(c, "--split-seed", plan.split_seed, "Of the order that is cut into splits");
  c->footer("Example: selene-prepare pathfinder --out data-out/lra/pathx --size 128");
  return {c, [&plan](const Watch& watch) { return prepare_pathfinder(plan, watch); }, &plan.folder, "images"};
}

Command pathfinder_images(CLI::App& app, PathfinderImagesPlan& plan) {
  CLI::App* c = app.add_subcommand("pathfinder-images", "Pathfinder PNG files in the official layout");
  declare_folder(c, plan);
  declare_generator(c, plan.options, plan.threads);
  count(c, "--count", plan.count, "Images");
  count(c, "--per-batch", plan.per_batch, "Images of a folder");
  c->footer("Example: selene-prepare pathfinder-images --out pathfinder --count 100");
  return {c, [&plan](const Watch& watch) { return prepare_pathfinder_images(plan, watch); }, &plan.folder, "images",
          false};
}

Command stand_in(CLI::App& app, StandInPlan& plan, std::string& kind) {
  CLI::App* c = app.add_subcommand(
      "stand-in", "small synthetic data in an official form, where the real files are not to be had");
  declare_folder(c, plan);
  c->add_option("KIND", kind, "text, image or retrieval")
      ->required()
      ->check(CLI::IsMember({"text", "image", "retrieval"}));
  count(c, "--train", plan.train, "Training examples");
  count(c, "--valid", plan.valid, "Validation examples (retrieval alone has such files)");
  count(c, "--test", plan.test, "Test examples");
  count(c, "--seed", plan.seed, "The same seed gives the same files");
  c->footer("Example: selene-prepare stand-in text --out data-raw/aclImdb");
  const auto make = [&plan, &kind](const Watch& watch) {
    return kind == "text"    ? make_stand_in_imdb(plan, watch)
           : kind == "image" ? make_stand_in_cifar10(plan, watch)
                             : make_stand_in_aan(plan, watch);
  };
  return {c, make, &plan.folder, "examples", false};
}

/// ", 36000 train, 2000 valid, 2000 test examples; ..."
std::string counts_text(const std::string& folder) {
  std::string text;
  for (const char* split : {"train", "valid", "test"})
    text += fmt::format(", {} {}", open_prepared(prepared_path(folder, split)).examples(), split);
  return text + " examples; selene-inspect shows them";
}

int prepare(const Command& command) {
  listen_for_stop();
  std::unique_ptr<Progress> progress;
  const auto watch = [&](int64_t done, int64_t total, const std::string& note) {
    check_stop();
    if (!progress) progress = std::make_unique<Progress>(command.app->get_name(), command.unit, total);
    progress->set(done, note);
  };
  const Prepared result = command.make(watch);
  if (progress) progress->finish();
  if (result == Prepared::already_there)
    selene::print_line(*command.folder +
                       ": already there, made with the same options; nothing to do (--force makes it anew)");
  else selene::print_line(*command.folder + ": made" + (command.prepared ? counts_text(*command.folder) : ""));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Makes data sets.", "selene-prepare");
  app.footer("Example: selene-prepare listops --out data-out/lra/listops");
  app.require_subcommand(0, 1);  // run_program wants one, and names an unknown one
  ListopsPlan listops_plan;
  TextPlan text_plan;
  CharactersPlan characters_plan;
  ImagePlan image_plan;
  RetrievalPlan retrieval_plan;
  PathfinderPlan pathfinder_plan;
  PathfinderImagesPlan pathfinder_images_plan;
  StandInPlan stand_in_plan;
  std::string stand_in_kind;
  const Command commands[] = {listops(app, listops_plan),
                              text(app, text_plan),
                              characters(app, characters_plan),
                              image(app, image_plan),
                              retrieval(app, retrieval_plan),
                              pathfinder(app, pathfinder_plan),
                              pathfinder_images(app, pathfinder_images_plan),
                              stand_in(app, stand_in_plan, stand_in_kind)};
  return selene::run_program(app, argc, argv, [&] {
    const auto chosen =
        std::find_if(std::begin(commands), std::end(commands), [](const Command& c) { return c.app->parsed(); });
    return prepare(*chosen);
  });
}
