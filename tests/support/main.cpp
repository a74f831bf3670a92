// Catch2's main for every test program, with a word after the last test for the program that wants one.
#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

/// A program may define it: called when the whole suite has run (no arguments) and passed; gives the exit status.
__attribute__((weak)) int after_whole_suite();

int main(int argc, char** argv) {
  const int status = Catch::Session().run(argc, argv);
  return status == 0 && argc == 1 && after_whole_suite ? after_whole_suite() : status;
}
