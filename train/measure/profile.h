// --profile: what each operation of some updates costs, as a table in the log and as a Chrome trace in the run
// folder.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "kernels/stream.h"

namespace selene::train {

class Profile {
 public:
  /// Times every launch of the stream from now on, until destruction, and the time as a whole.
  explicit Profile(Stream& stream);
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;
  /// What lies between the two is no part of an update: validations and checkpoints.
  void pause();
  void resume();
  /// Writes folder/profile.json (load it in chrome://tracing or Perfetto) and logs the table, slowest first.
  void write(const std::string& folder, int64_t updates) const;

 private:
  struct Event {
    Operation operation;
    DType dtype;
    double begin, seconds;
  };  // seconds since the profile began, without the pauses
  Stream& stream_;
  double start_ = 0, paused_ = 0;  // moves on with every pause; when the last one began
  std::vector<Event> events_;
};

}  // namespace selene::train
