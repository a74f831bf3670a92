#include "train/report/paper.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/io/printable.h"
#include "data/io/regular_file.h"
#include "kernels/error.h"
#include "train/recipe/fields.h"

namespace selene::train {
namespace {

template <class Tasks>
size_t task_index(const Tasks& tasks, std::string_view task) {
  return size_t(std::find_if(tasks.begin(), tasks.end(), [&](const PaperTask& t) { return t.key == task; }) -
                tasks.begin());
}

std::vector<PaperTask> tasks_of(const Node* node, const std::string& name) {
  std::vector<PaperTask> tasks;
  if (!node) return tasks;
  const Fields fields(*node, name);
  for (const auto& [key, value] : fields.members())
    tasks.push_back({key.text, text_of(value, fields.name_of(key.text))});
  return tasks;
}

/// `count` numbers; NaN for each where the row does not have them.
std::vector<double> row_of(Fields& fields, const char* key, size_t count) {
  const Node* node = fields.find(key);
  if (!node) return std::vector<double>(count, kNoNumber);
  const std::vector<double> row = numbers_of(*node, fields.name_of(key));
  if (row.size() != count)
    throw Error(fmt::format("{}: {} has {} numbers, wanted {}", node->place, fields.name_of(key), row.size(), count));
  return row;
}

PaperModel model_of(const Node& node, const Paper& paper) {
  Fields fields(node, "models");
  PaperModel m;
  if (const Node* key = fields.find("model")) m.key = text_of(*key, "models.model");
  m.title = text_of(fields.need("title"), "models.title");
  m.accuracy = row_of(fields, "accuracy", paper.tasks.size());
  m.average = row_of(fields, "average", 1)[0];
  m.speed = row_of(fields, "speed", paper.lengths.size());
  m.memory = row_of(fields, "memory", paper.lengths.size());
  m.accuracy_p = row_of(fields, "accuracy_p", paper.pooling_tasks.size());
  fields.need_all_asked();
  return m;
}

Paper parse_paper(const std::string& text, const std::string& path) {
  const Node top = read_tree(text, path, "file of a paper's numbers");
  Fields fields(top);
  Paper paper;
  paper.tasks = tasks_of(&fields.need("tasks"), "tasks");
  paper.more_tasks = tasks_of(fields.find("more_tasks"), "more_tasks");
  if (const Node* node = fields.find("pooling_tasks")) paper.pooling_tasks = texts_of(*node, "pooling_tasks");
  if (const Node* node = fields.find("lengths")) paper.lengths = wholes_of(*node, "lengths", 1);
  const Node& models = fields.need("models");
  fields.need_all_asked();
  if (models.kind != Node::list) throw Error(models.place + ": models is no list, wanted a row for each model");
  for (const Node& row : models.children) paper.models.push_back(model_of(row, paper));
  return paper;
}

}  // namespace

Paper load_paper(const std::string& path) {
  return parse_paper(data::read_regular_file(path, kLargestTree, "the numbers of a paper (recipes/paper)"), path);
}

const PaperModel* Paper::model(std::string_view key) const {
  for (const PaperModel& m : models)
    if (!key.empty() && m.key == key) return &m;
  return nullptr;
}

std::string Paper::task_title(std::string_view key) const {
  for (const auto* list : {&tasks, &more_tasks})
    for (const PaperTask& t : *list)
      if (t.key == key) return t.title;
  return std::string(key);
}

std::string Paper::model_title(std::string_view key) const {
  const PaperModel* m = model(key);
  return m ? m->title : std::string(key);
}

double Paper::accuracy(std::string_view key, std::string_view task, bool p) const {
  const PaperModel* m = model(key);
  if (!m) return kNoNumber;
  if (p) {
    const auto at = std::find(pooling_tasks.begin(), pooling_tasks.end(), task);
    return at == pooling_tasks.end() ? kNoNumber : m->accuracy_p[size_t(at - pooling_tasks.begin())];
  }
  const size_t t = task_index(tasks, task);
  return t < tasks.size() ? m->accuracy[t] : kNoNumber;
}

double Paper::average(const PaperModel& model, const std::vector<std::string>& of) const {
  double sum = 0;
  for (const std::string& task : of) {
    const size_t t = task_index(tasks, task);
    sum += t < tasks.size() ? model.accuracy[t] : kNoNumber;
  }
  return of.empty() ? kNoNumber : sum / double(of.size());
}

std::optional<size_t> Paper::length_index(int64_t length) const {
  const auto at = std::find(lengths.begin(), lengths.end(), length);
  if (at == lengths.end()) return std::nullopt;
  return size_t(at - lengths.begin());
}

}  // namespace selene::train
