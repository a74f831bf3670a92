// Device code keeps its rules: no <<<, no float atomics, plain twins for inline PTX, kernels of different names.
#include "tests/kernels/cuda/sources.h"

#include <map>

#include "tests/support/catch.h"

namespace selene::testing {
namespace {

std::vector<std::string> faults(const std::string& text) { return device_faults({"kernels/cuda/x.cu", text}); }
std::vector<std::string> no_faults() { return {}; }

const std::string kTwin = R"(
__device__ inline float twice(float x) {
#ifdef __CUDA_ARCH__
  asm("add.f32 %0, %0, %0;" : "+f"(x));
  return x;
#else
  return x + x;
#endif
}
)";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

}  // namespace

TEST_CASE("device code: launches, atomics and inline PTX are as the rules want them") {
  const std::vector<SourceText> all = device_sources(SELENE_SOURCE_ROOT);
  CHECK(all.size() > 30);
  for (const SourceText& source : all)
    for (const std::string& fault : device_faults(source)) FAIL_CHECK(fault);
}

TEST_CASE("device code: every kernel has a name of its own") {
  std::map<std::string, std::string> where;
  for (const SourceText& source : device_sources(SELENE_SOURCE_ROOT))
    for (const std::string& name : kernel_names(source.text)) {
      INFO(name << " in " << source.path << " and in " << where[name]);
      CHECK(where[name].empty());
      where[name] = source.path;
    }
  CHECK(where.size() > 50);
}

TEST_CASE("device code: names of kernels are read from any form of a definition") {
  CHECK(kernel_names("__global__ void a(int x) {}\nstatic __global__ void b() {}\n") ==
        std::vector<std::string>{"a", "b"});
  CHECK(kernel_names("template <int N>\n__global__ __launch_bounds__(f(N), 2) void\n  c(X<N> x) {}") ==
        std::vector<std::string>{"c"});
  CHECK(kernel_names("__global__ void __launch_bounds__(128, S<K>::n)\n  d(int x) {} // __global__ void e()") ==
        std::vector<std::string>{"d"});
  CHECK(kernel_names("__global__ auto f(int) -> void {}") == std::vector<std::string>{""});
  CHECK(faults("__global__ auto f(int) -> void {}").size() == 1);
}

TEST_CASE("device code: a launch by <<< is found") {
  CHECK(faults("void f() { k<<<1, 32>>>(x); }") ==
        std::vector<std::string>{"kernels/cuda/x.cu:1: <<<, wanted launch()"});
  CHECK(faults("// k<<<1, 32>>>(x)\nvoid f() { say(\"<<<\", '\"'), k << < 1; }") == no_faults());
}

TEST_CASE("device code: atomics on floats are found, on integers in shared memory they are allowed") {
  const std::string good = "__global__ void k() {\n  __shared__ int32_t count[8];\n  atomicAdd(&count[0], 1);\n}\n";
  CHECK(faults(good) == no_faults());
  CHECK(faults(replaced(good, "int32_t", "unsigned")) == no_faults());
  CHECK(faults(replaced(good, "int32_t", "float")).size() == 1);
  CHECK(faults(replaced(good, "__shared__ int32_t", "T")).size() == 1);
  CHECK(faults(replaced(good, "__shared__", "")).size() == 1);
  CHECK(faults(good + "void other(float* count) {}").size() == 1);
  CHECK(faults("template <class T> void f(T* sum, T x) { atomicAdd(sum, x); }").size() == 1);
  CHECK(faults("void f(float* y) { using cuda::atomic_ref; }").size() == 1);
  CHECK(faults("void f(float* y) { auto add = atomicCAS; }").size() == 1);
  const std::string ptx = replaced(kTwin, "add.f32 %0, %0, %0;", "red.global.add.f32 [%0], %1;");
  CHECK(faults(ptx) == std::vector<std::string>{"kernels/cuda/x.cu:4: an atomic in PTX"});
}

TEST_CASE("device code: inline PTX without a plain twin is found") {
  CHECK(faults(kTwin) == no_faults());
  CHECK(faults(replaced(kTwin, "#ifdef __CUDA_ARCH__", "#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800")) ==
        no_faults());
  CHECK(faults(replaced(kTwin, "#else\n  return x + x;", "")) ==
        std::vector<std::string>{"kernels/cuda/x.cu:4: inline PTX of twice has no plain twin"});
  CHECK(faults(replaced(kTwin, "return x + x;", "// nothing")).size() == 1);
  CHECK(faults(replaced(kTwin, "#else", "#elif !defined(__CUDACC__)")) == no_faults());
  CHECK(faults(replaced(kTwin, "#else", "#elif defined(__CUDACC__)")).size() == 1);
  CHECK(faults("#ifdef __CUDACC__" + kTwin + "#endif").size() == 1);
  CHECK(faults("__device__ void f() { asm volatile(\"trap;\"); }").size() == 1);
  CHECK(faults("__device__ void f() {\n  if (x) {\n#ifndef __CUDA_ARCH__\n    asm(\"trap;\");\n#endif\n  }\n}")
            .size() == 1);
  const std::string special =
      "template <class T> T f(T x) { return x; }\n#ifdef __CUDA_ARCH__\n"
      "template <> float f<float>(float x) { asm(\"neg\" : : \"f\"(x)); return x; }\n#endif\n";
  CHECK(faults(special) == no_faults());
  CHECK(faults(replaced(special, "template <class T> T f(T x) { return x; }", "")).size() == 1);
}

}  // namespace selene::testing
