// What selene-evaluate tells of a classifier beside its measures: answers, confusion, yardsticks, predictions.
#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "autograd/with_dtype.h"
#include "data/baselines.h"
#include "data/io/durable_file.h"
#include "data/io/printable.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "train/tasks/classification.h"
#include "train/tasks/confusion.h"

namespace selene::train {
namespace {

/// Numbers of a tensor of any float type in host memory.
std::vector<float> floats(const Tensor& t, Context& context) {
  if (t.dtype() == DType::f32) return context.values<float>(t);
  const Tensor wide = context.empty(t.shape(), DType::f32, "logits");
  with_dtype(t.dtype(), [&]<class T>() {
    run(context.stream(), Cast<T>{t.data<T>(), wide.raw(), DType::f32, wide.numel()});
  });
  return context.values<float>(wide);
}

class PredictionFile {
 public:
  PredictionFile(const std::string& path, const data::Dataset& set) : file_(path), set_(set) {
    file_.write(kHeader, sizeof(kHeader) - 1);
  }
  void add(int64_t example, int32_t label, const Answer& answer) {
    const std::string line =
        fmt::format("{}\t{}\t{}\t{:.4f}\t{}\n", example + 1, label == data::kNoLabel ? "" : std::to_string(label),
                    answer.label, answer.probability, set_.kind->text(set_, example));
    file_.write(line.data(), line.size());
  }
  void commit() { file_.commit(); }

 private:
  static constexpr char kHeader[] = "number\tlabel\tprediction\tprobability\texample\n";
  data::DurableFile file_;
  const data::Dataset& set_;
};

class ClassificationFindings : public Findings {
 public:
  ClassificationFindings(std::shared_ptr<const data::Dataset> set, const FindingsWanted& wanted)
      : set_(std::move(set)), wanted_(wanted), confusion_(*set_) {
    if (!wanted_.predictions.empty()) predictions_.emplace(wanted_.predictions, *set_);
  }

  void add(const data::Batch& batch, const Tensor& outputs, Context& context) override {
    const std::vector<float> logits = floats(outputs, context);
    const std::vector<int32_t>& labels = batch.at("labels").integers;
    for (int64_t b = 0; b < batch.B; ++b) {
      const Answer answer = answer_of(logits, batch.B, b);
      const int64_t example = batch.examples[size_t(b)];
      if (predictions_) predictions_->add(example, labels[size_t(b)], answer);
      if (wanted_.own) answers_.push_back(answer);
      confusion_.add(example, labels[size_t(b)], answer.label);
    }
  }

  void finish(const data::Dataset* train) override {
    for (const Answer& answer : answers_)
      if (!std::isfinite(answer.probability))
        throw Error(fmt::format("{}: the model answers with NaN", wanted_.model));
    if (predictions_) predictions_->commit();
    if (train) base_ = data::baselines(*train, *set_);
  }

  std::string before_measures() const override {
    std::string text;
    for (size_t i = 0; i < answers_.size(); ++i)
      text += fmt::format("{}  {:.4f}  {}\n", class_of(answers_[i]), answers_[i].probability,
                          data::shown_bare(set_->kind->text(*set_, int64_t(i))));
    return text;
  }

  std::string after_measures() const override {
    std::string text;
    if (base_) text += fmt::format("majority class  {:.4f}\n", base_->majority);
    if (const char* first = set_->kind->first_symbol; base_ && first)
      text += fmt::format("first {:<9} {:.4f}  (knows only the first symbol)\n", first, base_->first_symbol);
    if (wanted_.confusion) text.append("\n").append(confusion_.table());
    return text;
  }

  void add_to(data::Json& object) const override {
    if (confusion_.examples() > 0) object.set("confusion", confusion_.counts());
    data::Json::List by_length, answers;
    for (const LengthBucket& b : confusion_.by_length())
      by_length.push_back(
          {{"shortest", b.shortest}, {"longest", b.longest}, {"examples", b.examples}, {"correct", b.correct}});
    for (const Answer& answer : answers_)
      answers.push_back({{"class", class_of(answer)}, {"probability", answer.probability}});
    if (!by_length.empty()) object.set("by_length", std::move(by_length));
    if (!answers.empty()) object.set("answers", std::move(answers));
    if (base_) object.set("majority_class", base_->majority);
    if (const char* first = set_->kind->first_symbol; base_ && first)
      object.set(fmt::format("first_{}", first), base_->first_symbol);
  }

 private:
  const std::string& class_of(const Answer& answer) const { return set_->kind->class_names[size_t(answer.label)]; }
  std::shared_ptr<const data::Dataset> set_;
  FindingsWanted wanted_;
  Confusion confusion_;
  std::optional<PredictionFile> predictions_;
  std::vector<Answer> answers_;  // [examples], of a person's own examples
  std::optional<data::Baselines> base_;
};

}  // namespace

std::unique_ptr<Findings> Classification::findings(std::shared_ptr<const data::Dataset> data,
                                                   const FindingsWanted& wanted) const {
  return std::make_unique<ClassificationFindings>(std::move(data), wanted);
}

}  // namespace selene::train
