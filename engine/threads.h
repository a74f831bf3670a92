// Threads that wait without burning the machine.
#pragma once

namespace selene {

/// Call first in main of a program that computes. By default GNU OpenMP's threads spin for about a millisecond after
/// every parallel loop; on a machine that other jobs share, the thread that has work then waits for a core that a
/// spinning one holds (measured on 2 cores with 5 other jobs: 530 against 110 ms a step; alone: no difference). The
/// library reads its settings before main, so this sets GOMP_SPINCOUNT and starts the program again; it does nothing
/// where the user has set GOMP_SPINCOUNT or OMP_WAIT_POLICY, and where a loader or an emulator was started in the
/// program's place.
void calm_threads(char** argv);

}  // namespace selene
