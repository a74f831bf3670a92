// CIFAR-10 (Krizhevsky 2009) as grey images: the Image task of the Long Range Arena (Tay et al. 2021).
#pragma once
#include <string>
#include <string_view>

#include "data/dataset.h"
#include "data/prepared.h"

namespace selene::data {

/// Reads the "binary version": part "train" is data_batch_1.bin to data_batch_5.bin of folder
/// cifar-10-batches-bin, "test" is test_batch.bin; order as in the files. A record is a class, 0 to 9, and 32 x 32
/// red, green and blue values, row-major, of which the row keeps the 1,024 grey values of data/io/image.h. An
/// official file has 10,000 records, but any whole number is read. `watch` (may be empty) hears of images. Error
/// with the file for a missing or empty one, a broken record, and a class that is none.
Dataset read_cifar10(const std::string& folder, std::string_view part, const Watch& watch = {});

}  // namespace selene::data
