// Names that operating systems and programs put into folders on their own: nobody's data.
#pragma once
#include <algorithm>
#include <array>
#include <string_view>

namespace selene::data {

/// Whether a file or folder of this name is such a thing: "._x" and .DS_Store of a Mac, Thumbs.db and desktop.ini of
/// Windows, lost+found of a fresh disk, @eaDir of a network store, .ipynb_checkpoints of Jupyter, and the like.
inline bool is_clutter(std::string_view name) {
  constexpr std::array<std::string_view, 13> names{"@eaDir",
                                                   "#recycle",
                                                   "@Recycle",
                                                   ".ipynb_checkpoints",
                                                   ".AppleDouble",
                                                   ".DS_Store",
                                                   "Thumbs.db",
                                                   "desktop.ini",
                                                   "lost+found",
                                                   "$RECYCLE.BIN",
                                                   "System Volume Information",
                                                   "__MACOSX",
                                                   ".directory"};
  return name.starts_with("._") || name.starts_with(".Trash") || name.starts_with(".nfs") ||
         std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace selene::data
