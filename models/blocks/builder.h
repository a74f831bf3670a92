// What a model is built with: where its parameters go, how they start, and the names of its dropout sites.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "models/config.h"

namespace selene {

/// Ids of dropout sites: fixed by the place in the model, so that a rerun or another order of calls draws the same
/// masks. `tower` keeps two documents apart; layer -1: around the layers.
constexpr uint32_t dropout_site(int tower, int64_t layer, int place) {
  return uint32_t(tower) << 24 | uint32_t(layer + 1) << 8 | uint32_t(place);
}

/// Which application of which layer: with tied layers one layer is applied several times.
struct Where {
  int tower = 0;
  int64_t layer = -1;
};

/// A place of a layer where elements are dropped.
struct Site {
  int place = 0;
  double probability = 0;
  DropoutSite operator()(const Tape& t, Where at) const {
    return t.dropout(probability, dropout_site(at.tower, at.layer, place));
  }
};

struct Builder {
  static constexpr int kSites = 8;  // of one layer

  Parameters& parameters;
  const ModelConfig& config;
  std::string prefix;  // "encoder.encoder.layers.0."
  std::shared_ptr<std::vector<std::string>> sites = std::make_shared<std::vector<std::string>>();

  Builder inside(const std::string& name) const { return {parameters, config, prefix + name + ".", sites}; }
  /// Inside layer i, whose dropout sites are its own.
  Builder layer(int64_t i) const { return {parameters, config, prefix + "layers." + std::to_string(i) + "."}; }
  int add(const std::string& name, Shape shape, Init init) const {
    return parameters.add(prefix + name, shape, init);
  }
  /// The next dropout site of this layer. Error for a name that the layer has already, or more than kSites.
  Site site(const std::string& name, double probability) const;
  bool bert() const { return config.init == "bert"; }
};

}  // namespace selene
