// What selene-bench measures: arguments and the measurements, one function for each subcommand.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/io/json.h"
#include "engine/backend.h"
#include "train/step/session.h"

namespace selene::bench {

struct Arguments {
  std::vector<std::string> precisions;  // the recipe's where empty
  std::vector<int64_t> lengths;         // likewise
  int64_t batch = 0, symbols = 260, steps = 10, threads = 2;
  std::string device = "cpu";
  bool json = false, graph = true, plans = false;
  std::vector<std::string> attentions{"1x64x1024x1024x64"};
  std::vector<std::string> recipes, sets;  // files and key=value over them
};

/// What a step can't be faster than: memory and matrix products at their measured best.
struct Ceilings {
  double copy_bytes_per_s = 0, flops_per_s = 0;
};
/// A copy of 256 MiB, and a product of 8192^3 (1024^3 on the CPU) in an element type. On a device measured once.
Ceilings measure_ceilings(DType dtype, const Backend* module);

/// A training step of random tokens: forward, backward, Adam.
void step(const Arguments& a, const train::Recipe& recipe, int64_t N, const Backend* module);
/// Every operation of that step by itself.
void kernels(const Arguments& a, const train::Recipe& recipe, int64_t N, const Backend* module);
/// What every operation of that step has to read and write, counted without running it.
void bytes(const Arguments& a, const train::Recipe& recipe, int64_t N, const Backend* module);
/// Attention alone, forward and backward, by each kernel that the device has. Shape: "BxHxNqxNkxK".
void attention(const Arguments& a, const std::string& shape, const std::string& precision, const Backend* module);
/// Compares attention and linear layers on a device, at the sizes that are timed (on the shim at small ones), with
/// other kernels of it; prints each distance beside the one that roundings explain. Returns how many lie beyond it.
int check(const Arguments& a, const std::string& precision, const Backend* module);
/// How the matrix library of a device runs each product of a step. Error where there is no such library.
void plans(const Arguments& a, const train::Recipe& recipe, int64_t N, const Backend* module);
void ceilings(const Arguments& a, const std::string& precision, const Backend* module);

/// The loader of a recipe's data beside the recipe's training step.
void loader(const Arguments& a, const train::Recipe& recipe, const Backend* module);

/// What slower kernels than those meant for it have run on the stream, one object each; of one operation and element
/// type, or of all.
data::Json fallbacks_of(const Stream& stream);
data::Json fallbacks_of(const Stream& stream, Operation operation, DType dtype);
/// The same for people, a line each.
void print_fallbacks(const data::Json& fallbacks);

/// What the measurements of a step share. Tables and peers know the model by its label.
std::string label_of(const train::Recipe& recipe);
data::Batch random_batch(const train::Task& task, int64_t B, int64_t N, int64_t symbols);
double load_average();
double seconds_of(const std::function<void()>& f);

}  // namespace selene::bench
