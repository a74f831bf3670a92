// metrics.jsonl: one JSON object per line for each logging interval, validation and test of a run.
#pragma once
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace selene::train {

struct Metric {
  std::string name;
  double value = 0;
};

/// One line of metrics.jsonl. A new metric is a new name: nothing here, in the file or in the report has to change.
/// Names that the report knows: epoch; loss (nats of the true label, mean per example); smoothed_loss (what is
/// trained on where train.label_smoothing is not 0); accuracy (fraction 0..1); lr; grad_norm (before
/// clipping); parameters (count); and the times of is_time(): examples_per_s, tokens_per_s, wall_s (seconds of
/// training so far, summed over resumed runs).
struct MetricsRow {
  std::string kind;            // "train", "valid" or "test"
  int64_t update = 0;          // updates finished when the row was made, at least 0
  std::vector<Metric> values;  // in the order in which they are written; names differ

  /// Appends a value; returns the row, so that calls chain.
  MetricsRow& add(std::string_view name, double value);
  /// The value of that name, or nothing.
  std::optional<double> find(std::string_view name) const;
};

/// Whether a metric depends on the clock: its name ends in "_s". Everything else has the same bits in a resumed run.
bool is_time(std::string_view name);

enum class Times { keep, drop };

/// One line without its end: kind, update, values in order with the times moved to the end (or left out), so that the
/// part that a resumed run repeats is a prefix. Numbers are the shortest text that reads back to the same double; NaN
/// and the infinities, which JSON lacks, are the strings "nan", "inf" and "-inf".
std::string to_json(const MetricsRow& row, Times times = Times::keep);

/// The inverse of to_json. Throws Error (without a place) on anything else than such an object.
MetricsRow parse_row(std::string_view line);

struct MetricsFile {
  std::vector<MetricsRow> rows;       // of all lines that could be read, in file order
  std::vector<std::string> problems;  // "metrics.jsonl:12: ..." for each line that could not
  bool cut = false;  // the last line had no end and could not be read: the run was killed while writing it
};

/// Reads a whole file. A bad line, and one that brings the metrics beyond 100 names, is reported and left out, a cut
/// last one is only marked. Throws Error if the file
/// cannot be read.
MetricsFile read_metrics(const std::string& path);

/// For a resumed run: drops the rows beyond `update` and of kind "test" (the run goes on and will be tested at its
/// new end), with `validation_due` also the validation of that update, which is done anew, a cut last line and lines
/// that cannot be read; the others keep their bytes. The new file replaces the old one atomically; nothing is written
/// if nothing is dropped. A missing file counts as empty. Returns the number of dropped lines. Throws Error if the
/// file cannot be read or written.
int64_t truncate_after(const std::string& path, int64_t update = std::numeric_limits<int64_t>::max(),
                       bool validation_due = false);

/// Appends rows to a file. Each row is one write(2), so that a killed run loses at most the end of its last line; a
/// line cut by an earlier run is removed first.
class MetricsWriter {
 public:
  /// Opens or creates the file. Throws Error with path and reason.
  explicit MetricsWriter(const std::string& path);
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  /// Throws Error with path and reason, for example on a full disk.
  void append(const MetricsRow& row);
  /// Makes all rows durable (fsync): call it before a checkpoint that follows them is written.
  void sync();

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace selene::train
